"""The record of how a cut-out came about, beside it: by it the same versions make the same file again."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import engine
from nss.errors import ImageError
from nss.files import export
from nss.pipes import OneTimeFile

if TYPE_CHECKING:
    from nss.cutouts.compose import Composition, Cutout
    from nss.files.formats import Encoding
    from nss.files.output_file import InputFiles
    from nss.masks.refine import Refinement

SUFFIX = ".json"


def path_for(target: Path) -> Path:
    """Where the record of ``target`` goes: ``photo.cutout.png.json``."""
    return target.with_name(target.name + SUFFIX)


def write(
    target: Path,
    source: Path | None,
    cutout: Cutout,
    refinement: Refinement,
    composition: Composition,
    encoding: Encoding,
    *,
    notes: Sequence[str],
    inputs: InputFiles | None = None,
    overwrite: bool,
) -> Path:
    """Write the record of the file ``target``; returns its path. None of ``inputs`` is overwritten.

    ``notes`` are those of the cut-out, in the words of whoever made it.

    It holds names and SHA-256 of input and output, model, mask and background, what ran where, every setting that
    differs from its default, and the versions that the result depends on: `engine.environment`, Python's, and those of
    what reads and writes files.
    No times: the same run gives the same record. Another processor, GPU or version may differ in last bits.

    Raises:
        ImageError: it cannot be written, or one of the files it describes cannot be read.
    """
    info = cutout.info
    record: dict[str, Any] = {
        "input": _file(source, cutout.sha256) if source else None,
        "output": _file(target),
        "model": {"name": info.model, "sha256": info.model_sha256} if info.model else None,
        "model_config": info.model_config,
        "mask": _file(info.mask, info.mask_sha256) if info.mask else None,
        "background": _background(composition),
        "backend": info.backend,
        "device": info.device,
        "precision": info.precision,
        "stages": dict(info.stages),
        "refinement": refinement.settings(),
        "composition": composition.settings(),
        "encoding": encoding.settings(),
        "notes": list(notes),
        "versions": {
            "nss-wgpu": engine.__version__,
            "python": platform.python_version(),
            "pillow": version("pillow"),
            **_versions("pillow-heif", "isal", "zlib-ng"),
            **engine.environment(info.backend, info.device),
        },
    }
    text = json.dumps(record, indent=2) + "\n"
    return export.write_bytes(text.encode(), path_for(target), inputs=inputs, overwrite=overwrite)


def _versions(*packages: str) -> dict[str, str]:
    """Of those that are installed, whether or not a photo of the same batch has loaded them yet: a record says one
    thing."""
    versions = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _background(composition: Composition) -> dict[str, str] | None:
    from nss.cutouts.background import file_of

    file = file_of(composition.background)
    if file is None:
        return None
    return _file(Path(str(file)), file.sha256 if isinstance(file, OneTimeFile) else None)


def _file(path: Path, digest: str | None = None) -> dict[str, str]:
    """``digest``: that of a file which cannot be read again."""
    if digest is not None:
        return {"path": str(path), "sha256": digest}
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read again for its record: {error.strerror or error}") from error
    return {"path": str(path), "sha256": digest}
