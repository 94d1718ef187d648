"""Every mode and depth of pixels: 8-bit RGB and alpha, through the profile; and the same as a mask, as numbers."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from nss.errors import ImageError
from nss.photos import image_io
from tests.nss.images import (
    SRGB,
    chunk,
    cmyk_profile,
    encode,
    linear_grey_profile,
    oriented,
    png,
    profile,
    white_point,
)


def test_alpha_is_kept_apart_from_straight_colour(rgb: np.ndarray) -> None:
    alpha = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60).astype(np.uint8)
    rgba = np.dstack([rgb, alpha])
    for source in (rgba, encode(Image.fromarray(rgba), "PNG"), encode(Image.fromarray(rgba), "TIFF")):
        result = image_io.load(source)
        assert np.array_equal(result.rgb, rgb)
        assert np.array_equal(result.alpha, alpha)


def test_greyscale_and_its_alpha(rgb: np.ndarray) -> None:
    grey, alpha = rgb[..., 0], rgb[..., 1]
    assert np.array_equal(image_io.load(grey).rgb, np.dstack([grey] * 3))
    assert np.array_equal(image_io.load(encode(Image.fromarray(grey), "PNG")).rgb, np.dstack([grey] * 3))
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    result = image_io.load(encode(both, "PNG"))
    assert np.array_equal(result.rgb, np.dstack([grey] * 3))
    assert np.array_equal(result.alpha, alpha)
    bits = image_io.load(encode(Image.fromarray(grey > 100), "PNG"))
    assert np.array_equal(bits.rgb[..., 2], np.where(grey > 100, 255, 0))


def test_palette_with_transparent_entries() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    data = encode(image, "PNG", transparency=bytes([255, 0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = image_io.load(data)
    assert result.rgb.tolist() == [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    assert result.alpha is not None
    assert result.alpha.tolist() == [[255, 0], [128, 0]]


def test_16_bit_greyscale_is_scaled() -> None:
    samples = np.array([[0, 128, 129, 257, 32767, 65278, 65535]], np.uint16)
    result = image_io.load(encode(Image.fromarray(samples), "PNG"))
    assert result.rgb[0, :, 0].tolist() == np.rint(samples / 257)[0].tolist()
    assert result.notes == ("16-bit reduced to 8",)


def test_16_bit_colour_and_transparent_key() -> None:
    lines = b"\0" + struct.pack(">6H", 0, 256, 65535, 32768, 1000, 513)
    result = image_io.load(png(2, 1, depth=16, colour=2, lines=lines))
    assert result.rgb.tolist() == [[[0, 1, 255], [128, 4, 2]]]
    assert result.notes == ("16-bit reduced to 8",)
    lines, key = b"\0" + struct.pack(">2H", 7, 8), chunk(b"tRNS", struct.pack(">H", 7))
    keyed = image_io.load(png(2, 1, depth=16, colour=0, lines=lines, extra=key))
    assert keyed.alpha is not None
    assert keyed.alpha.tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("samples", "expected", "note"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255], "float reduced to 8 bits"),
        (np.array([[-10, 0, 10]], np.float32), [0, 128, 255], "samples from -10 to 10 stretched to 8 bits"),
        (np.array([[3, 3, 3]], np.float32), [0, 0, 0], "samples from 3 to 3 stretched to 8 bits"),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255], "16-bit reduced to 8"),
        (
            np.array([[0, 1 << 19, 1 << 20]], np.int32),
            [0, 128, 255],
            "samples from 0 to 1.04858e+06 stretched to 8 bits",
        ),
    ],
)
def test_wide_samples_never_clip(samples: np.ndarray, expected: list[int], note: str) -> None:
    result = image_io.load(encode(Image.fromarray(samples), "TIFF"))
    assert result.rgb[0, :, 0].tolist() == expected
    assert result.notes == (note,)


def test_cmyk_goes_through_its_profile() -> None:
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
    image = Image.fromarray(inks, "CMYK")
    plain = image_io.load(encode(image, "TIFF"))
    assert plain.rgb.tolist() == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]
    assert plain.notes == ("CMYK converted to RGB without a profile",)
    managed = image_io.load(encode(image, "TIFF", icc_profile=cmyk_profile()))
    assert managed.notes == ("CMYK converted to sRGB",)
    assert managed.icc is not None
    assert managed.icc[16:20] == b"RGB "
    white, cyan, black = managed.rgb[0].astype(int)
    assert white.min() >= 253
    assert black.max() <= 2
    # L* = 2/3 of 100 and no hue is 162 in sRGB
    assert np.abs(cyan - 162).max() <= 3
    again = image_io.load(encode(image, "TIFF", icc_profile=cmyk_profile()))
    assert again.icc == managed.icc
    assert managed.icc[24:36] == bytes(12)  # no time of creation


def test_a_greyscale_profile_is_converted_and_a_foreign_one_dropped(rgb: np.ndarray) -> None:
    grey = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    managed = image_io.load(encode(grey, "TIFF", icc_profile=linear_grey_profile()))
    assert managed.notes == ("greyscale converted to sRGB",)
    assert np.abs(managed.rgb[0, :, 0].astype(int) - [0, 188, 255]).max() <= 1  # half of the light is 188 in sRGB
    foreign = image_io.load(encode(Image.fromarray(rgb), "PNG", icc_profile=cmyk_profile()))
    assert foreign.icc is None
    assert foreign.notes == ("ICC profile dropped: not for RGB",)


def rounded(samples: np.ndarray) -> np.ndarray:
    """16 bits to 8, by the definition."""
    return np.rint(samples / 257).astype(np.uint8)


COLOURS = {2: 3, 4: 2, 6: 4}
"""PNG's number of a colour type, and its channels."""


