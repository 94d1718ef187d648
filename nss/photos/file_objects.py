"""File objects that a program reads photos from: memory, pipes, members of archives, uploads."""

from __future__ import annotations

import inspect
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nss.errors import ImageError, one_line


def name_of(file: IO[bytes]) -> str | None:
    """The name that a file object was opened by; None where that says nothing: a number, <stdout>, a temporary name."""
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and Path(name).suffix else None


@dataclass(frozen=True)
class Content:
    """What a file object held.

    Attributes:
        content: from where it stood to its end.
        name: what to call it in a message.
        path: the regular file that it reads, where its name says so; else None.
    """

    content: bytes
    name: str
    path: Path | None


def read(file: Any, name: str | None = None) -> Content:
    """What is left in a binary file object, which stays open and need not be seekable.

    Args:
        file: has ``read``.
        name: what to call it in a message, where it has no name of its own.

    Raises:
        ImageError: it is open for text, asynchronous, closed, at its end, or cannot be read.
    """
    name = name_of(file) or name or "<file object>"
    if isinstance(file, io.TextIOBase):
        raise ImageError(f"{name}: is open for text; open it with 'rb'")
    try:
        content = file.read()
    except Exception as error:  # it may be anyone's: of an archive, a connection, a store
        raise ImageError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or one_line(error)}") from error
    if inspect.iscoroutine(content):
        content.close()
        raise ImageError(f"{name}: its read() is asynchronous; give the bytes that it returns")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        kind = "text" if isinstance(content, str) else f"{type(content).__name__}, not bytes"
        raise ImageError(f"{name}: its read() gives {kind}; give a binary file object")
    if not content and _position(file):
        raise ImageError(f"{name}: is at its end; take it back to the beginning with seek(0)")
    return Content(bytes(content), name, _path(file))


def _position(file: Any) -> int:
    """Where a file object stands; 0 where it does not know."""
    try:
        return int(file.tell())
    except (OSError, ValueError, AttributeError):
        return 0


def _path(file: Any) -> Path | None:
    name = name_of(file)
    try:
        return Path(name) if name and os.path.samestat(os.fstat(file.fileno()), os.stat(name)) else None  # noqa: PTH116
    except (OSError, ValueError, AttributeError, TypeError):
        return None
