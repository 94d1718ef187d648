"""Files told apart by what is in them: straight, premultiplied, opaque or undecided; hidden colour; fringes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.errors import ImageError
from nss.evaluation.examine import Examination, examine
from nss.files import export
from nss.files.formats import Encoding
from nss.files.picture import Picture
from nss.photos import image_io
from tests.nss.evaluation.scenes import COLOURS, HEIGHT, PNG, WIDTH, Scene, colour, disc, encode
from tests.nss.pictures import SRGB
from tests.project import ROOT

LOSSY = Encoding("webp", 90)


def save(pixels: np.ndarray, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


PAIRS = [
    (foreground, background)
    for foreground in ("dark", "mid", "red", "light", "white")
    for background in COLOURS
    if background not in (foreground, "void")
]
BRIGHT = [pair for pair in PAIRS if pair[1] != "black"]


@pytest.mark.parametrize("encoding", [PNG, LOSSY, Encoding("webp"), Encoding("avif"), Encoding("tiff")], ids=str)
@pytest.mark.parametrize("with_photo", [False, True])
def test_straight_files(encoding: Encoding, with_photo: bool) -> None:
    for foreground, background in BRIGHT[:: 2 if encoding == PNG else 4]:
        scene = Scene(foreground, background)
        for pixels in (scene.kept_colours(), scene.zero(), scene.freed_colours()):
            examination = examine(encode(pixels, encoding), scene.photo_file() if with_photo else None)
            assert examination.alpha == "straight", (foreground, background, examination)
            assert examination.passed


@pytest.mark.parametrize("softness", [4, 20])
@pytest.mark.parametrize("with_photo", [False, True])
def test_the_default_of_rembg_is_premultiplied(softness: float, with_photo: bool) -> None:
    for foreground, background in PAIRS[::2]:
        scene = Scene(foreground, background, disc(softness))
        photo = scene.photo_file() if with_photo else None
        files = [save(scene.rembg(), "PNG"), save(scene.rembg(), "WEBP", lossless=True)]
        if (foreground, background) in (("mid", "light"), ("light", "black"), ("dark", "white")):
            files.append(save(scene.rembg(), "WEBP", quality=90))
        for file in files:
            examination = examine(file, photo)
            assert examination.alpha == "premultiplied", (foreground, background, examination)
            assert not examination.passed
            assert examination.over == 0 or examination.format == "WEBP"


def test_a_photo_and_its_premultiplied_cut_out() -> None:
    """A foreground with texture, and a mask that follows nothing in it."""
    path = ROOT / "examples" / "chelsea.png"
    photo = np.asarray(Image.open(path).convert("RGB"))
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    alpha = np.rint(255 * np.clip((90 - np.hypot(x - 220, y - 150)) / 12 + 0.5, 0, 1)).astype(np.uint8)
    straight = np.dstack([photo, alpha])
    multiplied = np.dstack([np.rint(photo * (alpha[..., None] / 255)).astype(np.uint8), alpha])
    for reference in (None, path, image_io.load(path)):
        assert examine(encode(straight), reference).alpha == "straight"
        assert examine(encode(multiplied), reference).alpha == "premultiplied"
    assert examine(encode(straight), path).slope == pytest.approx(1, abs=1e-6)
    assert examine(encode(multiplied), path).slope == pytest.approx(0, abs=1e-3)


def test_colours_kept_from_a_black_background_need_the_photo() -> None:
    scene = Scene("mid", "void", noise=0)
    assert examine(encode(scene.zero())).alpha == "premultiplied"
    assert examine(encode(scene.zero()), scene.photo_file()).alpha == "straight"
    assert examine(encode(scene.freed_colours())).alpha == "straight"


def test_hidden_colour_alone_shows_that_nothing_was_multiplied() -> None:
    hard = np.dstack([colour("mid").astype(np.uint8), np.where(disc() > 127, 255, 0).astype(np.uint8)])
    assert examine(encode(hard)).alpha == "straight"
    assert examine(encode(hard, LOSSY)).alpha == "undecided"
    hard[hard[..., 3] == 0] = 0
    examination = examine(encode(hard))
    assert (examination.alpha, examination.soft, examination.fringe) == ("undecided", 0, None)
    assert examination.passed


@pytest.mark.parametrize("multiplied", [False, True])
def test_a_black_foreground_is_undecided(multiplied: bool) -> None:
    scene = Scene("black", "mid", noise=0)
    pixels = scene.freed_colours().astype(float)
    if multiplied:
        pixels[..., :3] *= scene.opacity
    for photo in (None, scene.photo_file()):
        examination = examine(encode(np.rint(pixels).astype(np.uint8)), photo)
        assert (examination.alpha, examination.passed) == ("undecided", True)


def test_a_black_foreground_with_its_background_multiplied_needs_the_photo() -> None:
    """What is left of the background outweighs what the foreground would say."""
    scene = Scene("black", "light", disc(6), noise=14)
    examination = examine(encode(scene.rembg()))
    assert examination.slope is not None
    assert examination.slope > 1.5
    assert examination.alpha == "undecided"
    assert examine(encode(scene.rembg()), scene.photo_file()).alpha == "premultiplied"


def test_too_few_soft_pixels_are_undecided() -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[100, 50:55] = 200
    pixels = np.dstack([colour("mid").astype(np.uint8), alpha])
    examination = examine(encode(pixels))
    assert (examination.alpha, examination.soft, examination.slope) == ("undecided", 5, None)


@pytest.mark.parametrize("opacity", [160, 200])
def test_a_pane_without_a_faint_rim(opacity: int) -> None:
    """Where no colour exceeds its alpha, the neighbouring foreground decides."""
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[40:80, 20:140] = opacity
    colours = colour("mid", 3)
    straight = np.dstack([np.rint(colours).astype(np.uint8), alpha])
    multiplied = np.dstack([np.rint(colours * (alpha[..., None] / 255)).astype(np.uint8), alpha])
    examination = examine(encode(straight))
    assert (examination.alpha, examination.over) == ("straight", 0)
    assert examine(encode(multiplied)).alpha == "premultiplied"


def test_colours_over_their_alpha_count_more_than_a_photo_that_fits_by_chance() -> None:
    """A third of 40 before 161 is 121, and a third of 121 is 40 again."""
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[40:80, 20:140] = 85
    alpha[38:40, 20:140] = 10
    photo = np.rint(40 * (alpha / 255) + 161 * (1 - alpha / 255)).astype(np.uint8)[..., None].repeat(3, axis=2)
    freed = np.dstack([np.full((HEIGHT, WIDTH, 3), 40, np.uint8), alpha])
    examination = examine(encode(freed), encode(photo))
    assert examination.slope == pytest.approx(0, abs=0.01)
    assert examination.alpha == "straight"
    alpha[38:40, 20:140] = 85
    freed[..., 3] = alpha
    assert examine(encode(freed), encode(photo)).alpha == "premultiplied"


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "1"])
def test_opaque_files(mode: str) -> None:
    file = io.BytesIO()
    Image.fromarray(colour("mid").astype(np.uint8)).convert(mode).save(file, "PNG")
    examination = examine(file.getvalue())
    assert (examination.alpha, examination.hidden, examination.fringe, examination.slope, examination.passed) == (
        "opaque",
        "none",
        None,
        None,
        True,
    )


def test_what_else_is_told(tmp_path: Path) -> None:
    scene = Scene("mid", "light")
    path = export.write(Picture(scene.kept_colours(), SRGB), tmp_path / "out.tif")
    examination = examine(path)
    assert isinstance(examination, Examination)
    assert (examination.name, examination.format, examination.width, examination.height) == (
        str(path),
        "TIFF",
        WIDTH,
        HEIGHT,
    )
    assert (examination.bits, examination.icc, examination.hidden) == (8, True, "colour")
    assert examination.soft == int(((scene.alpha > 0) & (scene.alpha < 255)).sum())
    examination = examine(encode(scene.zero()))
    assert (examination.icc, examination.hidden, examination.name) == (False, "zero", "<PNG image>")
    everything = scene.freed_colours()
    everything[..., 3] = np.maximum(everything[..., 3], 1)
    assert examine(encode(everything)).hidden == "none"
    assert examine(encode(scene.alpha.astype(np.uint16) * 257)).bits == 16


def test_the_fringe_is_the_weighted_distance_from_the_foreground() -> None:
    alpha = disc()
    flat = np.dstack([np.full((HEIGHT, WIDTH, 3), (120, 130, 110), np.uint8), alpha])
    assert examine(encode(flat)).fringe == 0
    off = flat.copy()
    off[(alpha > 0) & (alpha < 245)] += np.uint8([12, 0, 6, 0])
    assert examine(encode(off)).fringe == pytest.approx(6, abs=0.4)  # those above 244 are foreground
    mixed = flat.astype(float)
    mixed[..., :3] += (1 - alpha[..., None] / 255) * 60
    opacity = alpha[(alpha > 0) & (alpha < 255)] / 255
    weight = opacity * (1 - opacity)
    expected = (weight * 60 * (1 - opacity)).sum() / weight.sum()
    assert examine(encode(np.rint(mixed).astype(np.uint8))).fringe == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("foreground", "background"), [("mid", "white"), ("light", "dark"), ("red", "mid")])
def test_a_fringe_shows(foreground: str, background: str) -> None:
    scene = Scene(foreground, background)
    clean = examine(encode(scene.freed_colours())).fringe
    contaminated = examine(encode(scene.zero())).fringe
    faded = np.concatenate([scene.foreground * scene.opacity, scene.alpha[..., None]], axis=2)
    multiplied = examine(encode(np.rint(faded).astype(np.uint8))).fringe
    assert clean is not None
    assert contaminated is not None
    assert multiplied is not None
    assert clean < 7.5  # the mean distance of noise of 8 levels from its mean is 6.4
    assert contaminated > 3 * clean
    assert multiplied > 3 * clean


def test_far_from_the_foreground_there_is_no_fringe() -> None:
    alpha = np.full((HEIGHT, WIDTH), 100, np.uint8)
    alpha[:, :10] = 255
    pixels = np.dstack([np.full((HEIGHT, WIDTH, 3), 120, np.uint8), alpha])
    pixels[:, 40:, :3] = 240  # another object, out of reach
    assert examine(encode(pixels)).fringe == 0
    pixels[:, 30:, :3] = 240
    assert examine(encode(pixels)).fringe > 10
    pixels[:, :10, 3] = 100
    assert examine(encode(pixels)).fringe is None


def test_a_photo_of_another_size() -> None:
    with pytest.raises(ImageError, match="<PNG image>: is 160 x 120, and the photo 120 x 160"):
        examine(encode(Scene("mid", "red").kept_colours()), encode(np.zeros((160, 120, 3), np.uint8)))


@pytest.mark.parametrize("data", [b"", b"no image at all, only words"])
def test_files_that_cannot_be_read(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"bad\.png: "):
        examine(tmp_path / "bad.png")
