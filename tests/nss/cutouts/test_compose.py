"""Straight alpha, rounded once, with the photo's own alpha in it; and what a file shows of a cut-out."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

import nss
from nss.arrays.quantisation import quantise
from nss.cutouts.bleed import bleed
from nss.cutouts.compose import NOTEBOOK_SIDE, Composition, Cutout
from nss.cutouts.pixels import CROP_ALPHA
from nss.cutouts.run_info import RunInfo
from nss.errors import ImageError, NssError, UsageError
from nss.masks.photo_mask import PhotoMask
from nss.masks.refine import Refinement


def cutout(mask: np.ndarray, rgb: np.ndarray, own: np.ndarray | None = None, path: Path | None = None) -> Cutout:
    info = RunInfo("m", "0" * 64, "numpy", "cpu")
    return Cutout(
        PhotoMask.of_array(mask.astype(np.float32)), rgb, own_alpha=own, icc=None, path=path, notes=(), info=info
    )


@pytest.fixture
def soft(rgb: np.ndarray) -> Cutout:
    """A disc with a rim of two pixels, from 0 to 1 and all between."""
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return cutout(np.clip((12 - np.hypot(x - 30, y - 20)) / 2 + 0.5, 0, 1), rgb)


def test_rgb_is_untouched_and_alpha_is_the_rounded_mask(rgb: np.ndarray) -> None:
    mask = np.random.default_rng(0).random(rgb.shape[:2])
    mask[0, :5] = [0, 1, 0.5, 0.4 / 255, 0.6 / 255]
    rgba = cutout(mask, rgb).rgba
    assert rgba.dtype == np.uint8
    assert np.array_equal(rgba[..., :3], rgb)
    assert np.array_equal(rgba[..., 3], np.rint(mask.astype(np.float32) * 255))
    assert rgba[0, :5, 3].tolist() == [0, 255, 128, 0, 1]


def test_own_alpha_is_multiplied() -> None:
    mask = np.array([[1, 0.5, 0.5, 0]])
    own = np.array([[200, 255, 102, 255]], np.uint8)
    photo = cutout(mask, np.zeros((1, 4, 3), np.uint8), own)
    assert photo.rgba[0, :, 3].tolist() == [200, 128, 51, 0]
    inverted = photo.composed(Composition(invert=True)).picture.pixels
    assert inverted[0, :, 3].tolist() == [0, 128, 51, 255]
    assert photo.composed(Composition(mask_only=True)).picture.pixels[0].tolist() == [200, 128, 51, 0]


def test_a_composition_of_nothing_is_the_rgba_with_its_profile(soft: Cutout) -> None:
    picture = replace(soft, icc=b"icc").composed()
    assert np.array_equal(picture.picture.pixels, soft.rgba)
    assert (picture.picture.icc, picture.picture.exif, picture.notes) == (b"icc", None, ())
    assert picture.box == (0, 0, 60, 40)


def test_a_mask_alone_in_8_and_16_bits_has_no_profile(soft: Cutout) -> None:
    for bits, dtype in ((8, np.uint8), (16, np.uint16)):
        picture = replace(soft, icc=b"icc").composed(Composition(mask_only=True, mask_bits=bits)).picture
        assert picture.pixels.dtype == dtype
        assert np.abs(picture.pixels / (2**bits - 1) - soft.mask).max() <= 0.51 / (2**bits - 1)
        assert (picture.icc, picture.exif) == (None, None)
    assert (picture.pixels % 257 != 0).any()  # not 8 bits in the guise of 16


@pytest.mark.parametrize("hidden", ["keep", "bleed", "zero"])
def test_colour_under_full_transparency_follows_the_policy(soft: Cutout, hidden: str) -> None:
    rgba = soft.composed(Composition(hidden=hidden)).picture.pixels
    visible = rgba[..., 3] > 0
    assert np.array_equal(rgba[visible], soft.rgba[visible])
    exif_of = (rgba[~visible, :3] == soft.rgb[~visible]).all(axis=1).mean()
    assert exif_of == 1 if hidden == "keep" else exif_of < 0.2
    if hidden == "zero":
        assert not rgba[~visible].any()


def test_decontamination_changes_soft_pixels_only(soft: Cutout) -> None:
    rgba = soft.composed(Composition(decontaminate=1)).picture.pixels
    hard = np.isin(rgba[..., 3], (0, 255))
    assert np.array_equal(rgba[hard], soft.rgba[hard])
    assert np.array_equal(rgba[..., 3], soft.rgba[..., 3])
    assert (rgba != soft.rgba).any()


def test_a_crop_holds_the_subject_and_its_padding(soft: Cutout) -> None:
    rows, columns = (np.flatnonzero((soft.mask >= CROP_ALPHA).any(axis=axis)) for axis in (1, 0))
    picture = soft.composed(Composition(crop=3))
    left, top, right, bottom = picture.box
    assert picture.box == (columns[0] - 3, rows[0] - 3, columns[-1] + 4, rows[-1] + 4)
    assert np.array_equal(picture.picture.pixels, soft.rgba[top:bottom, left:right])
    assert soft.composed(Composition(crop=1000)).box == (0, 0, 60, 40)
    assert soft.composed(Composition(crop=0, background="white")).picture.pixels.shape == (
        *(len(r) for r in (rows, columns)),
        3,
    )


def test_nothing_to_crop_to_is_said(rgb: np.ndarray) -> None:
    picture = cutout(np.full(rgb.shape[:2], CROP_ALPHA / 2), rgb).composed(Composition(crop=0))
    assert picture.box == (0, 0, 60, 40)
    assert picture.notes == ("no subject was found to crop to; the whole picture was kept",)


def test_a_format_without_transparency_gets_white_and_says_so(soft: Cutout) -> None:
    picture = soft.composed(opaque=True)
    assert picture.picture.pixels.shape == (40, 60, 3)
    assert (picture.picture.pixels[soft.mask == 0] == 255).all()
    (note,) = picture.notes
    assert "white" in note
    assert soft.composed(Composition(background="black"), opaque=True).notes == ()


def test_exif_is_kept_on_request_only(soft: Cutout) -> None:
    block = Image.Exif()
    block[0x010F] = "maker"
    block[0x0112] = 6
    block.get_ifd(0x8825)[1] = "N"
    photo = replace(soft, exif=block.tobytes().removeprefix(b"Exif\0\0"))
    assert photo.composed().picture.exif is None

    def exif_of(**options: bool) -> Image.Exif:
        file = photo.composed(Composition(keep_exif=True, **options)).picture.exif
        assert file is not None
        exif = Image.Exif()
        exif.load(b"Exif\0\0" + file)
        return exif

    assert exif_of().get(0x010F) == "maker"
    assert 0x0112 not in exif_of()
    assert not exif_of().get_ifd(0x8825)
    assert exif_of(keep_gps=True).get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden": "gone"}, "'hidden' \"gone\": one of keep, bleed, zero"),
        ({"decontaminate": 1.5}, "an amount from 0 to 1"),
        ({"decontaminate": float("nan")}, "an amount from 0 to 1"),
        ({"mask_bits": 12}, "8 and 16 are possible"),
        ({"mask_bits": 16}, "16 bits are for a mask alone"),
        ({"crop": -1}, "a padding of 0 pixels or more"),
        ({"keep_gps": True}, "EXIF must be kept too"),
        ({"mask_only": True, "background": "white"}, "a mask alone has no background"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Composition(**fields)  # type: ignore[arg-type]


def test_settings_hold_what_was_asked_for() -> None:
    assert Composition().settings() == {}
    assert Composition(hidden="zero", crop=0).settings() == {"hidden": "zero", "crop": 0}


def test_refined_takes_another_mask_and_times_it(soft: Cutout) -> None:
    hard = soft.refined(Refinement(black=0.5, white=0.5))
    assert set(np.unique(hard.mask)) == {0, 1}
    assert "levels" in hard.info.milliseconds
    assert soft.refined(Refinement()).mask is soft.mask


def test_save_writes_the_rgba_and_times_it(rgb: np.ndarray, tmp_path: Path) -> None:
    half = cutout(np.full(rgb.shape[:2], 0.5), rgb)
    assert half.save(tmp_path / "out.png") == tmp_path / "out.png"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), half.rgba)
    assert list(half.info.milliseconds) == ["compose", "encode"]
    half.save(tmp_path / "out.jpg", composition=Composition(background="lime"))
    assert Image.open(tmp_path / "out.jpg").mode == "RGB"


def test_save_never_overwrites_the_photo(rgb: np.ndarray, photo: Path) -> None:
    before = photo.read_bytes()
    with pytest.raises(UsageError, match="is the input itself"):
        cutout(np.ones(rgb.shape[:2]), rgb, path=photo).save(photo, overwrite=True)
    assert photo.read_bytes() == before


@pytest.mark.parametrize("background", ["transparent", "#fff0", "rgb(1 2 3 / 0%)"])
def test_a_background_that_is_wholly_transparent_is_none(soft: Cutout, background: str) -> None:
    assert np.array_equal(soft.composed(Composition(background=background)).picture.pixels, soft.rgba)
    assert soft.composed(Composition(background=background), opaque=True).picture.pixels.shape[2] == 3


def test_a_translucent_background_goes_through_the_file(soft: Cutout, tmp_path: Path) -> None:
    composition = Composition(background="rgb(0 0 255 / 50%)")
    with Image.open(soft.save(tmp_path / "out.png", composition=composition)) as file:
        assert file.mode == "RGBA"
        assert np.asarray(file)[..., 3].min() == 128
    with Image.open(soft.save(tmp_path / "out.jpg", composition=composition)) as file:
        assert file.mode == "RGB"


def test_numpy_makes_an_array_of_a_cut_out(soft: Cutout) -> None:
    for array in (np.asarray(soft), np.array(soft)):
        assert (array.dtype, array.shape) == (np.uint8, (40, 60, 4))
        assert np.array_equal(array, soft.rgba)
    assert np.array_equal(np.asarray(soft, np.float32), soft.rgba.astype(np.float32))
    assert np.array_equal(np.stack([soft, soft]), np.stack([soft.rgba] * 2))
    with pytest.raises(ValueError, match="without a copy"):
        np.array(soft, copy=False)


def test_the_image_is_a_pil_one_with_its_profile(soft: Cutout, tmp_path: Path) -> None:
    image = replace(soft, icc=b"icc").image
    assert (image.mode, image.size) == ("RGBA", (60, 40))
    assert np.array_equal(np.asarray(image), soft.rgba)
    image.save(tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").info["icc_profile"] == b"icc"
    image.putpixel((0, 0), (1, 2, 3, 4))  # a picture of its own
    assert np.array_equal(soft.image, soft.rgba)


def test_a_notebook_shows_the_cut_out(soft: Cutout) -> None:
    assert np.array_equal(Image.open(io.BytesIO(soft._repr_png_())), soft.rgba)


def test_a_notebook_gets_a_large_cut_out_reduced_with_its_profile() -> None:
    mask = np.zeros((3 * NOTEBOOK_SIDE // 2, 2 * NOTEBOOK_SIDE))
    mask[: NOTEBOOK_SIDE // 2] = 1
    rgb = np.full((*mask.shape, 3), (200, 30, 60), np.uint8)
    rgb[NOTEBOOK_SIDE // 2 :] = 255  # under transparency, where it must not shine through the edge
    image = Image.open(io.BytesIO(replace(cutout(mask, rgb), icc=b"icc")._repr_png_()))
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (NOTEBOOK_SIDE, 3 * NOTEBOOK_SIDE // 4))
    assert image.info["icc_profile"] == b"icc"
    pixels = np.asarray(image).astype(int)
    assert pixels[NOTEBOOK_SIDE // 4 - 8, 0].tolist() == [200, 30, 60, 255]
    assert pixels[NOTEBOOK_SIDE // 4 + 8, 0, 3] == 0
    assert np.abs(pixels[pixels[..., 3] > 32][:, :3] - (200, 30, 60)).max() <= 4


@pytest.mark.parametrize("format_", ["png", "webp", "avif", "jpg", nss.Encoding("webp", quality=80, effort=4)])
def test_bytes_are_those_that_save_writes(soft: Cutout, tmp_path: Path, format_: str | nss.Encoding) -> None:
    name = format_ if isinstance(format_, str) else format_.format
    composition = Composition(crop=2, hidden="bleed")
    file = soft.save(tmp_path / f"out.{name}", composition=composition, encoding=format_).read_bytes()
    assert soft.to_bytes(format_, composition=composition) == file
    assert "encode" in soft.info.milliseconds


def test_bytes_are_verified_and_say_what_is_wrong(soft: Cutout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.open(io.BytesIO(soft.to_bytes())).format == "PNG"
    with pytest.raises(UsageError, match='"gif": one of png, webp'):
        soft.to_bytes("gif")
    monkeypatch.setattr("nss.files.png.write", lambda _, file, __: Image.new("RGBA", (60, 40)).save(file, "PNG"))
    with pytest.raises(ImageError, match="<cutout>: the written file was not what it should be"):
        soft.to_bytes()


class Dribble(io.RawIOBase):
    """A raw file that takes a few bytes at a time."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        self.content += data[:100]
        return len(data[:100])


