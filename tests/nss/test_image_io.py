"""Photos as they come: every kind of file gives upright 8-bit RGB, or one line that says why not."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from nss import image_io
from nss.errors import ImageError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, lines: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG by hand (PNG specification, third edition, clause 11), for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def profile(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (ICC.1:2022, clause 7) of class output with these tags."""
    table, data, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content
    header = bytearray(128)
    header[0:4] = struct.pack(">I", offset + len(data))
    header[8:12] = b"\x02\x40\x00\x00"
    header[12:24] = b"prtr" + space + pcs
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">iii", 63190, 65536, 54061)  # D50
    return bytes(header) + table + data


def white_point() -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)


def cmyk_profile() -> bytes:
    """Every ink only darkens, by a third (black: wholly), and has no hue: unlike any plain formula."""
    identity = bytes(range(256))
    inks = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    lightness = (1 - inks[:, 3]) * (1 - inks[:, :3].sum(1) / 3)
    clut = np.stack([np.rint(255 * lightness), np.full(16, 128), np.full(16, 128)], 1).astype(np.uint8).tobytes()
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity * 4 + clut + identity * 3
    return profile(b"CMYK", b"Lab ", {b"A2B0": lut, b"A2B1": lut, b"wtpt": white_point()})


def linear_grey_profile() -> bytes:
    return profile(b"GRAY", b"XYZ ", {b"kTRC": b"curv\0\0\0\0\0\0\0\0", b"wtpt": white_point()})


STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    # EXIF 2.32, tag 0x0112: which side of the scene row 0 and column 0 of the stored pixels are
    1: lambda u: u,
    2: lambda u: u[:, ::-1],
    3: lambda u: u[::-1, ::-1],
    4: lambda u: u[::-1],
    5: lambda u: u.swapaxes(0, 1),
    6: lambda u: np.rot90(u, 1),
    7: lambda u: u[::-1, ::-1].swapaxes(0, 1),
    8: lambda u: np.rot90(u, -1),
}


@pytest.mark.parametrize(
    ("format_", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})]
)
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(
    rgb: np.ndarray, orientation: int, format_: str, options: dict[str, object]
) -> None:
    upright = np.zeros_like(rgb)
    upright[:20, :40] = 220  # survives JPEG
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = image_io.load(encoded(stored, format_, exif=exif, icc_profile=SRGB, **options))
    assert photo.size == (40, 60)
    assert np.abs(photo.rgb.astype(int) - upright).max() <= (12 if format_ == "JPEG" else 0)
    assert photo.icc == SRGB
    assert photo.format == format_


def test_pixels_and_profile_of_a_plain_photo_are_untouched(photo: Path, rgb: np.ndarray) -> None:
    loaded = image_io.load(photo)
    assert np.array_equal(loaded.rgb, rgb)
    assert (loaded.alpha, loaded.icc, loaded.path, loaded.notes) == (None, None, photo, ())


@pytest.mark.parametrize("form", ["str", "path", "bytes", "PIL", "array"])
def test_every_form_of_source_gives_the_same_pixels(form: str, photo: Path, rgb: np.ndarray) -> None:
    forms: dict[str, image_io.Source] = {
        "str": str(photo),
        "path": photo,
        "bytes": photo.read_bytes(),
        "PIL": Image.open(photo),
        "array": rgb,
    }
    assert np.array_equal(image_io.load(forms[form]).rgb, rgb)


def test_the_signature_decides_and_not_the_extension(photo: Path, rgb: np.ndarray) -> None:
    liar = photo.rename(photo.with_suffix(".jpg"))
    loaded = image_io.load(liar)
    assert loaded.format == "PNG"
    assert np.array_equal(loaded.rgb, rgb)


@pytest.mark.parametrize("format_", ["AVIF", "BMP", "JPEG2000", "PPM", "TIFF", "GIF", "WEBP"])
def test_the_other_formats_open(rgb: np.ndarray, format_: str) -> None:
    loaded = image_io.load(encoded(Image.fromarray(rgb), format_))
    assert loaded.format == format_
    assert loaded.rgb.shape == rgb.shape
    assert np.abs(loaded.rgb.astype(int) - rgb).mean() < 12  # a palette of 256 colours, or lossy


def test_alpha_is_kept_apart_from_straight_colour(rgb: np.ndarray) -> None:
    alpha = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60).astype(np.uint8)
    rgba = np.dstack([rgb, alpha])
    for source in (rgba, encoded(Image.fromarray(rgba), "PNG"), encoded(Image.fromarray(rgba), "TIFF")):
        loaded = image_io.load(source)
        assert np.array_equal(loaded.rgb, rgb)
        assert np.array_equal(loaded.alpha, alpha)


def test_greyscale_and_its_alpha(rgb: np.ndarray) -> None:
    grey, alpha = rgb[..., 0], rgb[..., 1]
    assert np.array_equal(image_io.load(grey).rgb, np.dstack([grey] * 3))
    assert np.array_equal(image_io.load(encoded(Image.fromarray(grey), "PNG")).rgb, np.dstack([grey] * 3))
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    loaded = image_io.load(encoded(both, "PNG"))
    assert np.array_equal(loaded.rgb, np.dstack([grey] * 3))
    assert np.array_equal(loaded.alpha, alpha)
    bits = image_io.load(encoded(Image.fromarray(grey > 100), "PNG"))
    assert np.array_equal(bits.rgb[..., 2], np.where(grey > 100, 255, 0))


