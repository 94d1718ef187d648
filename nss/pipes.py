"""Files that can be read only once: pipes by a name, such as ``mkfifo`` makes and shells give for ``<(...)``.

What is to be read more than once, or by several threads, is read into memory when it is first met. Devices and sockets
are no such files: they are refused as they are.
"""

from __future__ import annotations

import hashlib
import os
import select
import stat
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

_LOOK_MS = 200


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
    # Linux alone tells a pipe that no one has written to yet from one whose writers have gone
    at_once = os.O_NONBLOCK if sys.platform == "linux" else 0
    file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | at_once)
    try:
        return OneTimeFile(Path(path), read_to_end(file))
    finally:
        os.close(file)


def read_to_end(file: int) -> bytes:
    """All that a file descriptor still gives. Raises OSError.

    A signal is handled within ``_LOOK_MS``, even one that comes in the instant before a wait begins: Python hears of
    that one when the wait is over, which with a pipe that no one writes to is never. Nothing is buffered, since Python
    cannot end while a thread is within a buffered read.
    """
    if os.name == "nt":  # where only sockets can be waited for
        with open(file, "rb", buffering=0, closefd=False) as raw:
            return raw.readall()
    chunks: list[bytes] = []
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    while True:
        if not waiting.poll(_LOOK_MS):
            continue
        try:
            chunk = os.read(file, 1 << 20)
        except BlockingIOError:  # another process has read it
            continue
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