def test_save_takes_file_objects(soft: Cutout, tmp_path: Path) -> None:
    memory, raw = io.BytesIO(b"before"), Dribble()
    memory.seek(0, io.SEEK_END)
    assert soft.save(memory) is None
    assert memory.getvalue() == b"before" + soft.to_bytes()
    soft.save(raw)
    assert raw.content == soft.to_bytes()
    with (tmp_path / "out.jpg").open("wb") as file:
        soft.save(file, composition=Composition(background="lime"))
        assert (tmp_path / "out.jpg").read_bytes()[:2] == b"\xff\xd8"  # flushed, and of the format that the name says
        assert not file.closed
    with tempfile.NamedTemporaryFile(dir=tmp_path) as file, zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        soft.save(file)
        assert Image.open(file.name).format == "PNG"
        with archive.open("a.tif", "w") as member:
            soft.save(member, encoding="tiff")
        assert archive.read("a.tif") == soft.to_bytes("tiff")


def test_save_takes_standard_output(soft: Cutout, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    soft.save(sys.stdout.buffer, encoding="webp")
    assert capsysbinary.readouterr().out == soft.to_bytes("webp")


@pytest.mark.parametrize(
    ("open_file", "error", "message"),
    [
        (lambda _: io.StringIO(), UsageError, "<cutout>: takes no bytes; open the file with 'wb'"),
        (lambda path: (path / "a.png").open("w"), UsageError, "a.png: takes no bytes"),
        (lambda _: 5, UsageError, "<cutout>: takes no bytes"),
        (lambda path: (path / "a.gif").open("wb"), UsageError, "a.gif: .gif names no format"),
        (lambda path: (path / "readable.png").open("rb"), ImageError, "readable.png: cannot be written: write"),
        (lambda path: (path / "photos" / "photo.png").open("r+b"), UsageError, "photo.png: is the input itself"),
    ],
)
def test_a_file_object_that_cannot_be(
    soft: Cutout,
    photo: Path,
    tmp_path: Path,
    open_file: Callable[[Path], IO[bytes]],
    error: type[NssError],
    message: str,
) -> None:
    (tmp_path / "readable.png").touch()
    before = photo.read_bytes()
    with pytest.raises(error, match=message):
        replace(soft, path=photo).save(open_file(tmp_path))
    assert photo.read_bytes() == before


def test_a_file_object_that_fails_says_why(soft: Cutout, tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        pass
    with pytest.raises(ImageError, match=r"a\.png: cannot be written: write to closed file"):
        soft.save(file)
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "wb", 0) as pipe,
        pytest.raises(ImageError, match="<cutout>: cannot be written: Broken pipe"),
    ):
        soft.save(pipe)


