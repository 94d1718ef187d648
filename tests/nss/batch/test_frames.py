"""Frames are told apart whatever pieces they come in, and a film that breaks off says where."""

from __future__ import annotations

import io
import os
import random
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from nss.batch.frames import ByteStream, Frame, png_frames, raw_frames
from nss.errors import ImageError
from tests.nss.images import chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@contextmanager
def sent(data: bytes, sizes: Callable[[], int] = lambda: 1 << 16) -> Iterator[ByteStream]:
    """What comes by a pipe when ``data`` is written to it in pieces of these sizes."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest[: sizes()]) :]

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield ByteStream(reader)
    finally:
        thread.join()
        os.close(reader)


def picture(i: int) -> Image.Image:
    rng = np.random.default_rng(i)
    return Image.fromarray(rng.integers(0, 255, (20 + i, 30, 3), np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("sizes", ["bytes", "random", "whole"])
def test_png_files_in_any_pieces(sizes: str) -> None:
    # the bytes of IEND within a chunk are no end
    text = chunk(b"tEXt", b"a\0IEND" + struct.pack(">I", zlib.crc32(b"IEND")) + SIGNATURE)
    files = [png(picture(i)) for i in range(3)]
    files[1] = files[1][:33] + text + files[1][33:]
    chance = random.Random(1)
    pieces = {"bytes": lambda: 1, "random": lambda: chance.choice([1, 7, 8, 100, 3000]), "whole": lambda: 1 << 20}
    with sent(b"".join(files), pieces[sizes]) as stream:
        frames = list(png_frames(stream))
    assert [bytes(frame.content) for frame in frames] == files
    assert [frame.name for frame in frames] == ["frame 1", "frame 2", "frame 3"]


def test_raw_frames_in_any_pieces() -> None:
    film = np.random.default_rng(0).integers(0, 255, (5, 7, 11, 3), np.uint8)
    chance = random.Random(2)
    with sent(film.tobytes(), lambda: chance.choice([1, 50, 231, 500])) as stream:
        frames = list(raw_frames(stream, width=11, height=7, channels=3))
    assert [frame.number for frame in frames] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal([frame.content for frame in frames], film)


def taken(frames: Iterator[Frame]) -> tuple[int, str]:
    """How many come before the error, and its line."""
    count = 0
    with pytest.raises(ImageError) as failure:  # noqa: PT012 - those before it are counted
        for _ in frames:
            count += 1
    return count, str(failure.value)


def test_raw_frames_that_break_off() -> None:
    with sent(bytes(100)) as stream:
        assert taken(raw_frames(stream, 4, 3, 3)) == (
            2,
            "<standard input>: ends within frame 3, after 28 of its 36 bytes (4 x 3 pixels of 3 bytes; does the size "
            "fit?)",
        )


FILE = png(picture(0))


@pytest.mark.parametrize("kept", [1, 7, 8, 12, 16, 33, 40, len(FILE) - 12, len(FILE) - 1])
def test_png_files_that_break_off(kept: int) -> None:
    with sent(FILE + FILE[:kept]) as stream:
        assert taken(png_frames(stream)) == (
            1,
            f"<standard input>: ends within frame 2, after {kept:,} of its bytes",
        )


HEADER = struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("second", "line"),
    [
        (b"\xff\xd8\xff\xe0 a JPEG", "frame 2: is no PNG; "),
        (b"x", "frame 2: is no PNG; "),
        (SIGNATURE + chunk(b"IDAT", b""), "its header is not where it must be"),
        (SIGNATURE + chunk(b"IHDR", HEADER) * 2, "its header is not where it must be"),
        (SIGNATURE + chunk(b"IHDR", HEADER[:-1]), "its header is not where it must be"),
        (SIGNATURE + chunk(b"IHDR", HEADER) + b"\xff\xff\xff\xffIDAT", "larger than its pixels"),
        (SIGNATURE + chunk(b"IHDR", struct.pack(">II", 99999, 99999) + HEADER[8:]), "more than 300 megapixels"),
        (SIGNATURE + chunk(b"IHDR", bytes(8) + HEADER[8:]), "frame 2: has no pixels"),
    ],
)
def test_what_is_no_frame(second: bytes, line: str) -> None:
    with sent(FILE + second) as stream:
        count, text = taken(png_frames(stream))
    assert count == 1
    assert text.startswith("frame 2: ")
    assert line in text


def test_nothing_comes() -> None:
    with sent(b"") as stream:
        assert list(png_frames(stream)) == []
    with sent(b"") as stream:
        assert list(raw_frames(stream, 2, 2, 4)) == []


def test_what_cannot_be_read() -> None:
    folder = os.open("/" if os.name == "posix" else ".", os.O_RDONLY)
    try:
        with pytest.raises(ImageError, match="<standard input>: cannot be read: "):
            ByteStream(folder).read(1)
    finally:
        os.close(folder)
