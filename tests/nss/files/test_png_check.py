"""What verifies PNG files, held to Pillow: what it accepts, Pillow decodes to the same pixels."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from PIL import Image
from zlib_ng import zlib_ng

from nss.errors import ImageError
from nss.files import export, png, png_check, verify
from nss.files.formats import Encoding
from nss.files.picture import Picture
from tests.nss.pictures import SRGB, exif, pixels
from tests.nss.png_bytes import chunks, decoded, header, interlaced, joined, stream_of, with_stream
from tests.nss.png_pictures import KINDS, small_pictures, written

INFLATERS = [zlib_ng, isal_zlib, zlib]


def accepts(file: bytes, picture: Picture) -> bool:
    try:
        verify.verify_file(io.BytesIO(file), picture, Encoding("png"), "file")
    except ImageError:
        return False
    return True


def holds(file: bytes, image: np.ndarray, inflater: ModuleType = zlib_ng) -> bool:
    """By the new verifier alone."""
    source = io.BytesIO(file)
    described = png_check.read(source)
    assert described is not None
    return png_check.holds(source, described, image, inflater)


def in_parts(file: bytes, image: np.ndarray, inflater: ModuleType = zlib_ng) -> bool:
    """Whether it is verified part by part."""
    source = io.BytesIO(file)
    described = png_check.read(source)
    assert described is not None
    return png_check._holds_in_parts(
        png_check._Source(source, described.parts, inflater), png_check._PixelRows(image), inflater
    )


def is_sound(file: bytes, image: np.ndarray) -> bool:
    """Whether the file is accepted, which it must not be unless Pillow decodes it to the picture."""
    result = decoded(file)
    accepted = accepts(file, Picture(image))
    if accepted:
        assert result is not None
        assert result.dtype == image.dtype
        assert np.array_equal(result, image)
    return accepted


def in_rows(image: np.ndarray, kinds: list[int]) -> bytes:
    """The filtered rows, each by a filter of its own."""
    return b"".join(png.filtered(image, row, row + 1, kinds[row % len(kinds)]).tobytes() for row in range(len(image)))


def file_of(image: np.ndarray, *parts: bytes) -> bytes:
    return joined([header(image), *((b"IDAT", part) for part in parts), (b"IEND", b"")])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> tuple[Picture, bytes]:
    """A picture, and its file of four bands with all chunks."""
    monkeypatch.setattr(png, "BAND", 4 * 9 * 4)
    image = pixels("rgba")[:13, 90:99]
    picture = Picture(image, b"a profile", exif())
    file = written(picture)
    assert [kind for kind, _ in chunks(file)] == [b"IHDR", b"iCCP", b"eXIf", *[b"IDAT"] * 4, b"IEND"]
    return picture, file


@pytest.mark.parametrize("inflater", INFLATERS, ids=lambda module: module.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_verified_in_parts(kind: str, inflater: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pixels(kind)
    for band in (png.BAND, 5000, 10):
        monkeypatch.setattr(png, "BAND", band)
        file = written(Picture(image))
        assert in_parts(file, image, inflater)
        for place in ((0, 0), (50, 60), (95, 191)):
            other = image.copy()
            other[place] ^= 1
            assert not in_parts(file, other, inflater)
            assert not holds(file, other, inflater)


@pytest.mark.parametrize("inflater", INFLATERS, ids=lambda module: module.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_what_pillow_writes_is_verified(kind: str, inflater: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_check, "_BAND", 5000)
    image = pixels(kind)
    for level in (0, 1, 9):
        file = io.BytesIO()
        export._as_image(image).save(file, "PNG", compress_level=level)
        assert holds(file.getvalue(), image, inflater)
        other = image.copy()
        other[95, 191] ^= 1
        assert not holds(file.getvalue(), other, inflater)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    small_pictures(),
    st.lists(st.integers(0, 4), min_size=1, max_size=7),
    st.sampled_from(INFLATERS),
    st.lists(st.integers(0, 400), max_size=4),
    st.data(),
)
def test_any_filters_and_any_cuts(
    image: np.ndarray, kinds: list[int], inflater: ModuleType, cuts: list[int], data: st.DataObject
) -> None:
    stream = zlib.compress(in_rows(image, kinds), data.draw(st.integers(0, 9)))
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    file = file_of(image, *(stream[start:end] for start, end in pairwise(ends)))
    assert np.array_equal(decoded(file), image)
    assert holds(file, image, inflater)
    other = image.copy()
    place = tuple(data.draw(st.integers(0, length - 1)) for length in image.shape)
    other[place] ^= 1 << data.draw(st.integers(0, 8 * image.dtype.itemsize - 1))
    assert not holds(file, other, inflater)


@pytest.mark.parametrize("flush", [zlib.Z_FULL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_NO_FLUSH])
def test_only_parts_that_stand_for_themselves_are_inflated_so(flush: int) -> None:
    image = np.repeat(pixels("rgb")[:1], 40, axis=0)  # what is repeated is found in the part before
    rows = in_rows(image, [0])
    middle = len(rows) // 2
    compress = zlib.compressobj()
    first = compress.compress(rows[:middle]) + (compress.flush(flush) if flush else b"")
    rest = compress.compress(rows[middle:]) + compress.flush()
    file = file_of(image, first, rest)
    assert np.array_equal(decoded(file), image)
    assert in_parts(file, image) == (flush == zlib.Z_FULL_FLUSH)
    assert holds(file, image)


def test_a_part_that_ends_within_a_block_does_not_stand_for_itself() -> None:
    """A block of stored bytes that reaches into the next part, whose bytes would be blocks where they came first."""
    image = pixels("rgb")[:20]
    image[10:] = 0
    rows = in_rows(image, [0])
    first, second = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    compress = zlib.compressobj(wbits=-15)
    blocks = compress.compress(second) + compress.flush()
    length = len(first) + len(blocks)
    stored = b"\x78\x01" + struct.pack("<BHH", 0, length, length ^ 0xFFFF) + first
    file = file_of(image, stored, blocks + zlib.adler32(rows).to_bytes(4, "big"))
    assert not is_sound(file, image)
    fair = b"\x78\x01" + struct.pack("<BHH", 0, len(first), len(first) ^ 0xFFFF) + first
    assert in_parts(file_of(image, fair, blocks + zlib.adler32(rows).to_bytes(4, "big")), image)


def test_parts_of_unequal_rows_are_inflated_in_one() -> None:
    image = pixels("rgb")[:30]
    rows = in_rows(image, [1])
    length = len(rows) // 30
    for counts in ([10, 12, 8], [10, 8, 12], [10, 10, 5, 5], [10, 10, 9, 1]):
        compress = zlib.compressobj()
        parts, start = [], 0
        for count in counts:
            part = compress.compress(rows[start : start + count * length])
            start += count * length
            parts.append(part + compress.flush(zlib.Z_FULL_FLUSH if start < len(rows) else zlib.Z_FINISH))
        file = file_of(image, *parts)
        assert not in_parts(file, image)
        assert holds(file, image)


def test_any_damaged_byte(small: tuple[Picture, bytes]) -> None:
    picture, file = small
    assert accepts(file, picture)
    for place in range(len(file)):
        for bit in (1, 0x20, 0x80):
            damaged = bytearray(file)
            damaged[place] ^= bit
            assert not accepts(bytes(damaged), picture), place
    for length in range(len(file)):
        assert not accepts(file[:length], picture), length
    assert not accepts(file + b"\0", picture)


@pytest.mark.parametrize("kind", ["rgba", "16 bits"])
def test_any_damaged_byte_behind_a_right_checksum(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an encoder's mistake would be, not a disk's."""
    monkeypatch.setattr(png, "BAND", 200)
    image = pixels(kind)[:13, 90:99]
    file = written(Picture(image))
    parts = chunks(file)
    accepted, tried = [], 0
    for number, (name, data) in enumerate(parts):
        for place in range(len(data)):
            if name == b"IHDR" and place in (0, 1, 4, 5):
                continue  # sizes for which Pillow takes a gigabyte
            for change in (0x01, 0x10, 0x80):
                wrong = bytearray(data)
                wrong[place] ^= change
                damaged = joined([*parts[:number], (name, bytes(wrong)), *parts[number + 1 :]])
                tried += 1
                if is_sound(damaged, image):
                    accepted.append((name, place))
    # a few bits mean nothing, such as those between a block's header and what it stores
    assert {name for name, _ in accepted} <= {b"IDAT"}
    assert len(accepted) < 0.03 * tried


