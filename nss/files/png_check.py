"""PNG files held to their pictures, without a decoder's loop from byte to byte.

A decoder adds to each filtered byte what the filter predicts from the decoded bytes before it. Where those are the
picture's, the prediction from them is the prediction from the picture. So a file decodes to a picture if and only if
for every byte filtered + predicted from the picture = the picture's, byte by byte from the first: and these sums do not
depend on each other.

Parts of the stream are inflated beside one another where each is shown to stand for itself; otherwise the stream is
inflated in one. Nothing here is shared with the writer (`nss.files.png`), nor does the library inflate that deflated.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from nss.arrays.tiles import parallel
from nss.errors import quoted

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BAND = 1 << 19
"""Bytes of pixels that are compared at once where the stream is inflated in one."""

_LARGEST = 16 * _BAND
"""Bytes that a part may hold to be inflated at once."""

_MODES = {(8, 0): "L", (16, 0): "I;16", (8, 2): "RGB", (8, 6): "RGBA"}
"""Pillow's names of pixels by depth and colour type, of those that can be held to a picture here."""

_READ_AT_ONCE = 1 << 26
"""Bytes of a chunk beside the pixels that are read; no profile and no EXIF is so large."""


class DamagedError(Exception):
    """The file is not what its format says; the text says how."""


@dataclass(frozen=True)
class PngFile:
    """What a file says beside its pixels, and where those are.

    Attributes:
        width: in pixels.
        height: in pixels.
        mode: Pillow's name of the pixels: "L", "I;16", "RGB" or "RGBA".
        icc: the ICC profile, or None.
        exif: the EXIF block as TIFF bytes, or None.
        parts: offset and length of the data of each chunk with pixels, in their order.
    """

    width: int
    height: int
    mode: str
    icc: bytes | None
    exif: bytes | None
    parts: tuple[tuple[int, int], ...]