@given(
    colour=st.sampled_from(sorted(COLOURS)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 1 << 16),
    filter_=st.sampled_from([0, 2]),
)
@settings(max_examples=60, deadline=None)
def test_16_bit_png_is_rounded(colour: int, size: tuple[int, int], seed: int, filter_: int) -> None:
    (height, width), channels = size, COLOURS[colour]
    samples = np.random.default_rng(seed).integers(0, 1 << 16, (height, width, channels), dtype=np.uint16)
    samples.flat[:4] = [0, 65535, 128, 129][: samples.size]  # the ends, and both sides of a half
    lines = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    if filter_ == 2:  # the difference to the line above
        lines = np.diff(lines, axis=0, prepend=np.zeros((1, lines.shape[1]), np.uint8)).astype(np.uint8)
    content = b"".join(bytes([filter_]) + line.tobytes() for line in lines)
    data = png(width, height, depth=16, colour=colour, lines=content)
    result = image_io.load(data)
    expected = rounded(samples)
    assert np.array_equal(result.rgb, expected[..., :3] if channels > 2 else np.repeat(expected[..., :1], 3, axis=2))
    if channels % 2 == 0:
        assert np.array_equal(result.alpha, expected[..., -1])
    else:
        assert result.alpha is None
    assert result.notes == ("16-bit reduced to 8",)


