"""What tells the code of a source tree from that of another commit: the version stays the same between releases."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from os import PathLike
from pathlib import Path

PACKAGES = ("engine", "nss", "shaders")
"""What has the one version, and decides what is compiled and said of a model."""

_SUFFIXES = (".py", ".wgsl")


def source_state() -> str:
    """A digest of the times and sizes of this tree's source files; "" where the package is installed, not checked out.

    Looked up once a process, in 2 ms.
    """
    return tree_state(Path(__file__).parents[2])


@cache
def tree_state(root: Path) -> str:
    """As ``source_state``, of the tree at ``root``, which is a source tree where Git has something in it."""
    if not os.path.lexists(root / ".git"):
        return ""
    lines = sorted(line for package in PACKAGES for line in _lines(root / package))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _lines(folder: str | PathLike[str]) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _lines(entry)
            elif entry.name.endswith(_SUFFIXES):
                with suppress(OSError):  # an editor's link that holds a lock, or a file that is being replaced
                    status = entry.stat()
                    yield f"{entry.path} {status.st_mtime_ns} {status.st_size}"
