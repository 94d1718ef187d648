"""Round trips of every format and depth, and files that are not what they should be."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nss.errors import ImageError, UsageError
from nss.files import export, png, png_check, verify
from nss.files.formats import FORMATS, Encoding
from nss.files.picture import Picture
from tests.nss.pictures import EXIF_IFD, GPS_IFD, SRGB, exif, pixels, rgba, texture

KINDS = ["rgba", "opaque", "rgb", "8 bits", "16 bits"]
Save = Callable[..., None]


def possible(name: str, kind: str) -> bool:
    alpha, bits = kind in ("rgba", "opaque"), 16 if kind == "16 bits" else 8
    return (FORMATS[name].alpha or not alpha) and bits in FORMATS[name].bits


def block_means(image: np.ndarray) -> np.ndarray:
    """Of the 16 x 16 blocks of an image whose sides are multiples of 16."""
    height, width = image.shape[0] // 16, image.shape[1] // 16
    return image.reshape(height, 16, width, 16, -1).mean(axis=(1, 3))[..., :3]


@pytest.mark.parametrize("quality", [None, 40, 90])
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in FORMATS for kind in KINDS if possible(name, kind)])
def test_round_trip(tmp_path: Path, name: str, kind: str, quality: int | None) -> None:
    if quality is not None and not FORMATS[name].lossy:
        with pytest.raises(UsageError, match="is lossless"):
            Encoding(name, quality)
        return
    encoding = Encoding(name, quality)
    reference = pixels(kind)
    picture = Picture(reference, SRGB, exif())
    path = export.write(picture, tmp_path / f"out{FORMATS[name].extensions[0]}", encoding=encoding)
    with Image.open(path) as image:  # Pillow's own choice of the decoder
        assert image.format == FORMATS[name].pillow
        assert image.info["icc_profile"] == SRGB
        result = np.asarray(image)
    if result.ndim == 3 and reference.ndim == 2:
        result = result[..., 0]
    if reference.shape[2:] == (4,) and result.shape[2] == 3:
        assert kind == "opaque"
        result = np.dstack([result, np.full(result.shape[:2], 255, np.uint8)])
    assert result.shape == reference.shape
    assert result.dtype == reference.dtype
    if encoding.lossless:
        assert np.array_equal(result, reference)
        return
    if reference.shape[2:] == (4,):
        assert np.abs(result[..., 3].astype(int) - reference[..., 3]).max() <= verify.ALPHA_TOLERANCE[name]
    off = np.abs(block_means(result) - block_means(reference))
    mean, most = verify.COLOUR_TOLERANCE[name, (quality or 90) >= verify.FINE]
    assert off.mean() < mean
    assert np.percentile(off, 99) < most
    # measured at 90: WebP 1.3, AVIF 0.9, JPEG 0.5; at 40: WebP 4.1, AVIF 2.5, JPEG 2.1
    assert off.max() < (20 if quality == 40 else 8)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(["webp", "avif", "jpeg"]),
    st.integers(1, 100),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["noise", "contrast", "flat"]),
    st.integers(0, 2**32 - 1),
)
def test_no_quality_is_refused_however_hard_the_picture(
    name: str, quality: int, height: int, width: int, content: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    picture = {
        "noise": rng.integers(0, 256, (height, width, 4), dtype=np.uint8),
        "contrast": (rng.integers(0, 2, (height, width, 4)) * 255).astype(np.uint8),
        "flat": np.full((height, width, 4), rng.integers(0, 256, 4), np.uint8),
    }[content]
    export.encode(Picture(picture if name != "jpeg" else picture[..., :3]), Encoding(name, quality))


def test_stripes_that_halved_colour_resolution_shifts() -> None:
    stripes = np.where((np.arange(192) // 3 % 2)[None, :, None] > 0, np.uint8([255, 0, 0]), np.uint8([0, 0, 255]))
    for quality in (1, 50, 90):
        export.encode(Picture(stripes.repeat(64, axis=0)), Encoding("webp", quality))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("effort", [None, 0])
def test_exif_comes_back_with_all_its_directories(tmp_path: Path, name: str, order: str, effort: int | None) -> None:
    block = exif(order)
    path = tmp_path / f"out{FORMATS[name].extensions[0]}"
    export.write(Picture(rgba()[..., :3], SRGB, block), path, encoding=Encoding(name, None, effort))
    with Image.open(path) as image:
        assert np.asarray(image).shape == (96, 192, 3)
        result = image.getexif()
        assert result[0x010E] == "a photo"
        assert result[0x011A] == 72
        assert 0x0112 not in result
        assert result.get_ifd(EXIF_IFD)[0x9003] == "2026:01:02 03:04:05"
        assert result.get_ifd(EXIF_IFD)[0x829A] == pytest.approx(1 / 200)
        assert result.get_ifd(EXIF_IFD)[0xA432][:2] == (24, 70)
        assert result.get_ifd(GPS_IFD)[2] == (59, 19, 46.5)
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize("name", list(FORMATS))
def test_no_profile_and_no_exif_by_themselves(name: str) -> None:
    image = Image.open(io.BytesIO(export.encode(Picture(rgba()[..., :3]), Encoding(name))))
    assert image.info.get("icc_profile") is None
    result = image.getexif()
    assert 0x010E not in result
    assert not result.get_ifd(EXIF_IFD)


def premultiplied(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[..., :3] = np.rint(image[..., :3] * (image[..., 3:] / 255))
    return image


def without_hidden(image: np.ndarray) -> np.ndarray:
    return image * np.uint8([1, 1, 1, 1]) * (image[..., 3:] > 0)


def faded(levels: int) -> Callable[[np.ndarray], np.ndarray]:
    def fade(image: np.ndarray) -> np.ndarray:
        image = image.copy()
        image[40, 100, 3] -= levels
        return image

    return fade


@pytest.mark.parametrize(
    ("encoding", "change", "options", "message"),
    [
        (Encoding("png"), premultiplied, {}, "pixels differ"),
        (Encoding("tiff"), premultiplied, {}, "pixels differ"),
        (Encoding("webp"), premultiplied, {}, "pixels differ"),
        (Encoding("webp", 90), premultiplied, {}, "its colours are multiplied by alpha"),
        (Encoding("avif"), premultiplied, {}, "its colours are multiplied by alpha"),
        (Encoding("avif"), None, {"alpha_premultiplied": True}, "colours differ"),
        (Encoding("webp"), None, {"exact": False}, "pixels differ"),
        (Encoding("webp", 90), None, {"exact": False}, "colours under alpha 0 differ"),
        (Encoding("png"), without_hidden, {}, "pixels differ"),
        (Encoding("avif"), without_hidden, {}, "colours under alpha 0 differ"),
        (Encoding("webp", 90), without_hidden, {}, "colours under alpha 0 differ"),
        (Encoding("png"), faded(1), {}, "pixels differ"),
        (Encoding("webp", 90), faded(1), {}, "alpha differs by up to 1 levels"),
        (Encoding("avif"), faded(3), {}, "alpha differs by up to 3 levels"),
        (Encoding("avif", 75), None, {"advanced": None}, "alpha differs"),
        (Encoding("avif"), lambda image: image[..., [2, 1, 0, 3]], {}, "colours"),
        (Encoding("webp", 90), lambda image: image[..., [2, 1, 0, 3]], {}, "colours"),
        (Encoding("jpeg"), lambda image: image[..., ::-1], {}, "colours differ"),
        (Encoding("jpeg", 30), lambda image: image[..., ::-1], {}, "colours differ"),
        (Encoding("jpeg"), lambda image: image[:, :96].repeat(2, axis=1), {}, "colours differ"),
        (Encoding("png"), lambda image: image[..., :3], {}, "pixels of RGB were read for RGBA"),
        (Encoding("avif"), lambda image: image[..., :3], {}, "alpha differs"),
        (Encoding("webp", 90), lambda image: image[..., :3], {}, "alpha differs"),
        (Encoding("webp"), lambda image: image[..., :3], {}, "pixels differ"),
        (Encoding("jpeg"), lambda image: image[:-1], {}, "192 x 95 pixels were read for 192 x 96"),
        (Encoding("jpeg"), lambda image: image[..., 0], {}, "pixels of L were read for RGB"),
        *((Encoding(name), None, {"icc_profile": None}, "the ICC profile differs") for name in FORMATS),
        *((Encoding(name), None, {"icc_profile": SRGB[:-1] + b"x"}, "the ICC profile differs") for name in FORMATS),
        *((Encoding(name), None, {"exif": b""}, "the EXIF differs") for name in FORMATS if name != "tiff"),
        *(
            (Encoding(name), None, {"exif": b"Exif\0\0" + exif(orientation=1)}, "the EXIF differs")
            for name in FORMATS
            if name not in ("tiff", "avif")
        ),
        # AVIF keeps the orientation in a place of its own, from which Pillow gives it back
        (Encoding("avif"), None, {"exif": b"Exif\0\0" + exif(orientation=6)}, "the EXIF differs"),
        (Encoding("tiff"), None, {"tiffinfo": {0x0112: 1}}, "the EXIF differs"),
    ],
)
def test_a_wrong_file_is_refused_and_removed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: Encoding,
    change: Callable[[np.ndarray], np.ndarray] | None,
    options: dict[str, Any],
    message: str,
    listing: Callable[[Path], list[str]],
) -> None:
    save, write_png = Image.Image.save, png.write

    def save_wrongly(image: Image.Image, file: object, *arguments: object, **parameters: object) -> None:
        if change is not None:
            image = Image.fromarray(np.ascontiguousarray(change(np.asarray(image))))
        save(image, file, *arguments, **{**parameters, **options})

    def write_png_wrongly(picture: Picture, file: IO[bytes], effort: int | None) -> None:
        wrong = picture.pixels if change is None else change(picture.pixels)
        block = options.get("exif", picture.exif)
        block = None if block is None else block.removeprefix(b"Exif\0\0")
        write_png(Picture(wrong, options.get("icc_profile", picture.icc), block), file, effort)

    picture = Picture(rgba() if encoding.has_alpha else rgba()[..., :3], SRGB, exif())
    path = tmp_path / f"out{encoding.of.extensions[0]}"
    export.write(picture, path, encoding=encoding).unlink()
    monkeypatch.setattr(Image.Image, "save", save_wrongly)
    monkeypatch.setattr(png, "write", write_png_wrongly)
    with pytest.raises(ImageError, match=f"out.*: the written file was not what it should be.*{message}"):
        export.write(picture, path, encoding=encoding)
    assert listing(tmp_path) == []
    with pytest.raises(ImageError, match=message):
        export.encode(picture, encoding)


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_eight_bits_are_no_sixteen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_png = png.write
    monkeypatch.setattr(export, "_as_image", lambda deep: Image.fromarray((deep >> 8).astype(np.uint8)))
    monkeypatch.setattr(
        png, "write", lambda deep, *rest: write_png(Picture((deep.pixels >> 8).astype(np.uint8)), *rest)
    )
    with pytest.raises(ImageError, match="pixels of L were read for I;16"):
        export.encode(Picture(pixels("16 bits")), Encoding(name))


@pytest.mark.parametrize("name", list(FORMATS))
def test_tags_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    save, write_png = Image.Image.save, png.write
    more = {"tiffinfo": {0x010E: "secret"}} if name == "tiff" else {"exif": b"Exif\0\0" + exif()}
    monkeypatch.setattr(
        Image.Image, "save", lambda image, *arguments, **options: save(image, *arguments, **{**options, **more})
    )
    monkeypatch.setattr(png, "write", lambda picture, *rest: write_png(Picture(picture.pixels, None, exif()), *rest))
    with pytest.raises(ImageError, match="the EXIF differs"):
        export.encode(Picture(rgba()[..., :3]), Encoding(name))


@pytest.mark.parametrize("name", list(FORMATS))
def test_an_orientation_is_never_written(name: str) -> None:
    """The pixels are upright already, so that a viewer would turn them once more."""
    # Pillow turns a TIFF image while it is read
    with pytest.raises(ImageError, match="96 x 192 pixels were read" if name == "tiff" else "the EXIF differs"):
        export.encode(Picture(rgba()[..., :3], SRGB, exif(orientation=6)), Encoding(name))


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_that_is_cut_short(name: str) -> None:
    picture, encoding = Picture(rgba()[..., :3]), Encoding(name)
    whole = export.encode(picture, encoding)
    verify.verify_file(io.BytesIO(whole), picture, encoding, "file")
    for size in (0, 10, len(whole) // 2):
        with pytest.raises(ImageError, match=r"file: the written file was not .* it does not decode"):
            verify.verify_file(io.BytesIO(whole[:size]), picture, encoding, "file")


def test_memory_that_runs_out_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    for name, place in (
        ("png", "nss.files.png_check.holds"),
        ("webp", "PIL.WebPImagePlugin.WebPImageFile.load"),
    ):
        whole = export.encode(Picture(rgba()), Encoding(name))
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            with pytest.raises(MemoryError):
                verify.verify_file(io.BytesIO(whole), Picture(rgba()), Encoding(name), "file")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", ["text", "gAMA"])
def test_a_png_of_a_kind_that_is_not_written_is_left_to_pillow(kind: str, chunk: str) -> None:
    picture = Picture(pixels(kind))
    info = PngInfo()
    if chunk == "text":
        info.add_text("a", "b")
    else:
        info.add(b"gAMA", (45455).to_bytes(4, "big"))
    file = io.BytesIO()
    export._as_image(picture.pixels).save(file, "PNG", pnginfo=info)
    assert png_check.read(file) is None
    verify.verify_file(file, picture, Encoding("png"), "file")
    other = picture.pixels.copy()
    other[50, 60] ^= 1
    with pytest.raises(ImageError, match="pixels differ"):
        verify.verify_file(file, Picture(other), Encoding("png"), "file")


@pytest.mark.parametrize("height", [1, 15, 16, 17, 255, 256, 257, 271, 272, 513, 527])
def test_strips_and_blocks_cover_everything_once(height: int) -> None:
    reference = texture(height, 37)
    strips = list(verify._strips(Image.fromarray(reference), Picture(reference)))
    assert np.array_equal(np.concatenate([rows for rows, _ in strips]), reference)
    assert all(len(rows) >= min(height, verify.BLOCK) for rows, _ in strips)
    grey = np.full_like(reference, 100)
    assert np.allclose(verify._block_errors(grey + np.uint8([0, 7, 3]), grey), 7)
    errors = [verify._block_errors(a, b) for a, b in verify._strips(Image.fromarray(reference), Picture(reference))]
    assert sum(e.shape[0] for e in errors) == max(height // 16, 1)
    assert {e.shape[1] for e in errors} == {2}


def test_the_regression_tells_straight_from_premultiplied() -> None:
    whole = rgba()
    colours, alpha = whole[..., :3], whole[..., 3]
    multiplied = premultiplied(whole)[..., :3]
    assert verify.straightness(colours, colours, alpha).slope == pytest.approx(1, abs=1e-12)
    assert verify.straightness(multiplied, colours, alpha).slope == pytest.approx(0, abs=1e-3)
    half = verify.straightness(colours[:48], colours[:48], alpha[:48])
    rest = verify.straightness(multiplied[48:], colours[48:], alpha[48:])
    assert (half + rest).slope == pytest.approx(half.evidence / (half.evidence + rest.evidence), abs=1e-3)
    assert verify.straightness(colours * 0, colours * 0, alpha).slope is None
    assert verify.straightness(colours, colours, np.full_like(alpha, 250)).slope is None


@pytest.mark.parametrize("name", sorted({*FORMATS} - {"webp", "tiff"}))  # whose decoders in Pillow obey it themselves
def test_the_pixel_limit_of_the_process_stops_no_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # a caller's own
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert export.encode(Picture(texture(40, 60)), Encoding(name))
