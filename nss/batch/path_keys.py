"""Paths compared by what they lead to, as the file system compares them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from nss.batch.inputs import STANDARD


class PathKeys:
    """Names of files by which two paths can be compared: equal where one file is or would be meant.

    Links are followed. Where a directory makes no difference between small and capital letters, or between the ways to
    write an accent in Unicode, neither do the keys.
    """

    def __init__(self) -> None:
        self._folders: dict[str, tuple[str, bool]] = {}

    def of(self, path: Path | None) -> str:
        """The key of a path; that of standard input for None."""
        if path is None:
            return STANDARD
        folder, name = os.path.split(os.path.realpath(path))
        key, folds = self._folder(folder)
        return os.path.join(key, fold(name) if folds else name)  # noqa: PTH118

    def _folder(self, folder: str) -> tuple[str, bool]:
        """Its key, and whether it makes no difference; one that is still to be made is like the one it will be in."""
        if folder not in self._folders:
            head, tail = os.path.split(folder)
            if not tail or os.path.isdir(folder):  # noqa: PTH112
                self._folders[folder] = folder, folds_case(folder)
            else:
                key, folds = self._folder(head)
                self._folders[folder] = os.path.join(key, fold(tail) if folds else tail), folds  # noqa: PTH118
        return self._folders[folder]


def fold(name: str) -> str:
    """The name as a directory compares it that makes no difference between letters."""
    return unicodedata.normalize("NFC", name).casefold()


def folds_case(folder: str) -> bool:
    """Whether a directory makes no difference between small and capital letters, shown by a file in it."""
    try:
        with os.scandir(folder) as entries:
            name = next((e.name for e in entries if e.name.isascii() and e.name.swapcase() != e.name), None)
        # an empty one is taken to be like the directory it is in
        path = os.path.join(folder, name) if name else folder  # noqa: PTH118
        head, tail = os.path.split(path)
        return os.path.samefile(path, os.path.join(head, tail.swapcase()))  # noqa: PTH118, PTH121
    except OSError:
        return False
