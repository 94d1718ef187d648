"""EXIF in compressed TIFF files, which Pillow cannot write: libtiff refuses tags that point to further tags."""

from __future__ import annotations

import struct
from typing import IO

EXIF_PREFIX = b"Exif\0\0"
"""What most formats have in front of the block."""

_ENTRY = 12  # bytes: tag, type, count, value or its place (TIFF 6.0, section 2)
_HEADER = 8


def add_exif(file: IO[bytes], block: bytes) -> None:
    """Add the tags of an EXIF block to the first image of a TIFF file.

    The block's values go to the end of the file, and after them a directory anew, with the tags of both; where both
    have a tag, the file's own stays, since it describes the pixels. The first directory is left behind unused.

    Args:
        file: a TIFF file of less than 4 GiB, open for reading and writing.
        block: from its TIFF header on, in either byte order.
    """
    from PIL import Image

    file.seek(0)
    header = file.read(_HEADER)
    order = "<" if header.startswith(b"II") else ">"
    exif = Image.Exif()
    exif.load(EXIF_PREFIX + block)
    exif.endian = order
    start = _even_end(file)
    tags = exif.tobytes(start)[len(EXIF_PREFIX) + _HEADER :]
    file.write(tags)
    entries = _entries(tags, order)
    file.seek(struct.unpack(f"{order}L", header[4:])[0])
    count = file.read(2)
    entries |= _entries(count + file.read(_ENTRY * struct.unpack(f"{order}H", count)[0]), order)
    place = _even_end(file)
    file.write(struct.pack(f"{order}H", len(entries)))
    file.write(b"".join(entries[tag] for tag in sorted(entries)))
    file.write(bytes(4))  # no further image
    file.seek(4)
    file.write(struct.pack(f"{order}L", place))


def _even_end(file: IO[bytes]) -> int:
    """Where a directory may begin; the file is extended to there."""
    end = file.seek(0, 2)
    return end + file.write(bytes(end % 2))


def _entries(directory: bytes, order: str) -> dict[int, bytes]:
    """The entries at the beginning of a directory by their tags."""
    (count,) = struct.unpack_from(f"{order}H", directory)
    rows = [directory[2 + _ENTRY * i : 2 + _ENTRY * (i + 1)] for i in range(count)]
    return {struct.unpack_from(f"{order}H", row)[0]: row for row in rows}
