"""File objects that a program has pictures written to: memory, pipes, responses."""

from __future__ import annotations

import io
from typing import IO

from nss.errors import ImageError, UsageError, one_line
from nss.files.export import encode
from nss.files.formats import Encoding
from nss.files.output_file import InputFiles
from nss.files.picture import Picture
from nss.photos.file_objects import name_of

IN_MEMORY = "<cutout>"
"""What an error calls a file that has no name."""


def write(picture: Picture, file: IO[bytes], *, encoding: Encoding, inputs: InputFiles) -> None:
    """All bytes of the file, verified before the first is written, where the file object stands; it is flushed.

    Args:
        picture: what the file must hold.
        file: open for writing bytes; it stays open.
        encoding: how the picture is encoded.
        inputs: the files that were read, which are never written to.

    Raises:
        UsageError: as :func:`nss.files.export.encode`; or the file object is open for text, or leads to one of the
            inputs.
        ImageError: as :func:`nss.files.export.encode`; or the file object is closed, not open for writing, or cannot
            take all bytes.
    """
    name = name_of(file) or IN_MEMORY
    if isinstance(file, io.TextIOBase) or not hasattr(file, "write"):
        raise UsageError(f"{name}: takes no bytes; open the file with 'wb'")
    if (descriptor := _descriptor(file)) is not None and descriptor in inputs:
        raise UsageError(f"{name}: is the input itself, which is never overwritten; write to another file")
    rest = memoryview(encode(picture, encoding, name))
    try:
        while rest:  # a raw file may take a part
            count = file.write(rest)
            if count is None and isinstance(file, io.RawIOBase):
                raise ImageError(f"{name}: cannot be written: it is full, and does not wait for its reader")
            rest = rest[len(rest) if count is None else count :]  # what returns no number took all
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