def read(file: IO[bytes]) -> PngFile | None:
    """All of a file but the pixels, with the checksums of all of it but those of the pixels.

    Args:
        file: open for reading, with a position.

    Returns:
        None for a file that may be a PNG, of a kind that cannot be held to its picture here: with a palette,
        interlaced, of other depths, or with chunks beside IHDR, iCCP, eXIf, IDAT and IEND.

    Raises:
        DamagedError: it is no PNG, or a damaged one.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(8) != _SIGNATURE:
        raise DamagedError("its signature is not PNG's")
    data: dict[bytes, bytes] = {}
    kinds: list[bytes] = []
    parts = []
    while kinds[-1:] != [b"IEND"]:
        offset = file.tell() + 8
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or offset + length + 4 > end:
            raise DamagedError("it is cut short")
        kind = head[4:]
        if kind == b"IDAT":
            parts.append((offset, length))
            file.seek(offset + length + 4)
            if kinds[-1:] == [kind]:
                continue
        elif length > _READ_AT_ONCE:
            return None
        else:
            data[kind] = _checked(file.read(length + 4), kind)
        kinds.append(kind)
    if file.tell() != end:
        raise DamagedError("there is more behind its end")
    return _described(kinds, data, tuple(parts))


def _described(kinds: list[bytes], data: dict[bytes, bytes], parts: tuple[tuple[int, int], ...]) -> PngFile | None:
    if kinds[0] != b"IHDR" or len(data[b"IHDR"]) != 13 or data[b"IEND"]:
        raise DamagedError("its chunks are not PNG's")
    between = kinds[1:-2]
    if kinds[-2] != b"IDAT" or len(set(between)) < len(between) or not set(between) <= {b"iCCP", b"eXIf"}:
        return None
    width, height, depth, colour_type, *methods = struct.unpack(">IIBBBBB", data[b"IHDR"])
    if methods[:2] != [0, 0] or methods[2] > 1:
        raise DamagedError("its methods of compression, filters and interlacing are not PNG's")
    mode = _MODES.get((depth, colour_type))
    if mode is None or methods[2] or not 0 < width < 2**31 or not 0 < height < 2**31:
        return None
    icc = _profile(data[b"iCCP"]) if b"iCCP" in data else None
    return PngFile(width, height, mode, icc, data.get(b"eXIf"), parts)


def _profile(data: bytes) -> bytes:
    """The profile of an iCCP chunk (11.3.3.3): a name, a zero, the method of compression, and a zlib stream."""
    name, _, rest = data.partition(b"\0")
    if not (1 <= len(name) <= 79 and rest.startswith(b"\0")):
        raise DamagedError("its profile is not PNG's")
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(rest[1:])
    except zlib.error as error:
        raise DamagedError(f"its profile cannot be inflated: {error}") from error
    if not stream.eof or stream.unused_data:
        raise DamagedError("its profile is cut short")
    return profile


def _checked(data: bytes, kind: bytes, crc32: Callable[[bytes, int], int] = zlib.crc32) -> bytes:
    """The data of a chunk without the checksum behind it."""
    data, checksum = data[:-4], data[-4:]
    if crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
        raise DamagedError(f"the checksum of {quoted(kind.decode('ascii', 'replace'))} is not that of its data")
    return data


def holds(file: IO[bytes], png: PngFile, pixels: np.ndarray, inflater: Any) -> bool:
    """Whether the pixels of a file are those of a picture, and every checksum is right.

    Args:
        file: open for reading, with a position.
        png: what `read` says of the file.
        pixels: uint8 HxW, HxWx3, HxWx4 or uint16 HxW, of the size and mode that ``png`` has.
        inflater: a module that inflates as ``zlib`` does.

    Raises:
        DamagedError: the pixels of the file cannot be decoded.
    """
    pixel_rows = _PixelRows(pixels)
    source = _Source(file, png.parts, inflater)
    return _holds_in_parts(source, pixel_rows, inflater) or _holds_in_one(source, pixel_rows, inflater)


class _Source:
    """The data of the chunks with pixels, for several threads."""

    def __init__(self, file: IO[bytes], parts: tuple[tuple[int, int], ...], inflater: Any) -> None:
        self._file, self._parts, self._crc32 = file, parts, inflater.crc32
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: int) -> bytes:
        offset, length = self._parts[number]
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(length + 4)
        if len(data) < length + 4:
            raise DamagedError("it is cut short")
        return _checked(data, b"IDAT", self._crc32)


class _PixelRows:
    """The pixels that a file must hold, as bytes."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self.height = len(pixels)
        self.step = pixels.dtype.itemsize * (pixels.shape[2] if pixels.ndim == 3 else 1)
        self.length = 1 + self.step * pixels.shape[1]  # of a filtered row

    def equal(self, filtered: bytes, top: int) -> bool:
        """Whether filtered rows decode to the rows from ``top`` on.

        Args:
            filtered: whole rows, each behind the number of its filter.
            top: the first row.

        Raises:
            DamagedError: a row has a filter that there is not.
        """
        lines = np.frombuffer(filtered, np.uint8).reshape(-1, self.length)
        rows = self._bytes(max(top - 1, 0), top + len(lines))
        if top == 0:
            rows = np.vstack([np.zeros_like(rows[:1]), rows])
        rows, above = rows[1:], rows[:-1]
        kinds = lines[:, 0]
        for kind in np.unique(kinds):
            if kind >= len(_PREDICTIONS):
                raise DamagedError(f"a row has the filter {kind}")
            # a view of all rows where one filter serves them
            these = slice(None) if (kinds == kind).all() else kinds == kind
            decoded = lines[these, 1:] + _PREDICTIONS[kind](rows[these], above[these], self.step)
            if not np.array_equal(decoded, rows[these]):
                return False
        return True

    def _bytes(self, top: int, end: int) -> np.ndarray:
        part = self._pixels[top:end]
        ordered = part.astype(part.dtype.newbyteorder(">"), order="C", copy=False)
        return ordered.reshape(end - top, -1).view(np.uint8)


def _no_prediction(rows: np.ndarray, _above: np.ndarray, _step: int) -> np.ndarray:
    return np.zeros_like(rows)


def _left(rows: np.ndarray, _above: np.ndarray, step: int) -> np.ndarray:
    left = np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    return left


def _above(_rows: np.ndarray, above: np.ndarray, _step: int) -> np.ndarray:
    return above


def _average(rows: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    left = _left(rows, above, step)
    return (left >> 1) + (above >> 1) + (left & above & 1)


def _nearest(rows: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """Paeth's predictor, in the words of the specification (9.4)."""
    a, b, c = (part.astype(np.int16) for part in (_left(rows, above, step), above, _left(above, above, step)))
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c)).astype(np.uint8)


_PREDICTIONS = (_no_prediction, _left, _above, _average, _nearest)


