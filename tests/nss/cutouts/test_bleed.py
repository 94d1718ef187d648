"""Colour under full transparency: the edge's, continued outwards, with nothing of what was there."""

from __future__ import annotations

import zlib
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from nss.arrays.tiles import tiles
from nss.cutouts import bleed as module
from nss.cutouts.bleed import bleed
from tests.nss.conftest import EXAMPLES

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12) | st.sampled_from([(1, 40), (37, 1)])
LEVELS = st.sampled_from([0, 0, 0, 1, 128, 255])


@st.composite
def cutouts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    # mostly one value, so that holes and islands are wide
    alpha8 = draw(arrays(np.uint8, shape, elements=LEVELS, fill=st.sampled_from([0, 255])))
    return draw(arrays(np.uint8, (*shape, 3))), alpha8


@settings(deadline=None)
@given(cutout=cutouts(), seed=st.integers(0, 2**32 - 1))
def test_visible_stays_and_hidden_tells_nothing(cutout: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    rgb, alpha8 = cutout
    copies = rgb.copy(), alpha8.copy()
    out = bleed(rgb, alpha8)
    assert np.array_equal(rgb, copies[0])
    assert np.array_equal(alpha8, copies[1])
    assert out.dtype == np.uint8
    assert out.shape == rgb.shape
    visible = alpha8 > 0
    assert np.array_equal(out[visible], rgb[visible])
    other = rgb.copy()
    other[~visible] = np.random.default_rng(seed).integers(0, 256, ((~visible).sum(), 3))
    assert np.array_equal(bleed(other, alpha8), out)
    if visible.any():
        assert (out >= rgb[visible].min(axis=0)).all()
        assert (out <= rgb[visible].max(axis=0)).all()


@settings(deadline=None)
@given(rgb=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_nothing_or_all_visible(rgb: np.ndarray) -> None:
    hidden = np.zeros(rgb.shape[:2], np.uint8)
    assert not bleed(rgb, hidden).any()
    assert bleed(rgb, hidden + np.uint8(1)) is rgb


@settings(deadline=None)
@given(cutout=cutouts())
def test_next_to_the_edge_the_mean_of_visible_neighbours(cutout: tuple[np.ndarray, np.ndarray]) -> None:
    rgb, alpha8 = cutout
    out = bleed(rgb, alpha8)
    for y, x in np.argwhere(alpha8 == 0):
        around = slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)
        weights = alpha8[around].ravel().astype(np.float64)
        if weights.any():
            mean = np.average(rgb[around].reshape(-1, 3).astype(np.float64), axis=0, weights=weights)
            assert np.abs(out[y, x] - mean).max() <= 0.5 + 1e-4


def scattered(shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and an alpha that shows discs of it here and there, some of them faint."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (*shape, 3), np.uint8)
    alpha8 = np.zeros(shape, np.uint8)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for _ in range(6):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        alpha8[np.hypot(rows - y, columns - x) < rng.integers(1, 40)] = rng.choice([1, 90, 255])
    return rgb, alpha8


@pytest.mark.parametrize("shape", [(300, 523), (513, 258), (1, 700)])
def test_a_constant_is_continued_everywhere(shape: tuple[int, int]) -> None:
    rgb, alpha8 = scattered(shape)
    rgb[alpha8 > 0] = (201, 3, 77)
    assert (bleed(rgb, alpha8) == (201, 3, 77)).all()


def test_one_visible_pixel_in_a_large_photo() -> None:
    rgb = np.full((1500, 1100, 3), 9, np.uint8)
    alpha8 = np.zeros((1500, 1100), np.uint8)
    alpha8[1234, 7] = 1
    rgb[1234, 7] = (255, 0, 128)
    assert (bleed(rgb, alpha8) == (255, 0, 128)).all()


@pytest.mark.parametrize("side", [16, 31, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_result_does_not_depend_on_tiles(side: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, alpha8 = scattered((301, 427), seed)
    whole = bleed(rgb, alpha8)
    monkeypatch.setattr(module, "tiles", partial(tiles, side=side))
    assert np.array_equal(bleed(rgb, alpha8), whole)


def test_the_nearest_colours_are_continued_and_fade() -> None:
    """Beside a red and a blue bar each side has its bar's colour; it goes without a step to the mean of both."""
    rgb = np.zeros((256, 256, 3), np.uint8)
    alpha8 = np.zeros((256, 256), np.uint8)
    rgb[:, :10], rgb[:, -10:] = (255, 0, 0), (0, 0, 255)
    alpha8[:, :10] = alpha8[:, -10:] = 255
    out = bleed(rgb, alpha8).astype(int)
    assert (out[:, 10] == (255, 0, 0)).all()
    assert (out[:, -11] == (0, 0, 255)).all()
    assert np.abs(out[:, 60:-60] - (127.5, 0, 127.5)).max() <= 0.5
    steps = np.diff(out[128, 10:60, 0])
    assert (steps <= 0).all()
    assert steps.min() >= -20


@settings(deadline=None)
@given(cutout=cutouts())
def test_turned_and_flipped_pictures_give_the_same(cutout: tuple[np.ndarray, np.ndarray]) -> None:
    rgb, alpha8 = cutout
    out = bleed(rgb, alpha8)
    assert np.array_equal(bleed(rgb[:, ::-1], alpha8[:, ::-1]), out[:, ::-1])
    assert np.array_equal(bleed(rgb[::-1], alpha8[::-1]), out[::-1])
    assert np.array_equal(bleed(rgb.transpose(1, 0, 2), alpha8.T), out.transpose(1, 0, 2))


def photographed(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A photo with noise and an oval of it that is shown."""
    with Image.open(EXAMPLES / "chelsea.png") as image:
        rgb = np.asarray(image.convert("RGB"), np.float64)
    height, width = rgb.shape[:2]
    y, x = np.ogrid[:height, :width]
    away = np.hypot((y - height / 2) / (0.4 * height), (x - width / 2) / (0.35 * width))
    alpha8 = np.rint(np.clip((1 - away) * 20, 0, 1) * 255).astype(np.uint8)
    return np.clip(rgb + np.random.default_rng(0).normal(0, noise, rgb.shape), 0, 255).astype(np.uint8), alpha8


def png_size(rgb: np.ndarray, alpha8: np.ndarray) -> int:
    """Bytes of RGBA rows, each less the one above (a filter of PNG), at zlib's fastest level."""
    rows = np.dstack([rgb, alpha8])
    return len(zlib.compress(np.diff(rows, axis=0, prepend=rows[:1]).tobytes(), 1))


@pytest.mark.parametrize("noise", [4.0, 12.0])
def test_a_file_grows_little(noise: float) -> None:
    rgb, alpha8 = photographed(noise)
    zeros = np.where(alpha8[..., None] > 0, rgb, 0)
    assert png_size(bleed(rgb, alpha8), alpha8) < 1.3 * png_size(zeros, alpha8)