def tiff(samples: np.ndarray, photometric: int, order: str, *, planes: bool = False, extra: bytes = b"") -> bytes:
    """A TIFF 6.0 file of uint16 HxWxC without compression, by hand."""
    height, width, channels = samples.shape
    pixels = (samples.transpose(2, 0, 1) if planes else samples).astype(order + "u2").tobytes()
    count = channels if planes else 1
    length = len(pixels) // count
    where = 8 + len(pixels)
    bits, firsts = struct.pack(f"{order}{channels}H", *[16] * channels), [8 + i * length for i in range(count)]
    tail = bits.ljust(8, b"\0") + struct.pack(f"{order}{2 * count}I", *firsts, *[length] * count)

    def at(offset: int, value: int) -> int:
        return value if count == 1 else where + offset

    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, channels, where),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, count, at(8, 8)),
        (277, 3, 1, channels),
        (278, 3, 1, height),
        (279, 4, count, at(8 + 4 * count, length)),
        (284, 3, 1, 2 if planes else 1),
    ]
    if extra:
        entries.append((338, 3, 1, extra[0]))
    table = struct.pack(order + "H", len(entries))
    for tag, kind, n, value in entries:
        data_of = struct.pack(order + "HH", value, 0) if kind == 3 and n == 1 else struct.pack(order + "I", value)
        table += struct.pack(order + "HHI", tag, kind, n) + data_of
    table += bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", where + len(tail)) + pixels + tail + table


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("channels", "photometric"), [(3, 2), (4, 2), (4, 5)], ids=["RGB", "RGBA", "CMYK"])
def test_16_bit_tiff_is_rounded(order: str, channels: int, photometric: int) -> None:
    samples = np.random.default_rng(5).integers(0, 1 << 16, (7, 9, channels), dtype=np.uint16)
    data = tiff(samples, photometric, order, extra=b"\x02" if (channels, photometric) == (4, 2) else b"")
    result = image_io.load(data)
    if photometric == 5:
        expected = np.asarray(Image.fromarray(rounded(samples), "CMYK").convert("RGB"))
    else:
        expected = rounded(samples)[..., :3]
    assert np.array_equal(result.rgb, expected)
    if photometric == 2 and channels == 4:
        assert np.array_equal(result.alpha, rounded(samples)[..., 3])
    assert result.notes[0] == "16-bit reduced to 8"


def test_16_bit_tiff_behind_a_compressor_is_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import TiffImagePlugin

    samples = np.random.default_rng(5).integers(0, 1 << 16, (7, 9, 3), dtype=np.uint16)
    monkeypatch.setattr(TiffImagePlugin, "READ_LIBTIFF", True)  # what reads compressed files; none are written here
    for order in "<>":
        assert np.array_equal(image_io.load(tiff(samples, 2, order)).rgb, rounded(samples))


def test_16_bit_planes_are_refused_rather_than_misread() -> None:
    samples = np.full((4, 6, 3), 1234, np.uint16)
    with pytest.raises(ImageError, match="in a plane of its own with 16 bits; save it with"):
        image_io.load(tiff(samples, 2, "<", planes=True))


def test_an_8_bit_image_with_a_16_in_its_tiles_is_no_16_bit_image() -> None:
    pixels = Image.new("RGB", (16, 16))
    pixels.tile = [ImageFile._Tile("raw", (0, 0, 16, 16), 0, ("RGB", 16, 1))]  # type: ignore[attr-defined]
    assert image_io.load(pixels).notes == ()


def test_a_transparent_16_bit_colour_is_compared_with_all_its_bits() -> None:
    near = [(258, 515, 772), (258, 515, 773), (257, 515, 772)]
    line = b"\0" + b"".join(struct.pack(">3H", *c) for c in near)
    result = image_io.load(
        png(3, 1, depth=16, colour=2, lines=line, extra=chunk(b"tRNS", struct.pack(">3H", *near[0])))
    )
    assert result.alpha is not None
    assert result.alpha.tolist() == [[0, 255, 255]]
    assert result.rgb[0, 0].tolist() == [1, 2, 3]


def test_16_bit_colour_keeps_its_profile() -> None:
    def with_profile(icc: bytes) -> bytes:
        return png(
            1, 1, depth=16, colour=2, lines=b"\0" + bytes(6), extra=chunk(b"iCCP", b"p\0\0" + zlib.compress(icc))
        )

    assert image_io.load(with_profile(SRGB)).icc == SRGB
    assert image_io.load(with_profile(cmyk_profile())).notes[-1] == "ICC profile dropped: not for RGB"


