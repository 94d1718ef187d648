"""Frames of a film that come one after the other by a pipe: PNG files without anything between them, or raw pixels.

As ``ffmpeg -f image2pipe -c:v png`` and ``ffmpeg -f rawvideo -pix_fmt rgb24`` write them. A frame is held whole, and
nothing of those before it.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nss.errors import ImageError
from nss.photos.image_size import MAX_PIXELS, check_size

STANDARD_INPUT = "<standard input>"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 13
_READ_BYTES = 1 << 20
_LOOK_MS = 200
"""How long a thread waits at a time; see `nss.pipes.read_to_end`, whose reason is the same."""

_ROOM_BYTES = 64 << 20
"""What a PNG file may hold besides pixels: profiles and text."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One of them.

    Attributes:
        number: from 1 on.
        content: the bytes of a PNG file, or uint8 HxWx3 or HxWx4.
    """

    number: int
    content: bytearray | np.ndarray

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return f"frame {self.number}"


class ByteStream:
    """What comes by a file descriptor, from one thread at a time, as many bytes as are wanted.

    The descriptor is waited for in steps, so that a signal is handled within one, and read without a buffer of
    Python's, which would keep a process from ending while a thread waits for one.
    """

    def __init__(self, descriptor: int, name: str = STANDARD_INPUT) -> None:
        self.name = name
        self._descriptor = descriptor
        self._rest = memoryview(b"")

    def read(self, nbytes: int) -> bytearray:
        """So many bytes; fewer at the end, and there none at last. Raises ImageError where it cannot be read."""
        data = bytearray()
        while len(data) < nbytes:
            self._rest = self._rest or memoryview(self._receive())
            if not self._rest:
                break
            part = self._rest[: nbytes - len(data)]
            data += part
            self._rest = self._rest[len(part) :]
        return data

    def _receive(self) -> bytes:
        try:
            if os.name == "nt":  # where only sockets can be waited for
                return os.read(self._descriptor, _READ_BYTES)
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLIN)
            while True:
                if waiting.poll(_LOOK_MS):
                    try:
                        return os.read(self._descriptor, _READ_BYTES)
                    except BlockingIOError:  # another process has read it
                        continue
        except OSError as error:
            raise ImageError(f"{self.name}: cannot be read: {error.strerror or error}") from error


def raw_frames(stream: ByteStream, width: int, height: int, channels: int) -> Iterator[Frame]:
    """Frames of uint8 HxWxC in rows from the top, without padding.

    Raises:
        ImageError: it ends within a frame, or cannot be read.
    """
    nbytes = width * height * channels
    number = 0
    while data := stream.read(nbytes):
        number += 1
        if len(data) < nbytes:
            raise ImageError(
                f"{stream.name}: ends within frame {number}, after {len(data):,} of its {nbytes:,} bytes "
                f"({width} x {height} pixels of {channels} bytes; does the size fit?)"
            )
        yield Frame(number, np.frombuffer(data, np.uint8).reshape(height, width, channels))


def png_frames(stream: ByteStream, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """Frames that are PNG files, told apart by the lengths of their chunks; nothing of them is decoded.

    Raises:
        ImageError: it ends within a frame, or cannot be read; a frame is no PNG file, has more than ``max_pixels``, or
            is larger than its pixels can make it.
    """
    number = 0
    while start := stream.read(len(_SIGNATURE)):
        number += 1
        frame = _PngFrame(stream, number, max_pixels)
        yield Frame(number, frame.read(start))


class _PngFrame:
    """One PNG file on its way."""

    def __init__(self, stream: ByteStream, number: int, max_pixels: int) -> None:
        self._stream, self._name, self._max_pixels = stream, f"frame {number}", max_pixels
        self._data = bytearray()
        self._most = _ROOM_BYTES

    def read(self, start: bytearray) -> bytearray:
        """All of it, of which ``start`` is the beginning."""
        self._data += start
        if not _SIGNATURE.startswith(start):
            raise ImageError(
                f"{self._name}: is no PNG; send PNG files one after the other, or say what comes with --stdin-format"
            )
        if len(start) < len(_SIGNATURE):
            raise self._cut_short()
        kind = b""
        while kind != b"IEND":
            length, kind = self._chunk_header()
            is_first = len(self._data) == len(_SIGNATURE) + 8
            if is_first != (kind == b"IHDR") or (is_first and length != _HEADER_BYTES):
                raise ImageError(f"{self._name}: truncated or damaged PNG image (its header is not where it must be)")
            if len(self._data) + length > self._most:
                raise ImageError(f"{self._name}: damaged PNG image (it is larger than its pixels can make it)")
            self._take(length + 4)  # and the chunk's checksum
            if is_first:
                width, height = (int.from_bytes(self._data[at : at + 4], "big") for at in (16, 20))
                check_size(self._name, width, height, self._max_pixels)
                self._most += 16 * width * height  # twice what pixels of 4 x 16 bits take that are not compressed
        return self._data

    def _chunk_header(self) -> tuple[int, bytes]:
        header = self._take(8)
        return int.from_bytes(header[:4], "big"), bytes(header[4:])

    def _take(self, nbytes: int) -> bytearray:
        part = self._stream.read(nbytes)
        self._data += part
        if len(part) < nbytes:
            raise self._cut_short()
        return part

    def _cut_short(self) -> ImageError:
        return ImageError(f"{self._stream.name}: ends within {self._name}, after {len(self._data):,} of its bytes")