def _holds_in_parts(source: _Source, rows: _PixelRows, inflater: Any) -> bool:
    """Whether each part holds whole rows, as many as the first, inflates by itself, and holds the picture's.

    False where one does not: the file may be another's, or damaged.
    """
    whole = rows.length * rows.height
    checksums = [0] * len(source)

    def check(number: int, top: int, count: int) -> None:
        data = source[number]
        if number == 0:
            data = data[2:]
        last = number == len(source) - 1
        length = count * rows.length
        filtered = _inflated_by_itself(data[:-4] if last else data, length, inflater, last=last)
        if filtered is None or not rows.equal(filtered, top):
            raise _NotInPartsError
        checksums[number] = inflater.adler32(filtered)

    try:
        count = _rows_of_first(source, rows, inflater)
        if len(source) != -(-rows.height // count):
            return False
        parallel(lambda n: check(n, n * count, min(count, rows.height - n * count)), range(len(source)))
        trailer = source[len(source) - 1][-4:]
    except (_NotInPartsError, DamagedError):
        return False
    lengths = [min(count * rows.length, whole - n * count * rows.length) for n in range(len(source))]
    return _joined(checksums, lengths) == int.from_bytes(trailer, "big")


class _NotInPartsError(Exception):
    """A part is not what it would be in a stream of parts."""


def _rows_of_first(source: _Source, rows: _PixelRows, inflater: Any) -> int:
    """How many rows the first part holds."""
    data = source[0]
    if data[:1] != b"\x78" or int.from_bytes(data[:2], "big") % 31 or data[1] & 0x20:  # RFC 1950: 32 KiB, no dictionary
        raise _NotInPartsError
    if len(source) == 1:
        if rows.length * rows.height > _LARGEST:
            raise _NotInPartsError
        return rows.height
    stream = inflater.decompressobj(-zlib.MAX_WBITS)
    try:
        length = len(stream.decompress(data[2:], _LARGEST))
    except inflater.error as error:
        raise _NotInPartsError from error
    if length == 0 or length % rows.length:
        raise _NotInPartsError
    return length // rows.length


def _inflated_by_itself(data: bytes, length: int, inflater: Any, *, last: bool) -> bytes | None:
    """``data`` inflated, if it is blocks that end where it ends, refer to nothing before it, and give ``length`` bytes.

    The last block of ``data`` is the last of all if, and only if, ``last`` is true. Otherwise a further block is put
    behind it, of bytes that nobody knows: it comes out as itself only if a block begins there.
    """
    secret = b"" if last else os.urandom(16)
    block = b"" if last else struct.pack("<BHH", 1, len(secret), len(secret) ^ 0xFFFF) + secret
    stream = inflater.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(data + block, length + len(secret) + 1)
    except inflater.error:
        return None
    if not stream.eof or stream.unused_data or len(content) != length + len(secret):
        return None
    return content[:length] if content.endswith(secret) else None


def _joined(checksums: list[int], lengths: list[int]) -> int:
    """The Adler-32 (RFC 1950) of parts behind one another from their own."""
    a, b = 1, 0
    for checksum, length in zip(checksums, lengths, strict=True):
        own_a, own_b = checksum % 65536, checksum // 65536
        # of a part that begins with a instead of 1, each of the sums that b adds up is larger by a - 1
        a, b = (a + own_a - 1) % 65521, (b + own_b + (a - 1) * length) % 65521
    return 65536 * b + a


def _holds_in_one(source: _Source, rows: _PixelRows, inflater: Any) -> bool:
    """Whether the stream as a whole holds the picture's rows; its checksum is the library's affair."""
    stream = _Stream(source, inflater)
    count = max(1, _BAND // rows.length)
    for top in range(0, rows.height, count):
        if not rows.equal(stream.read(min(count, rows.height - top) * rows.length), top):
            return False
    stream.end()
    return True


class _Stream:
    """A zlib stream over the data of all chunks."""

    def __init__(self, source: _Source, inflater: Any) -> None:
        self._stream = inflater.decompressobj()
        self._error = inflater.error
        self._parts: Iterator[bytes] = (source[number] for number in range(len(source)))
        self._rest = b""

    def read(self, length: int) -> bytes:
        """So many bytes; DamagedError where there are fewer."""
        pieces = []
        while length:
            piece = self._more(length)
            if not piece:
                raise DamagedError("its pixels end too soon")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def end(self) -> None:
        """DamagedError where the stream does not end, or more follows."""
        if self._more(1):
            raise DamagedError("it has more than its pixels")
        if not self._stream.eof or self._stream.unused_data or any(self._parts):
            raise DamagedError("its stream does not end where its data ends")

    def _more(self, most: int) -> bytes:
        """Up to so many bytes, none only at the end of the stream or of the data."""
        while True:
            try:
                piece: bytes = self._stream.decompress(self._rest, most)
            except self._error as error:
                raise DamagedError(str(error)) from error
            self._rest = self._stream.unconsumed_tail
            if piece or self._stream.eof:
                return piece
            if not self._rest:
                self._rest = next((part for part in self._parts if part), b"")
                if not self._rest:
                    return b""