def test_16_bit_grey_goes_through_its_profile_with_all_its_bits() -> None:
    samples = np.array([[0, 60, 120, 180, 240, 300, 3000, 32768, 65535]], np.uint16)
    result = image_io.load(encode(Image.fromarray(samples), "TIFF", icc_profile=linear_grey_profile()))
    light = samples / 65535  # IEC 61966-2-1
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(result.rgb[..., 0] - expected).max() <= 0.6  # through 8 bits the first ones are all 0 or 13
    assert (result.rgb == result.rgb[..., :1]).all()
    assert result.notes == ("16-bit reduced to 8", "greyscale converted to sRGB")
    assert result.icc is not None
    floats = image_io.load(encode(Image.fromarray(light.astype(np.float32)), "TIFF", icc_profile=linear_grey_profile()))
    assert floats.notes == ("float reduced to 8 bits", "greyscale converted to sRGB")
    assert floats.rgb[0, -2].tolist() == [188] * 3


def test_the_inverted_inks_of_adobe_jpeg_are_put_right() -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:, 3] = 255
    data = encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=95, icc_profile=cmyk_profile())
    assert b"Adobe" in data
    result = image_io.load(data)
    assert result.rgb[:, :12].min() > 245  # paper
    assert result.rgb[:, 20:].max() < 10
    assert result.notes == ("CMYK converted to sRGB",)


def test_cielab_becomes_srgb() -> None:
    lab = np.array([[[255, 128, 128], [128, 128, 128], [100, 160, 100], [200, 110, 180]]], np.uint8)
    image = Image.frombytes("LAB", (4, 1), (lab ^ np.array([0, 128, 128], np.uint8)).tobytes())
    for source in (image, encode(image, "TIFF")):
        result = image_io.load(source)
        assert result.notes == ("CIELAB converted to sRGB",)
        # CIE 15, D50; Lindbloom's matrix from XYZ under D50 to linear sRGB
        lightness, a, b = lab[0, :, 0] / 255 * 100, lab[0, :, 1] - 128.0, lab[0, :, 2] - 128.0
        f = (lightness + 16) / 116
        cube = np.stack([f + a / 500, f, f - b / 200], 1)
        xyz = np.where(cube > 6 / 29, cube**3, 3 * (6 / 29) ** 2 * (cube - 4 / 29)) * [0.96422, 1, 0.82521]
        to_rgb = [
            [3.1338561, -1.6168667, -0.4906146],
            [-0.9787684, 1.9161415, 0.0334540],
            [0.0719453, -0.2289914, 1.4052427],
        ]
        light = np.clip(xyz @ np.transpose(to_rgb), 0, 1)
        expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        assert np.abs(result.rgb[0] - expected).max() <= 1
        assert result.icc is not None
        assert result.icc[16:20] == b"RGB "


def test_a_damaged_profile_is_no_profile(rgb: np.ndarray) -> None:
    inks = Image.fromarray(np.zeros((2, 2, 4), np.uint8), "CMYK")
    damaged = cmyk_profile()[:140]
    result = image_io.load(encode(inks, "TIFF", icc_profile=damaged))
    assert (result.rgb == 255).all()
    assert (result.icc, result.notes) == (None, ("CMYK converted to RGB without a profile",))
    grey = profile(b"GRAY", b"XYZ ", {b"wtpt": white_point()})
    result = image_io.load(encode(Image.fromarray(rgb[..., 0]), "TIFF", icc_profile=grey))
    assert np.array_equal(result.rgb[..., 1], rgb[..., 0])
    assert (result.icc, result.notes) == (None, ("greyscale converted to RGB without a profile",))


