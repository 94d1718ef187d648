"""File objects, as programs hand them in: memory, pipes, members of archives, uploads; read from, and written to."""

from __future__ import annotations

import inspect
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nss.errors import ImageError, UsageError, one_line
from nss.export import encode
from nss.formats import Encoding
from nss.output_file import InputFiles
from nss.picture import Picture

IN_MEMORY = "<cutout>"
"""What an error calls a file that has no name."""


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
        given = "text" if isinstance(content, str) else f"{type(content).__name__}, not bytes"
        raise ImageError(f"{name}: its read() gives {given}; give a binary file object")
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


def write(picture: Picture, file: IO[bytes], *, encoding: Encoding, inputs: InputFiles) -> None:
    """All bytes of the file, verified before the first is written, where the file object stands; it is flushed.

    Args:
        picture: what the file must hold.
        file: open for writing bytes; it stays open.
        encoding: how the picture is encoded.
        inputs: the files that were read, which are never written to.

    Raises:
        UsageError: as :func:`nss.export.encode`; or the file object is open for text, or leads to one of the inputs.
        ImageError: as :func:`nss.export.encode`; or the file object is closed, not open for writing, or cannot take all
            bytes.
    """
    name = name_of(file) or IN_MEMORY
    if isinstance(file, io.TextIOBase) or not hasattr(file, "write"):
        raise UsageError(f"{name}: takes no bytes; open the file with 'wb'")
    if (descriptor := _descriptor(file)) is not None and descriptor in inputs:
        raise UsageError(f"{name}: is the input itself, which is never overwritten; write to another file")
    rest = memoryview(encode(picture, encoding, name))
    try:
        while rest:  # a raw file may take a part
            written = file.write(rest)
            if written is None and isinstance(file, io.RawIOBase):
                raise ImageError(f"{name}: cannot be written: it is full, and does not wait for its reader")
            rest = rest[len(rest) if written is None else written :]  # what returns no number took all
        if hasattr(file, "flush"):
            file.flush()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError(f"{name}: cannot be written: {getattr(error, 'strerror', None) or one_line(error)}") from error


def _descriptor(file: IO[bytes]) -> int | None:
    """What the file object writes to; None where it is in memory, closed, or of another kind."""
    try:
        return file.fileno()
    except (OSError, ValueError, AttributeError):
        return None
