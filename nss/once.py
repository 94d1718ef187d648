"""Files that can be read only once: pipes by a name, such as ``mkfifo`` makes and shells give for ``<(...)``.

What is to be read more than once, or by several threads, is read into memory when it is first met. Devices and sockets
are no such files: they are refused as they are.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True, eq=False)
class OneTimeFile(os.PathLike[str]):
    """A pipe that has been read to its end.

    Attributes:
        path: its name.
        content: what came out of it.
    """

    path: Path
    content: bytes = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, 64 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)


def is_pipe(path: str | os.PathLike[str]) -> bool:
    """Whether the name stands for a pipe; false for what is not there, and for what cannot be a name."""
    try:
        return stat.S_ISFIFO(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def read(path: str | os.PathLike[str]) -> OneTimeFile:
    """All of a pipe; waits until whoever writes to it has closed it. Raises OSError."""
    # unbuffered: Python cannot end while a thread is within a buffered read
    with Path(path).open("rb", buffering=0) as raw:
        return OneTimeFile(Path(path), raw.readall())