def test_a_mask_keeps_every_bit_of_its_grey_levels() -> None:
    samples = np.arange(0, 65536, 7, dtype=np.uint16)[:9360].reshape(90, 104)
    for format_ in ("PNG", "TIFF"):
        mask = image_io.load_mask(encode(Image.fromarray(samples), format_, icc_profile=linear_grey_profile()))
        assert mask.dtype == np.float32
        assert np.array_equal(np.rint(mask * 65535.0), samples)
        assert np.abs(mask - samples / 65535).max() < 1e-7
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for image in (Image.fromarray(eight), Image.fromarray(np.dstack([eight] * 3))):
        mask = image_io.load_mask(encode(image, "PNG"))
        assert np.array_equal(mask, (eight / 255).astype(np.float32))
    bits = image_io.load_mask(encode(Image.fromarray(eight > 99), "PNG"))
    assert np.array_equal(bits, (eight > 99).astype(np.float32))
    floats = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert np.array_equal(image_io.load_mask(encode(Image.fromarray(floats), "TIFF")), floats)


def test_a_mask_is_not_taken_through_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (3, 2), 128).save(path, icc_profile=linear_grey_profile())
    assert np.array_equal(image_io.load_mask(path), np.full((2, 3), 128 / 255, np.float32))


def test_a_cutout_gives_its_alpha_as_mask_unless_it_is_opaque(rgb: np.ndarray) -> None:
    alpha = rgb[..., 1]
    mask = image_io.load_mask(encode(Image.fromarray(np.dstack([rgb, alpha])), "PNG"))
    assert np.array_equal(mask, (alpha / 255).astype(np.float32))
    opaque = np.full_like(alpha, 255)
    grey = np.dstack([alpha, alpha, alpha, opaque])
    assert np.array_equal(image_io.load_mask(encode(Image.fromarray(grey), "PNG")), (alpha / 255).astype(np.float32))
    with pytest.raises(ImageError, match="in colour, and so no mask; give a greyscale image, or one with transparency"):
        image_io.load_mask(encode(Image.fromarray(np.dstack([rgb, opaque])), "PNG"))
    lines, key = b"\0" + struct.pack(">2H", 7, 8), chunk(b"tRNS", struct.pack(">H", 7))
    keyed = png(2, 1, depth=16, colour=0, lines=lines, extra=key)
    assert image_io.load_mask(keyed).tolist() == [[0, 1]]


def test_a_mask_is_put_upright() -> None:
    samples = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9999
    mask = image_io.load_mask(encode(Image.fromarray(samples), "PNG", exif=oriented(6)))
    assert np.array_equal(mask, (np.rot90(samples, -1) / 65535).astype(np.float32))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("RGB", (2, 2), "red"), "is in colour, and so no mask"),
        (Image.new("RGB", (2, 2), "yellow"), "is in colour, and so no mask"),
        (Image.new("CMYK", (2, 2)), "is in colour, and so no mask"),
        (Image.fromarray(np.full((2, 2), 1.5, np.float32)), "is no mask: its samples go beyond 0 to 1"),
        (Image.fromarray(np.full((2, 2), -1, np.int32)), "is no mask: its samples go beyond 0 to 1"),
        (Image.fromarray(np.full((2, 2), np.nan, np.float32)), "holds NaN or infinite samples"),
        (np.zeros((2, 2, 3), np.uint8), "cannot read a mask from an array of uint8"),
        (np.zeros((2, 2), np.int64), "cannot read a mask from an array of int64"),
        (np.full((2, 2), np.nan), "holds NaN; put numbers in 0..1 there"),
        (np.full((2, 2), 1.01), "its samples go from 1.01 to 1.01; floating point is taken in"),
        (np.zeros((0, 2)), "has no pixels"),
    ],
)
def test_what_is_no_mask(image: image_io.Source, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        image_io.load_mask(image)


def test_arrays_as_masks() -> None:
    for array, white in (
        (np.array([[False, True]]), 1),
        (np.array([[0, 128, 255]], np.uint8), 255),
        (np.array([[0, 300, 65535]], np.uint16), 65535),
        (np.array([[0, 300, 65535]], ">u2"), 65535),
        (np.array([[0, 0.3, 1]], np.float64), 1),
    ):
        mask = image_io.load_mask(array)
        assert mask.dtype == np.float32
        assert np.array_equal(mask, (array / white).astype(np.float32))
