"""``site.json``: what a site holds, for the page and its service worker, and for the next export into its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

NAME = "site.json"
FORMAT = 1


class NoSiteError(ValueError):
    """What should be the record of a site is none; the text says why, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A file of a site: its path in it with slashes, its size in bytes, and its SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str

    @staticmethod
    def of(path: str, file: Path) -> SiteFile:
        """That of a file, which is read. Raises OSError."""
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
            return SiteFile(path, stream.tell(), digest.hexdigest())


@dataclass(frozen=True, slots=True)
class SiteModel:
    """A model of a site.

    Attributes:
        name: what it is asked for by; no two are alike.
        title: what people call it.
        summary: what it is for, in a few words.
        licence: its licence's name, or "unknown".
        licence_url: where that stands, or "".
        commercial: whether the licence allows commercial use: "yes", "no", or "ask" for by agreement or not known.
        origin: where its file is from.
        weights: how they are stored: "f32", "f16" or "int8".
        bytes: of all of its files.
        size: height and width of the network's input in pixels.
        folder: where it lies in the site, with a slash at the end.
        default: whether the page begins with it; one model is.
        files: its files, sorted by path.
    """

    name: str
    title: str
    summary: str
    licence: str
    licence_url: str
    commercial: str
    origin: str
    weights: str
    bytes: int
    size: tuple[int, int]
    folder: str
    default: bool
    files: tuple[SiteFile, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """As ``site.json`` has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Site:
    """A site: the version of nss-wgpu that made it, its models, and the files beside them, sorted by path."""

    version: str
    models: tuple[SiteModel, ...]
    files: tuple[SiteFile, ...]

    @property
    def all_files(self) -> dict[str, SiteFile]:
        """The files by their paths, those of the models too; ``site.json`` itself is none of them."""
        files = [*self.files, *(file for model in self.models for file in model.files)]
        return {file.path: file for file in files}

    def encode(self) -> bytes:
        """The bytes of ``site.json``: names sorted, no times, so that the same site has the same bytes."""
        record = {"format": FORMAT, **asdict(self)}
        return (json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def recorded_files(content: bytes) -> dict[str, SiteFile]:
    """The files that a ``site.json`` says its site has, by path. Raises NoSiteError where it is no such record."""
    try:
        record = json.loads(content)
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise NoSiteError(f"its {NAME} is not that of an exported site")
        files = [*_files(record["files"]), *(file for model in record["models"] for file in _files(model["files"]))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, NoSiteError):
            raise
        raise NoSiteError(f"its {NAME} cannot be read") from error
    return {file.path: file for file in files}


def _files(records: Iterable[Mapping[str, Any]]) -> list[SiteFile]:
    files = [SiteFile(**{item.name: record[item.name] for item in fields(SiteFile)}) for record in records]
    for file in files:
        parts = PurePosixPath(file.path).parts
        if not parts or ".." in parts or "\\" in file.path or PurePosixPath(file.path).is_absolute():
            raise NoSiteError(f"its {NAME} names files outside of it")
        if type(file.bytes) is not int or type(file.sha256) is not str:
            raise NoSiteError(f"its {NAME} cannot be read")
    return files
