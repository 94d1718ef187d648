"""One zlib stream of many parts, by whichever library there is."""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nss.files import deflate
from nss.files.deflate import Compressor
from tests.project import output_of

EVERY = [Compressor("isal", 1), Compressor("isal", 2), Compressor("zlib-ng", 3), Compressor("zlib", 1)]


def text(length: int, seed: int = 0) -> bytes:
    """Bytes that deflate to about a half."""
    return np.random.default_rng(seed).integers(0, 16, length, dtype=np.uint8).tobytes()


@pytest.mark.parametrize("compressor", EVERY, ids=str)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 200_000).map(text)), min_size=1, max_size=9))
def test_parts_are_one_stream_and_each_stands_for_itself(compressor: Compressor, blocks: list[bytes]) -> None:
    parts = list(deflate.stream(range(len(blocks)), lambda number: blocks[number], compressor))
    assert zlib.decompress(b"".join(parts)) == b"".join(blocks)
    bare = [*parts[:-1], parts[-1][:-4]]
    bare[0] = bare[0].removeprefix(deflate.HEADER)
    for number, (part, block) in enumerate(zip(bare, blocks, strict=True)):
        stream = zlib.decompressobj(-15)
        assert stream.decompress(part) == block
        assert stream.eof == (number == len(blocks) - 1)
        assert stream.eof or part.endswith(b"\0\0\xff\xff")  # the empty block of a flush


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=50), st.binary(max_size=50), st.integers(0, 70_000), st.integers(0, 70_000))
def test_checksums_are_combined(first: bytes, second: bytes, more: int, still_more: int) -> None:
    first, second = first + b"\xff" * more, second + b"\xfe" * still_more
    combined = deflate.combined_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
    assert combined == zlib.adler32(first + second)
    assert deflate.adler32(first) == zlib.adler32(first)
    assert deflate.crc32(second, deflate.crc32(first)) == zlib.crc32(first + second)


def test_an_error_of_a_part_is_raised() -> None:
    def content(number: int) -> bytes:
        if number == 7:
            raise MemoryError
        return b"x"

    with pytest.raises(MemoryError):
        list(deflate.stream(range(20), content, EVERY[0]))


def test_efforts_go_from_fast_to_small() -> None:
    rows = np.cumsum(np.random.default_rng(3).integers(-2, 3, (400, 1000)), axis=1).astype(np.uint8)
    for data in (np.diff(rows).tobytes(), text(300_000)):
        sizes = [len(deflate.compressor(effort).deflated(data, last=True)) for effort in range(10)]
        assert all(later <= 1.015 * earlier for earlier, later in pairwise(sizes)), sizes
        assert sizes[9] <= 1.01 * min(sizes)
    assert deflate.compressor(None) == deflate.compressor(1)


@pytest.mark.parametrize(
    ("missing", "writers", "readers"),
    [
        ((), ["isal", "isal", "zlib-ng", "zlib-ng"], ["zlib_ng.zlib_ng", "isal.isal_zlib"]),
        (("isal",), ["zlib-ng", "zlib-ng", "zlib-ng", "zlib-ng"], ["zlib", "zlib"]),
        (("zlib-ng",), ["isal", "isal", "zlib", "zlib"], ["zlib", "isal.isal_zlib"]),
        (("isal", "zlib-ng"), ["zlib", "zlib", "zlib", "zlib"], ["zlib", "zlib"]),
    ],
)
def test_a_machine_without_a_library(
    monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], writers: list[str], readers: list[str]
) -> None:
    every = deflate.library

    def library(name: str) -> Any:
        return None if name in missing else every(name)

    monkeypatch.setattr(deflate, "library", library)
    assert [deflate.compressor(effort).library for effort in (None, 2, 3, 9)] == writers
    assert [deflate.reader_beside(deflate.compressor(effort).library).__name__ for effort in (1, 9)] == readers


def test_a_process_without_either() -> None:
    script = """
import io, sys
sys.modules["isal"] = sys.modules["zlib_ng"] = None
import numpy as np
from PIL import Image
from nss.files import export
from nss.files.formats import Encoding
from nss.files.picture import Picture
pixels = np.random.default_rng(0).integers(0, 9, (400, 500, 4), dtype=np.uint8)
for effort in (None, 0, 9):
    encoding = Encoding("png", None, effort)
    same = np.array_equal(np.asarray(Image.open(io.BytesIO(export.encode(Picture(pixels), encoding)))), pixels)
    print(same, *encoding.settings()["options"].values())
"""
    assert output_of(script).splitlines() == ["True zlib 1", "True zlib 1", "True zlib 9"]
