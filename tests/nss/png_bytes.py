"""PNG files taken apart and put together, byte by byte, for tests of the writer and of the verifier."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}

Chunk = tuple[bytes, bytes]


def chunks(file: bytes) -> list[Chunk]:
    """Kind and data of each chunk; every checksum is right."""
    assert file[:8] == SIGNATURE
    found, place = [], 8
    while place < len(file):
        (length,) = struct.unpack_from(">I", file, place)
        kind, data = file[place + 4 : place + 8], file[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from(">I", file, place + 8 + length)
        assert checksum == zlib.crc32(kind + data)
        found.append((kind, data))
        place += 12 + length
    return found


def joined(parts: Sequence[Chunk]) -> bytes:
    """The file of these chunks, with their checksums."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def with_stream(file: bytes, parts: Sequence[bytes]) -> bytes:
    """The file with another zlib stream, cut into these parts."""
    others = [(kind, data) for kind, data in chunks(file) if kind != b"IDAT"]
    return joined([*others[:-1], *((b"IDAT", part) for part in parts), others[-1]])


def stream_of(file: bytes) -> bytes:
    """The whole zlib stream."""
    return b"".join(data for kind, data in chunks(file) if kind == b"IDAT")


def header(pixels: np.ndarray, *, interlaced: bool = False) -> Chunk:
    """The IHDR chunk."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    height, width = pixels.shape[:2]
    rest = (8 * pixels.dtype.itemsize, COLOUR_TYPES[channels], 0, 0, int(interlaced))
    return b"IHDR", struct.pack(">IIBBBBB", width, height, *rest)


def interlaced(pixels: np.ndarray) -> bytes:
    """A file in the seven passes of Adam7, with no filter: Pillow reads such files, and writes none."""
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    rows = b""
    for top, down, left, right in passes:
        part = pixels[top::down, left::right].astype(pixels.dtype.newbyteorder(">"))
        rows += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    return joined([header(pixels, interlaced=True), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def decoded(file: bytes) -> np.ndarray | None:
    """What Pillow makes of a file, None where it raises."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            return np.asarray(image)
    except Exception:  # it raises almost anything
        return None
