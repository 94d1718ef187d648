"""What of a photo's EXIF a cut-out carries on: Pillow's parser, and blocks written by hand, are the oracles."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from nss.photos import exif, image_io
from tests.nss.images import Entry, encode, exif_block

ORDERS = pytest.mark.parametrize("order", ["<", ">"])
THUMBNAIL = b"\xff\xd8 a small picture of the background \xff\xd9"
MAKER_NOTE = b"serial number 4711, and a preview"
PLACE = b"52deg N"


def camera(order: str) -> bytes:
    """What a camera writes, and some that only others do."""

    def short(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}H", *values)

    def rational(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}I", *values)

    primary: list[Entry] = [
        (0x0100, 4, 1, rational(6000)),
        (0x0101, 4, 1, rational(4000)),
        (0x010F, 2, 6, b"Maker\0"),
        (0x0110, 2, 3, b"X7\0"),  # in the entry itself
        (0x0112, 3, 1, short(6)),
        (0x011A, 5, 1, rational(72, 1)),
        (0x0128, 3, 1, short(2)),
        (0x013B, 2, 6, b"J\xfcrg.\0"),  # not UTF-8
        (0x02BC, 1, 19, b'<x GPSLatitude="52"'),
        (0x8290, 13, 1, rational(8)),  # a directory of which nothing is known
        (0x8298, 2, 5, b"mine\0"),
        (0x9C9B, 1, 8, "Title".encode("utf-16-le")[:8]),
    ]
    photo: list[Entry] = [
        (0x829A, 5, 1, rational(1, 250)),
        (0x829D, 5, 1, rational(0, 0)),
        (0x8827, 3, 2, short(100, 200)),
        (0x9000, 7, 4, b"0232"),
        (0x9003, 2, 20, b"2024:05:06 07:08:09\0"),
        (0x9101, 7, 4, b"\1\2\3\0"),
        (0x9204, 10, 1, struct.pack(f"{order}2i", -1, 3)),
        (0x9214, 3, 4, short(100, 200, 30, 40)),
        (0x927C, 7, len(MAKER_NOTE), MAKER_NOTE),
        (0xA001, 3, 1, short(1)),
        (0xA002, 4, 1, rational(6000)),
        (0xA003, 3, 1, short(4000)),
        (0xA432, 5, 4, rational(24, 1, 70, 1, 28, 10, 28, 10)),
        (0xFDE8, 11, 3, struct.pack(f"{order}3f", 1.5, -2.25, 1e30)),  # private
        (0xFDE9, 12, 1, struct.pack(f"{order}d", 1 / 3)),
    ]
    gps: list[Entry] = [(0, 1, 4, b"\2\3\0\0"), (1, 2, 2, b"N\0"), (2, 5, 3, rational(52, 1, 30, 1, 0, 1))]
    gps.append((0x1B, 7, len(PLACE), PLACE))
    related: list[Entry] = [(1, 2, 4, b"R98\0"), (2, 7, 4, b"0100"), (0x1001, 3, 1, short(6000))]
    return exif_block(order, primary, photo, gps, interoperability=related, thumbnail=THUMBNAIL)


DROPPED = {0x0100, 0x0101, 0x0112, 0x02BC, 0x8290, 0x9101, 0x9214, 0x927C, 0xA002, 0xA003, 0x1001}
POINTERS = {0x8769, 0x8825, 0xA005}


def parse(block: bytes) -> dict[str, dict[int, Any]]:
    """As Pillow reads it, less the tags that say where a directory is."""
    whole = Image.Exif()
    whole.load(block)
    directories = {"primary": dict(whole), "exif": whole.get_ifd(0x8769), "gps": whole.get_ifd(0x8825)}
    # where there is none Pillow before 13 raises KeyError
    directories["interoperability"] = whole.get_ifd(0xA005) if 0xA005 in directories["exif"] else {}
    directories["thumbnail"] = whole.get_ifd(1)
    return {name: {t: repr(v) for t, v in d.items() if t not in POINTERS} for name, d in directories.items()}


def entries(block: bytes, offset: int | None = None) -> dict[int, Entry]:
    """The entries of one directory, the first by default, with their bytes."""
    order = {b"I": "<", b"M": ">"}[block[:1]]
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
    at = struct.unpack_from(order + "I", block, 4)[0] if offset is None else offset
    (count,) = struct.unpack_from(order + "H", block, at)
    directories = {}
    for i in range(count):
        tag, kind, n, inline = struct.unpack_from(order + "HHI4s", block, at + 2 + 12 * i)
        size = sizes[kind] * n
        start = struct.unpack(order + "I", inline)[0] if size > 4 else at + 2 + 12 * i + 8
        assert start % 2 == 0
        assert start + size <= len(block)
        directories[tag] = (tag, kind, n, block[start : start + size])
    assert list(directories) == sorted(directories)
    assert struct.unpack_from(order + "I", block, at + 2 + 12 * count) == (0,)  # no second directory
    return directories


@ORDERS
@pytest.mark.parametrize("gps", [False, True])
def test_all_but_what_no_longer_holds_or_gives_away_is_kept(order: str, gps: bool) -> None:
    block = camera(order)
    assert THUMBNAIL in block
    cleaned = exif.clean(block, gps=gps)
    assert cleaned is not None
    old, new = parse(block), parse(cleaned)
    for name in ("primary", "exif", "interoperability"):
        assert new[name] == {t: v for t, v in old[name].items() if t not in DROPPED}
    assert len(new["primary"]) == 7
    assert len(new["exif"]) == 10
    assert new["gps"] == (old["gps"] if gps else {})
    assert new["thumbnail"] == {}
    assert (PLACE in cleaned) is gps
    for secret in (THUMBNAIL, MAKER_NOTE, b"GPSLatitude"):
        assert secret not in cleaned
    assert cleaned[:2] == block[:2]


@ORDERS
def test_types_counts_and_bytes_are_kept(order: str) -> None:
    block = camera(order)
    cleaned = exif.clean(block, gps=True)
    assert cleaned is not None
    primary = entries(cleaned)
    assert primary[0x013B] == (0x013B, 2, 6, b"J\xfcrg.\0")
    assert primary[0x0110] == (0x0110, 2, 3, b"X7\0")
    pointer = struct.unpack(order + "I", primary[0x8769][3])[0]
    photo = entries(cleaned, pointer)
    assert photo[0x829D][1:] == (5, 1, bytes(8))
    assert photo[0x9000] == (0x9000, 7, 4, b"0232")
    assert photo[0x9204][3] == struct.pack(f"{order}2i", -1, 3)
    assert photo[0xFDE9] == (0xFDE9, 12, 1, struct.pack(f"{order}d", 1 / 3))
    assert entries(cleaned, struct.unpack(order + "I", primary[0x8825][3])[0])[0x1B][3] == PLACE
    assert entries(cleaned, struct.unpack(order + "I", photo[0xA005][3])[0])[1][3] == b"R98\0"


@ORDERS
def test_a_clean_block_stays_as_it_is(order: str) -> None:
    cleaned = exif.clean(camera(order), gps=True)
    assert cleaned is not None
    assert exif.clean(cleaned, gps=True) == cleaned
    assert len(cleaned) < 600


def test_nothing_left_is_none() -> None:
    size = struct.pack("<I", 100)
    assert exif.clean(exif_block("<", [(0x0112, 3, 1, b"\6\0"), (0x0100, 4, 1, size)], thumbnail=THUMBNAIL)) is None
    only_gps = exif_block("<", [], gps=[(1, 2, 2, b"N\0")])
    assert exif.clean(only_gps) is None
    result = exif.clean(only_gps, gps=True)
    assert result is not None
    assert parse(result)["gps"] == {1: "'N'"}


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"II*\0", b"II*\0\x08\0\0\0", b"not a block at all", b"II+\0\x08\0\0\0" + bytes(40), bytes(99)],
)
def test_a_damaged_block_is_none(block: bytes) -> None:
    assert exif.clean(block) is None
    assert not exif.is_sound(block)


def test_a_value_outside_of_the_block_is_left_out_alone() -> None:
    block = exif_block("<", [(0x010F, 2, 6, b"Maker\0"), (0x0131, 2, 8, b"Program\0")])
    (at,) = struct.unpack_from("<I", block, block.index(struct.pack("<HHI", 0x0131, 2, 8)) + 8)
    cleaned = exif.clean(block.replace(struct.pack("<I", at), struct.pack("<I", 1 << 30)))
    assert cleaned is not None
    assert list(entries(cleaned)) == [0x010F]


def test_directories_that_overlap_do_not_swell() -> None:
    entry = struct.pack("<HHII", 0x010F, 2, 6_000, 8)
    count = 500
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", count)
    block += b"".join(struct.pack("<H", 0x0300 + i) + entry[2:] for i in range(count))
    assert len(exif.clean(block) or b"") <= 2 * len(block)  # and not 500 times


@given(data=st.data(), order=st.sampled_from("<>"), gps=st.booleans())
@settings(max_examples=150, deadline=None)
def test_damage_never_raises_and_gives_a_sound_block_or_none(data: st.DataObject, order: str, gps: bool) -> None:
    block = bytearray(camera(order))
    # the directories are at the start, their values at the end
    places = st.one_of(st.integers(0, 700), st.integers(6000, len(block) - 1))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(places)] = data.draw(st.integers(0, 255))
    del block[data.draw(st.integers(0, len(block))) :]
    cleaned = exif.clean(bytes(block), gps=gps)
    if cleaned is not None:
        entries(cleaned)
        assert exif.is_sound(cleaned)
        assert exif.clean(cleaned, gps=gps) == cleaned
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Image.Exif().load(cleaned)


@ORDERS
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_a_cleaned_block_is_read_by_others_from_a_file(order: str, format_: str) -> None:
    cleaned = exif.clean(camera(order), gps=True)
    assert cleaned is not None
    image = Image.open(io.BytesIO(encode(Image.new("RGB", (8, 8)), format_, exif=b"Exif\0\0" + cleaned)))
    image.load()
    exif_tags = image.getexif()
    assert (exif_tags[0x010F], exif_tags[0x8298]) == ("Maker", "mine")
    assert exif_tags.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert exif_tags.get_ifd(0x8825)[2] == (52, 30, 0)


@ORDERS
def test_of_a_tiff_file_the_tags_that_say_nothing_of_its_pixels_are_the_block(order: str) -> None:
    settings = Image.Exif()
    settings.endian = order
    settings.load(b"Exif\0\0" + (exif.clean(camera(order), gps=True) or b""))
    settings[0x0112] = 6
    data = encode(Image.new("RGB", (9, 4)), "TIFF", exif=settings, icc_profile=bytes(200), dpi=(72, 72))
    photo = image_io.load(data)
    assert photo.size == (9, 4)
    assert photo.exif is not None
    directories_of = parse(photo.exif)
    assert directories_of["primary"][0x0112] == "6"  # as it was in the file
    assert not {0x0100, 0x0101, 0x0111, 0x0117, 0x8773} & directories_of["primary"].keys()
    assert directories_of["primary"][0x8298] == "'mine'"
    assert directories_of["exif"][0x829A] == parse(camera(order))["exif"][0x829A]
    assert directories_of["gps"] == parse(camera(order))["gps"]
    assert len(photo.exif) < 900
    plain = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    assert image_io.load(encode(plain, "TIFF")).exif is None


def test_the_strips_of_a_large_tiff_file_do_not_crowd_out_its_exif() -> None:
    strips = {0x0116: 1, 0x8298: "mine"}
    data = encode(Image.new("RGB", (1, 17_000)), "TIFF", tiffinfo=strips)
    assert struct.pack("<HHI", 0x0111, 4, 17_000) in data  # 68 kB of offsets
    photo = image_io.load(data)
    assert photo.exif is not None
    assert parse(photo.exif)["primary"] == {0x8298: "'mine'"}


@pytest.mark.parametrize(("value", "lies"), [(1, 1), (6, 6), (0, 1), (9, 1), (65535, 1)])
def test_an_orientation_that_does_not_exist_turns_nothing(value: int, lies: int) -> None:
    block = exif_block("<", [(0x0112, 3, 1, struct.pack("<H", value))])
    data = encode(Image.new("RGB", (8, 4)), "JPEG", exif=b"Exif\0\0" + block)
    photo = image_io.load(data)
    assert photo.size == ((8, 4) if lies == 6 else (4, 8))
    assert photo.exif == block
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, ImageFile.ImageFile)
    assert exif.orientation(image) == lies
