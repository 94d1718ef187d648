"""PNG files (ISO/IEC 15948), written in bands of rows over every core.

One filter serves all rows of a picture: the one that makes a sample of it smallest. A filter for each row, which other
writers guess from sums of differences, makes files of the same size, and takes longer to find.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from nss.arrays.tiles import in_order
from nss.files import deflate
from nss.files.deflate import Compressor
from nss.files.picture import Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"

BAND = 1 << 19
"""Bytes of pixels that are filtered and deflated at once: they stay in a core's cache, and a file in bands of this size
is larger by less than 1 % than one that is deflated in one piece."""

SAMPLE = 1 << 19
"""Bytes of pixels on which the filters are tried, at most; an eighth of a smaller picture."""

STRIPS = 8
"""Pieces of the sample, evenly over the height."""

NONE, SUB, UP, AVERAGE, PAETH = range(5)

THOROUGH = 3
"""The effort from which Paeth's filter is tried, which costs as much as the fastest deflating where it is
verified, for 1 to 3 %."""

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""Greyscale, RGB, and RGB with alpha, by the number of channels (table 11.1)."""


def write(picture: Picture, file: IO[bytes], effort: int | None) -> None:
    """Write a picture with its ICC profile and EXIF.

    Args:
        picture: its pixels may lie in memory in any way; they are not copied as a whole.
        file: open for writing bytes.
        effort: 0, the fastest, to 9, the smallest file; None is a fast default.

    Raises:
        ValueError: the picture has no pixels, or more a side than the format can say.
    """
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    if not (0 < height < 2**31 and 0 < width < 2**31):
        raise ValueError(f"{width} x {height} pixels are no PNG")
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    file.write(SIGNATURE)
    depth = 8 * pixels.dtype.itemsize
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[channels], 0, 0, 0))
    if picture.icc:
        _chunk(file, b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc))
    if picture.exif:
        _chunk(file, b"eXIf", picture.exif)
    filters = (NONE, SUB, UP, AVERAGE, *((PAETH,) if effort is not None and effort >= THOROUGH else ()))
    for part in compressed(pixels, deflate.compressor(effort), filters):
        _chunk(file, b"IDAT", part)
    _chunk(file, b"IEND", b"")


def compressed(pixels: np.ndarray, compressor: Compressor, filters: Sequence[int]) -> Iterator[bytes]:
    """The zlib stream of the rows, with the best of the filters, in parts of whole rows; see `deflate.stream`."""
    kind = best_filter(pixels, compressor, filters) if len(filters) > 1 else filters[0]

    def content(rows: tuple[int, int]) -> np.ndarray:
        return filtered(pixels, *rows, kind)

    height = len(pixels)
    count = max(1, BAND // _row_bytes(pixels))
    return deflate.stream([(top, min(top + count, height)) for top in range(0, height, count)], content, compressor)


def best_filter(pixels: np.ndarray, compressor: Compressor, filters: Sequence[int]) -> int:
    """The filter that makes a sample of the rows smallest; of equals the first.

    Args:
        pixels: as :class:`~nss.files.picture.Picture` has them.
        compressor: what will deflate them.
        filters: those that are tried.
    """
    height = len(pixels)
    count = min(SAMPLE, pixels.nbytes // 8) // STRIPS // _row_bytes(pixels)
    count = min(max(count, 1), height)
    tops = sorted({(height - count) * part // (STRIPS - 1) for part in range(STRIPS)})

    def size(kind: int) -> int:
        strips = [filtered(pixels, top, top + count, kind) for top in tops]
        return len(compressor.deflated(np.concatenate(strips), last=True))

    sizes = list(in_order(size, filters))
    return filters[sizes.index(min(sizes))]


def filtered(pixels: np.ndarray, top: int, end: int, kind: int) -> np.ndarray:
    """The rows ``top`` to ``end`` as PNG filters them (section 9), each behind the number of its filter.

    Returns:
        uint8 (end - top) x (1 + bytes of a row).
    """
    raw = _bytes(pixels[max(top - 1, 0) : end])
    if top == 0:  # above the first row all is 0
        raw = np.concatenate([np.zeros_like(raw[:1]), raw])
    above, rows = raw[:-1], raw[1:]
    step = pixels.dtype.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
    out = np.empty((end - top, 1 + rows.shape[1]), np.uint8)
    out[:, 0] = kind
    first, rest = out[:, 1 : 1 + step], out[:, 1 + step :]
    if kind == NONE:
        out[:, 1:] = rows
    elif kind == SUB:
        first[:] = rows[:, :step]
        np.subtract(rows[:, step:], rows[:, :-step], out=rest)
    elif kind == UP:
        np.subtract(rows, above, out=out[:, 1:])
    elif kind == AVERAGE:
        np.subtract(rows[:, :step], above[:, :step] >> 1, out=first)
        np.subtract(rows[:, step:], _mean(rows[:, :-step], above[:, step:]), out=rest)
    else:
        np.subtract(rows[:, :step], above[:, :step], out=first)
        np.subtract(rows[:, step:], _paeth(rows[:, :-step], above[:, step:], above[:, :-step]), out=rest)
    return out


def _mean(left: np.ndarray, above: np.ndarray) -> np.ndarray:
    """(left + above) // 2 in 8 bits: what both have, and half of what one has."""
    half = left ^ above
    half >>= 1
    half += left & above
    return half


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Of the three the one nearest to left + above - corner; of equals the first.

    In 8 bits: that is off ``left`` by |above - corner|, off ``above`` by |left - corner|, and off ``corner`` by the
    sum of both, or by their difference where the corner lies between the two. A sum is never the nearest by itself.
    """
    off_left = np.maximum(above, corner) - np.minimum(above, corner)
    off_above = np.maximum(left, corner) - np.minimum(left, corner)
    off_corner = np.maximum(off_left, off_above) - np.minimum(off_left, off_above)
    is_corner = (left < corner) != (above < corner)
    is_corner &= off_corner < np.minimum(off_left, off_above)
    return _chosen(is_corner, corner, _chosen(off_left <= off_above, left, above))


def _chosen(condition: np.ndarray, these: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``np.where`` of bytes, in a fraction of its time: by bits, of which all or none are set."""
    bits = np.negative(condition.view(np.uint8))
    bits &= these ^ others
    bits ^= others
    return bits


def _bytes(pixels: np.ndarray) -> np.ndarray:
    """Rows as uint8 HxN, the high byte first; a view where memory is so already."""
    ordered = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    return ordered.reshape(len(ordered), -1).view(np.uint8)


def _row_bytes(pixels: np.ndarray) -> int:
    return pixels.nbytes // len(pixels)


def _chunk(file: IO[bytes], kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind)
    file.write(data)
    file.write(struct.pack(">I", deflate.crc32(data, zlib.crc32(kind))))