def test_streams_that_are_not_what_they_should_be() -> None:
    image = pixels("rgb")[:20]
    rows = in_rows(image, [2])
    good = file_of(image, zlib.compress(rows))
    length = len(rows) // 20
    assert is_sound(good, image)
    final = zlib.compressobj(wbits=-15)
    first = b"\x78\x01" + final.compress(rows[: 10 * length]) + final.flush()
    rest = zlib.compressobj(wbits=-15)
    second = rest.compress(rows[10 * length :]) + rest.flush() + zlib.adler32(rows).to_bytes(4, "big")
    wrong_filter = bytearray(rows)
    wrong_filter[3 * length] = 5
    stream = zlib.compress(rows)
    for parts in (
        [first, second],  # ends in the middle
        [stream[:-4] + b"\0\0\0\0"],
        [stream[:-4]],
        [stream[:-1]],
        [stream, b"more"],
        [stream[:-4] + b"more" + stream[-4:]],
        [stream[:-4] + zlib.adler32(rows[:-1]).to_bytes(4, "big")],
        [zlib.compress(rows[:-length])],
        [zlib.compress(rows[:-1])],
        [zlib.compress(rows + rows[-length:])],
        [zlib.compress(bytes(wrong_filter))],
        [b"", b""],
        [b"\x78\x01"],
    ):
        assert not is_sound(with_stream(good, parts), image), parts
    assert is_sound(with_stream(good, [b"", stream[:7], b"", stream[7:], b""]), image)
    assert stream_of(good) == stream


