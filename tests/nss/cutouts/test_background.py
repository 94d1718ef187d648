"""A foreground over a colour, an image and the photo out of focus, in the photo's own colour space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from nss.cutouts.background import check, over
from nss.errors import ImageError, UsageError


@pytest.fixture
def alpha(rgb: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    return np.clip((12 - np.hypot(x - 30, y - 20)) / 2 + 0.5, 0, 1).astype(np.float32)


def over_background(rgb: np.ndarray, alpha: np.ndarray, background: str, icc: bytes | None = None) -> np.ndarray:
    notes: list[str] = []
    out = over(rgb, alpha, background, photo=rgb, icc=icc, notes=notes)
    assert notes == []
    assert (out.dtype, out.shape) == (np.uint8, rgb.shape)
    return out


@pytest.mark.parametrize(
    ("name", "colour"), [("white", 255), ("#408020", (64, 128, 32)), ("hsl(0,100%,50%)", (255, 0, 0))]
)
def test_over_a_colour(rgb: np.ndarray, alpha: np.ndarray, name: str, colour: object) -> None:
    a = alpha[..., None].astype(np.float64)
    expected = np.rint(rgb * a + np.asarray(colour) * (1 - a))
    assert np.abs(over_background(rgb, alpha, name) - expected).max() <= 1  # float32 against float64, at a half
    assert (over_background(rgb, alpha, name) == expected).mean() > 0.999


def test_over_a_translucent_colour(rgb: np.ndarray, alpha: np.ndarray) -> None:
    """Porter and Duff's "over" of two translucent layers; on an opaque one it is that of the mixed colours."""
    notes: list[str] = []
    out = over(rgb, alpha, "rgb(0 200 40 / 25%)", photo=rgb, icc=None, notes=notes)
    assert (out.dtype, out.shape, notes) == (np.uint8, (*rgb.shape[:2], 4), [])
    a = alpha[..., None].astype(np.float64)
    total = a + 0.25 * (1 - a)
    expected = (rgb * a + np.array((0, 200, 40)) * 0.25 * (1 - a)) / total
    assert np.abs(out[..., :3] - np.rint(expected)).max() <= 1
    assert np.abs(out[..., 3] - np.rint(total[..., 0] * 255)).max() <= 1
    assert (out[alpha == 0] == (0, 200, 40, 64)).all()
    flat = over(rgb, alpha, "rgb(0 200 40 / 25%)", photo=rgb, icc=None, notes=notes, opaque=True)
    assert np.abs(flat - np.rint(rgb * a + np.rint((191.25, 241.25, 201.25)) * (1 - a))).max() <= 1
    assert notes == ["the format has no transparency: the background was put on white"]


def test_over_an_image_that_covers(rgb: np.ndarray, tmp_path: Path) -> None:
    """A wide image: its height fits, and as much of either end is cut off."""
    wide = np.zeros((20, 90, 3), np.uint8)
    wide[:, 30:60] = (0, 200, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    out = over_background(rgb, np.zeros(rgb.shape[:2], np.float32), str(tmp_path / "wide.png"))
    assert np.abs(out[:, 2:-2].astype(int) - (0, 200, 0)).max() == 0
    tall = Image.fromarray(np.repeat(np.arange(120, dtype=np.uint8)[:, None], 30, axis=1))
    tall.save(tmp_path / "tall.png")
    out = over_background(rgb, np.zeros(rgb.shape[:2], np.float32), str(tmp_path / "tall.png"))
    assert np.abs(out[:, :, 0].mean(axis=1) - (50.25 + np.arange(40) * 0.5 - 0.25)).max() <= 0.6
    solid = over_background(rgb, np.ones(rgb.shape[:2], np.float32), str(tmp_path / "tall.png"))
    assert np.array_equal(solid, rgb)


def test_the_photo_out_of_focus_has_no_glow_of_the_subject() -> None:
    photo = np.full((80, 120, 3), (20, 40, 60), np.uint8)
    y, x = np.mgrid[:80, :120]
    alpha = np.clip(20.5 - np.hypot(x - 60, y - 40), 0, 1).astype(np.float32)
    photo[alpha > 0] = (250, 10, 10)
    photo[:, :3] = 90
    out = over_background(photo, alpha, "blur:4")
    assert np.abs(out[(alpha == 0) & (x > 25)].astype(int) - (20, 40, 60)).max() <= 2
    assert (out[alpha == 1] == (250, 10, 10)).all()
    edge = out[5, :20, 0].astype(int)
    assert (np.diff(edge) <= 0).all()
    assert 90 > edge[0] > edge[4] > edge[12]  # it is blurred
    assert over_background(photo, alpha, "blur").shape == photo.shape


def test_a_subject_that_fills_the_photo_leaves_nothing_to_blur(rgb: np.ndarray) -> None:
    assert np.array_equal(over_background(rgb, np.ones(rgb.shape[:2], np.float32), "blur:3"), rgb)


def swapped() -> bytes:
    """An RGB profile whose red and green primaries are exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    entries = {bytes(data[o : o + 4]): o for o in range(132, 132 + 12 * count, 12)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data)


def test_colours_and_images_are_converted_to_the_photos_profile(
    rgb: np.ndarray, alpha: np.ndarray, tmp_path: Path
) -> None:
    nothing = np.zeros_like(alpha)
    icc = swapped()
    assert np.abs(over_background(rgb, nothing, "red", icc).astype(int) - (0, 255, 0)).max() <= 2
    Image.new("RGB", (60, 40), "red").save(tmp_path / "plain.png")
    assert np.abs(over_background(rgb, nothing, str(tmp_path / "plain.png"), icc).astype(int) - (0, 255, 0)).max() <= 2
    Image.new("RGB", (60, 40), "red").save(tmp_path / "same.png", icc_profile=icc)
    assert (over_background(rgb, nothing, str(tmp_path / "same.png"), icc) == (255, 0, 0)).all()


def test_a_profile_that_cannot_be_used_is_said(rgb: np.ndarray, alpha: np.ndarray) -> None:
    notes: list[str] = []
    out = over(rgb, np.zeros_like(alpha), "red", photo=rgb, icc=b"no profile", notes=notes)
    assert (out == (255, 0, 0)).all()
    assert notes == ["the colours of the background could not be converted to the photo's profile"]


@pytest.mark.parametrize(
    ("background", "message"),
    [
        ("nowhere.png", "is no colour and no file"),
        ("", "is no colour and no file"),
        ("x" * 300, "is no colour and no file"),
        ("blur:much", "the radius of the blur"),
        ("blur:0", "the radius of the blur"),
        ("blur:nan", "the radius of the blur"),
        ("rgb(1 2)", r"rgb\(\) is written like rgb\(255 136 0 / 50%\)"),
        ("#ff000", "# is followed by 3, 4, 6 or 8 hexadecimal digits"),
        ("oklch(0.7 0.1 30)", r"oklch\(\) is not read; give the colour as rgb\(\)"),
    ],
)
def test_what_is_no_background(background: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(background)


def test_a_background_that_is_no_image(rgb: np.ndarray, alpha: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"hello")
    check(str(tmp_path / "text.png"))
    with pytest.raises(ImageError, match=r"^background .*text\.png: is not an image"):
        over_background(rgb, alpha, str(tmp_path / "text.png"))
