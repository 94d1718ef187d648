"""One zlib stream, made in parts at the same time, by the fastest library that this machine has.

Each part is deflated by itself: it refers to nothing before it, and ends at a byte with a full flush, so that the parts
behind one another are one stream (RFC 1951) that any decoder reads, and that a decoder which knows may read in parts.
Of the checksum of the whole (RFC 1950, Adler-32) each part has its own, and those are combined.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from nss.arrays.tiles import in_order

if TYPE_CHECKING:
    import numpy as np

LIBRARIES = {"isal": "isal.isal_zlib", "zlib-ng": "zlib_ng.zlib_ng", "zlib": "zlib"}
"""Packages that deflate and inflate, the fastest first, and the module of each that does what ``zlib`` does."""

HEADER = b"\x78\x01"
"""A window of 32 KiB; the level that is told there decides nothing."""

_RAW = -zlib.MAX_WBITS
_MODULUS = 65521

Item = TypeVar("Item")
Buffer: TypeAlias = "bytes | np.ndarray"


@dataclass(frozen=True)
class Compressor:
    """How parts are deflated.

    Attributes:
        library: a name in ``LIBRARIES``.
        level: its own scale.
    """

    library: str
    level: int

    def deflated(self, data: Buffer, *, last: bool) -> bytes:
        """``data`` as blocks of deflate that refer to nothing before them.

        Args:
            data: contiguous bytes.
            last: nothing follows: the last block says so. Otherwise a full flush ends it at a byte.
        """
        module = library(self.library)
        stream = module.compressobj(self.level, zlib.DEFLATED, _RAW, zlib.DEF_MEM_LEVEL)
        return stream.compress(data) + stream.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)


@cache
def library(name: str) -> Any:
    """The module of a library, or None where this machine does not have it."""
    try:
        return importlib.import_module(LIBRARIES[name])
    except ImportError:
        return None


def compressor(effort: int | None) -> Compressor:
    """What deflates for an effort from 0, the fastest, to 9, the smallest; None is a fast default.

    ISA-L's level 0 is no faster than 1, and its level 3 larger than 2 where much is flat, and slower. Beyond them
    zlib-ng makes smaller files than zlib in less time; its level 9 takes twice the time of 8 and is no smaller.
    """
    effort = max(1, effort or 1)
    if effort <= _FASTEST and library("isal") is not None:
        return Compressor("isal", effort)
    if library("zlib-ng") is not None:
        return Compressor("zlib-ng", min(max(effort, 2), 8))  # its level 1 makes files half as large again
    return Compressor("zlib", effort)


_FASTEST = 2
"""The efforts up to here are ISA-L's."""


def reader_beside(writer: str) -> Any:
    """The module of the fastest library that is another one than ``writer``, where there is another one."""
    others = (library(name) for name in LIBRARIES if name != writer)
    return next((module for module in others if module is not None), zlib)


def stream(items: Sequence[Item], content: Callable[[Item], Buffer], compressor: Compressor) -> Iterator[bytes]:
    """One zlib stream in parts, one for each item and in their order, deflated over every core.

    Args:
        items: at least one.
        content: the bytes of an item, contiguous; called in any thread and any order.
        compressor: how they are deflated.

    Yields:
        The parts; the first begins with the stream's header, and the last ends with its checksum.
    """
    end = len(items) - 1
    checksum = 1

    def part(numbered: tuple[int, Item]) -> tuple[bytes, int, int]:
        number, item = numbered
        data = content(item)
        length = len(data) if isinstance(data, bytes) else data.nbytes
        return compressor.deflated(data, last=number == end), adler32(data), length

    for number, (deflated, own, length) in enumerate(in_order(part, enumerate(items))):
        checksum = combined_adler32(checksum, own, length)
        front = HEADER if number == 0 else b""
        back = checksum.to_bytes(4, "big") if number == end else b""
        yield b"".join((front, deflated, back))


def adler32(data: Buffer) -> int:
    """The Adler-32 of ``data``, by the fastest library."""
    return _fastest().adler32(data)


def crc32(data: Buffer, before: int = 0) -> int:
    """The CRC-32 of ``data`` behind what has the CRC-32 ``before``, by the fastest library."""
    return _fastest().crc32(data, before)


def combined_adler32(first: int, second: int, length: int) -> int:
    """The Adler-32 of two parts behind one another, from that of each and the second's ``length`` in bytes.

    The low half is 1 and the sum of the bytes; the high half is the sum of what the low half was after each byte.
    """
    low, more = first & 0xFFFF, second & 0xFFFF
    high = (first >> 16) + (second >> 16) + length * (low - 1)
    return high % _MODULUS << 16 | (low + more - 1) % _MODULUS


def _fastest() -> Any:
    return next(module for name in LIBRARIES if (module := library(name)) is not None)