def test_palette_with_transparent_entries() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    data = encoded(image, "PNG", transparency=bytes([255, 0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = image_io.load(data)
    assert loaded.rgb.tolist() == [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    assert loaded.alpha is not None
    assert loaded.alpha.tolist() == [[255, 0], [128, 0]]


def test_16_bit_greyscale_is_scaled() -> None:
    samples = np.array([[0, 128, 129, 257, 32767, 65278, 65535]], np.uint16)
    loaded = image_io.load(encoded(Image.fromarray(samples), "PNG"))
    assert loaded.rgb[0, :, 0].tolist() == np.rint(samples / 257)[0].tolist()
    assert loaded.notes == ("16-bit reduced to 8",)


def test_16_bit_colour_and_transparent_key() -> None:
    lines = b"\0" + struct.pack(">6H", 0, 256, 65535, 32768, 1000, 513)
    loaded = image_io.load(png(2, 1, 16, 2, lines))
    assert loaded.rgb.tolist() == [[[0, 1, 255], [128, 3, 2]]]
    assert loaded.notes == ("16-bit reduced to 8",)
    key = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 7)
    key += struct.pack(">I", zlib.crc32(key[4:]))
    keyed = image_io.load(png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 7, 8), key))
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
    loaded = image_io.load(encoded(Image.fromarray(samples), "TIFF"))
    assert loaded.rgb[0, :, 0].tolist() == expected
    assert loaded.notes == (note,)


def test_cmyk_goes_through_its_profile() -> None:
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
    image = Image.fromarray(inks, "CMYK")
    plain = image_io.load(encoded(image, "TIFF"))
    assert plain.rgb.tolist() == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]
    assert plain.notes == ("CMYK converted to RGB without a profile",)
    managed = image_io.load(encoded(image, "TIFF", icc_profile=cmyk_profile()))
    assert managed.notes == ("CMYK converted to sRGB",)
    assert managed.icc is not None
    assert managed.icc[16:20] == b"RGB "
    white, cyan, black = managed.rgb[0].astype(int)
    assert white.min() >= 253
    assert black.max() <= 2
    # L* = 2/3 of 100 and no hue is 162 in sRGB
    assert np.abs(cyan - 162).max() <= 3
    again = image_io.load(encoded(image, "TIFF", icc_profile=cmyk_profile()))
    assert again.icc == managed.icc


def test_a_greyscale_profile_is_converted_and_a_foreign_one_dropped(rgb: np.ndarray) -> None:
    grey = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    managed = image_io.load(encoded(grey, "TIFF", icc_profile=linear_grey_profile()))
    assert managed.notes == ("greyscale converted to sRGB",)
    assert np.abs(managed.rgb[0, :, 0].astype(int) - [0, 188, 255]).max() <= 1  # half of the light is 188 in sRGB
    foreign = image_io.load(encoded(Image.fromarray(rgb), "PNG", icc_profile=cmyk_profile()))
    assert foreign.icc is None
    assert foreign.notes == ("ICC profile dropped: not for RGB",)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_used(format_: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format_ == "WEBP" else {}
    loaded = image_io.load(encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options))
    assert (loaded.rgb == (255, 0, 0)).all()
    assert loaded.notes == ("several pages: first page used" if format_ == "TIFF" else "animated: first frame used",)


def test_the_previews_of_a_phone_photo_are_no_animation() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime")]
    loaded = image_io.load(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert loaded.format == "MPO"
    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"Dear diary, today I", "is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is not an image"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC images cannot be read yet"),
        (b"\xff\xd8\xff\xe0 and nothing more", "truncated or damaged JPEG"),
        (png(30000, 30000, 1, 0), "30000 x 30000 pixels are more than 300 megapixels"),
        (png(0, 5, 8, 0), "damaged PNG"),
    ],
    ids=["empty", "text", "EPS", "HEIC", "JPEG", "bomb", "no pixels"],
)
def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "thing.png"
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        image_io.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM"])
def test_a_truncated_image_is_refused(format_: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format_)
    with pytest.raises(ImageError, match="truncated or damaged"):
        image_io.load(data[: len(data) * 2 // 3])


def test_paths_that_are_no_readable_file(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "missing.png", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / ("n" * 300), "cannot be read"),
        (Path("nul\0byte.png"), "cannot be read"),
    ):
        with pytest.raises(ImageError, match=message):
            image_io.load(path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        image_io.load(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        Image.new("RGB", (0, 4)),
        Image.new("LAB", (4, 4)),
        Image.fromarray(np.full((2, 2), np.nan, np.float32)),
        3,
    ],
    ids=["float", "2 channels", "batch", "empty array", "empty PIL", "LAB", "NaN", "int"],
)
def test_sources_in_memory_that_are_no_photo(source: object) -> None:
    with pytest.raises(ImageError):
        image_io.load(source)  # type: ignore[arg-type]


def test_the_limit_is_our_own_and_quiet(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # photo has 2400
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_io.load(photo).size == (40, 60)
    monkeypatch.setattr(image_io, "MAX_PIXELS", 2399)
    with pytest.raises(ImageError, match="decompression bomb"):
        image_io.load(photo)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_damaged_bytes_give_an_image_or_an_image_error(
    rgb: np.ndarray, format_: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encoded(Image.fromarray(rgb), format_))
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(150):
        damaged = data.copy()
        for position in rng.integers(0, min(len(data), 300), 3):
            damaged[position] = rng.integers(256)
        try:
            image_io.load(bytes(damaged))
        except ImageError:
            refused += 1
    assert refused  # the damage was real
    assert capfd.readouterr().err == ""
