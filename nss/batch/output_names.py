"""The names of outputs: the photo's stem and an ending, with a number on demand, and no longer than a name may be."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nss.batch.path_keys import fold

K = TypeVar("K")

LONGEST = 255
"""The longest name that is made: bytes, on Windows UTF-16 units. No common file system takes more, some take less."""

RESERVE = 40
"""How much of it a shortened stem leaves: for its digest, the ending, a number and the record beside the output."""

_DIGEST = 8


@dataclass(frozen=True)
class OutputName:
    """An output's place and name, in parts.

    Attributes:
        folder: its directory.
        stem: that of the photo, or the photo's whole name.
        ending: what follows, for instance ``.cutout.png``.
        room: how much longer the name of a file beside the output is.
        is_explicit: whether the user gave the name, which then stays as it is.
    """

    folder: Path
    stem: str
    ending: str
    room: int = 0
    is_explicit: bool = False

    def path(self, number: int = 1) -> Path:
        """The path, with a number from 2 on: ``photo.cutout-2.png``."""
        ending = self.ending
        if number > 1:
            kind, dot, extension = ending.rpartition(".")
            ending = f"{kind}-{number}{dot}{extension}" if dot else f"-{number}"
        elif self.is_explicit:
            return self.folder / (self.stem + ending)
        return self.folder / fit(self.stem, ending, name_limit(self.folder), room=self.room)

    def notes(self, path: Path) -> tuple[str, ...]:
        """The notes on the name ``path``: that it is shortened."""
        if path.name.startswith(self.stem):
            return ()
        return (f"its name and {self.ending} are longer than the file system takes: shortened to {path.name}",)


def name_limit(folder: Path) -> int:
    """How long a name in a directory may be; one that is still to be made is like the one it will be in."""
    if hasattr(os, "pathconf"):
        for directory in (folder, *folder.parents):
            with suppress(OSError, ValueError):
                return min(os.pathconf(directory, "PC_NAME_MAX"), LONGEST)
    return LONGEST


def fit(stem: str, ending: str, limit: int, *, room: int = 0) -> str:
    """``stem`` and ``ending`` as one name, the stem shortened where that and ``room`` exceed ``limit``."""
    whole = stem + ending
    return whole if _length(whole) + room <= limit else shorten(stem, limit) + ending


def shorten(stem: str, limit: int) -> str:
    """The beginning of a stem and a digest of all of it: the same in every run, and another one for another stem."""
    digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:_DIGEST]
    beginning = stem
    while _length(beginning) > max(limit - RESERVE, 1):
        beginning = beginning[:-1]  # by characters: half of one is no name
    return f"{beginning}~{digest}"


def stems(photo: Path, folder: Path) -> list[str]:
    """What an output of the photo in a directory may have before its ending: its name, its stem, either shortened."""
    whole = [photo.name, photo.stem]
    limit = name_limit(folder)
    return whole + [shorten(stem, limit) for stem in whole if _length(stem) + RESERVE > limit]


def that_keep_extensions(photos: Mapping[K, str], output: Callable[[K, bool], tuple[Hashable, str]]) -> list[K]:
    """Which photos keep their extension: those that would get one output for their stem alone.

    Args:
        photos: the file names, by any key.
        output: what is equal where one output is meant, and its name, for the key of a photo, named after its stem, or
            where it is True after the whole file name.
    """
    found: dict[K, None] = {}
    while True:
        by_output: dict[Hashable, list[tuple[K, str]]] = {}
        for key in photos:
            identity, name = output(key, key in found)
            by_output.setdefault(identity, []).append((key, name))
        before = len(found)
        for group in by_output.values():
            if len(group) == 1:
                continue
            names = {fold(photos[key]) for key, _ in group}
            if len(names) > 1 and len({fold(name) for _, name in group}) == 1:  # else they are links to one file
                found.update((key, None) for key, _ in group)
        if len(found) == before:
            return list(found)


def _length(name: str) -> int:
    return len(name.encode("utf-16-le", "surrogatepass")) // 2 if os.name == "nt" else len(os.fsencode(name))