def test_a_full_pipe_that_does_not_wait_is_an_error() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    full = pytest.raises(ImageError, match="cannot be written: it is full")
    with os.fdopen(reader, "rb"), os.fdopen(writer, "wb", 0) as pipe, full:
        cutout(np.ones(noise.shape[:2]), noise).save(pipe)


@pytest.mark.parametrize(
    "composition",
    [
        Composition(),
        Composition(invert=True),
        Composition(mask_only=True),
        Composition(mask_only=True, mask_bits=16, invert=True),
        Composition(hidden="zero"),
        Composition(hidden="bleed"),
    ],
    ids=str,
)
@pytest.mark.parametrize("own", [False, True])
def test_an_enlarged_mask_is_composed_without_being_held(
    composition: Composition, own: bool, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, x = np.mgrid[:10, :14]
    raw = np.clip(4 - np.hypot(x - 6, y - 4), 0, 1).astype(np.float32)
    size = rgb.shape[0], rgb.shape[1]
    own_alpha = np.random.default_rng(2).integers(0, 256, size, np.uint8) if own else None
    held = cutout(PhotoMask.enlarged(raw, size).array, rgb, own_alpha)
    alpha = held.alpha(invert=composition.invert)
    straight = quantise(held.alpha())
    lazy = replace(held, photo_mask=PhotoMask.enlarged(raw, size))
    monkeypatch.setattr(PhotoMask, "array", None)
    picture = lazy.composed(composition)
    assert np.array_equal(lazy.rgba, np.dstack([rgb, straight]))
    bits = composition.mask_bits
    if composition.mask_only:
        assert np.array_equal(picture.picture.pixels, quantise(alpha, bits))
        return
    colours = rgb
    if composition.hidden == "zero":
        colours = np.where(quantise(alpha)[..., None] == 0, np.uint8(0), rgb)
    elif composition.hidden == "bleed":
        colours = bleed(rgb, quantise(alpha))
    assert np.array_equal(picture.picture.pixels, np.dstack([colours, quantise(alpha)]))
    assert picture.box == (0, 0, size[1], size[0])