@pytest.mark.parametrize("kind", KINDS)
def test_interlaced_files_are_left_to_pillow(kind: str) -> None:
    image = pixels(kind)[:21, :35]
    file = interlaced(image)
    assert png_check.read(io.BytesIO(file)) is None
    assert is_sound(file, image)
    other = image.copy()
    other[20, 34] ^= 1
    assert not accepts(file, Picture(other))


def test_files_of_other_kinds_are_left_to_pillow() -> None:
    image = pixels("8 bits")
    for other in (Image.fromarray(image).convert("P"), Image.fromarray(image).convert("1"), Image.new("LA", (192, 96))):
        file = io.BytesIO()
        other.save(file, "PNG")
        assert png_check.read(file) is None
        assert not accepts(file.getvalue(), Picture(image))
    parts = chunks(written(Picture(image)))
    for more in ((b"tRNS", b"\0\5"), (b"PLTE", bytes(3)), (b"IHDR", parts[0][1]), (b"acTL", bytes(8))):
        assert png_check.read(io.BytesIO(joined([parts[0], more, *parts[1:]]))) is None, more
    for order in ([0, 2], [0, 1], [1, 0, 2], [2]):
        assert not accepts(joined([parts[number] for number in order]), Picture(image)), order
    assert not accepts(joined([]), Picture(image))
    assert not accepts(b"", Picture(image))


def test_profiles_that_are_not_what_they_should_be() -> None:
    picture = Picture(pixels("rgb"), SRGB)
    parts = chunks(written(picture))
    data = parts[1][1]
    name, stream = data[:13], data[13:]
    for wrong in (name + stream[:-1], name + stream + b"x", name[:-1] + b"\1" + stream, b"\0\0" + stream, stream, b""):
        assert not accepts(joined([parts[0], (b"iCCP", wrong), *parts[2:]]), picture)
    assert accepts(joined([parts[0], (b"iCCP", b"another name\0\0" + stream), *parts[2:]]), picture)


def test_lengths_that_are_not_there() -> None:
    picture = Picture(pixels("rgb"))
    file = written(picture)
    for length in (0, 12, 14, 2**31 - 1, 2**32 - 1):
        assert not accepts(file[:8] + struct.pack(">I", length) + file[12:], picture)


@pytest.mark.parametrize("inflater", INFLATERS, ids=lambda module: module.__name__)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_checksums_of_parts_are_joined(inflater: ModuleType, lengths: list[int], seed: int) -> None:
    blocks = [np.random.default_rng(seed).integers(200, 256, length, dtype=np.uint8).tobytes() for length in lengths]
    joined_checksum = png_check._joined([inflater.adler32(block) for block in blocks], lengths)
    assert joined_checksum == zlib.adler32(b"".join(blocks))
