"""The guided filter against the paper's formulas, window by window, and that tiles and reduction leave no trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nss.arrays.resample import resize_bilinear
from nss.masks import guided as module
from nss.masks.guided import EPSILON, guided, natural_radius
from nss.removal.preprocess import mask_to_photo


def paper(mask: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """He, Sun, Tang 2013, equations (19) to (21), in float64, each window of 3 x 3 by itself."""
    height, width = mask.shape
    guide, p = rgb / 255.0, mask.astype(np.float64)
    functions = np.empty((height, width, 4))

    def around(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(0, y - 1), y + 2), slice(max(0, x - 1), x + 2)

    for y in range(height):
        for x in range(width):
            colours, values = guide[around(y, x)].reshape(-1, 3), p[around(y, x)].ravel()
            mean = colours.mean(axis=0)
            deviation = colours - mean
            covariance = deviation.T @ deviation / len(values) + EPSILON * np.eye(3)
            slope = np.linalg.solve(covariance, deviation.T @ (values - values.mean()) / len(values))
            functions[y, x] = (*slope, values.mean() - slope @ mean)
    out = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            mean = functions[around(y, x)].reshape(-1, 4).mean(axis=0)
            out[y, x] = mean[:3] @ guide[y, x] + mean[3]
    return np.clip(out, 0, 1)


def noise(height: int, width: int, seed: int, grey: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.clip(rng.normal(0.5, 0.6, (height, width)), 0, 1).astype(np.float32)
    rgb = rng.integers(0, 256, (height, width, 1 if grey else 3), dtype=np.uint8)
    return mask, np.broadcast_to(rgb, (height, width, 3))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32), st.booleans())
def test_it_is_the_papers(height: int, width: int, seed: int, grey: bool) -> None:
    mask, rgb = noise(height, width, seed, grey)
    before = mask.copy()
    assert np.abs(guided(mask, rgb, 1.5) - paper(mask, rgb)).max() <= 1e-5  # measured: 2e-6
    assert np.array_equal(mask, before)


def test_flat_colours_give_the_mean_of_means() -> None:
    mask = noise(20, 30, 1)[0]
    for value in (0, 3, 255):
        rgb = np.full((20, 30, 3), value, np.uint8)
        assert np.abs(guided(mask, rgb, 1.5) - paper(mask, rgb)).max() <= 3e-7


def test_zero_is_identity() -> None:
    mask, rgb = noise(9, 9, 0)
    assert guided(mask, rgb, 0) is mask


@pytest.mark.parametrize("radius", [1, 7, 9.5, 13, 40, 200])
def test_constant_masks_stay(radius: float) -> None:
    rgb = noise(70, 90, 2)[1]
    for value in (0, 0.3, 1):
        mask = np.full((70, 90), value, np.float32)
        assert np.array_equal(guided(mask, rgb, radius), mask)


@pytest.mark.parametrize("radius", [2, 7, 8, 14, 23, 40])
def test_it_does_not_depend_on_tiles(radius: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mask, rgb = noise(203, 331, 3)
    mask[:, :120] = 0
    mask[:90, 200:] = 1
    results = []
    for tile in (4000, 256, 97, 32):
        monkeypatch.setattr(module, "TILE", tile)
        monkeypatch.setattr(module, "_CELLS", max(1, tile // 100))
        results.append(guided(mask, rgb, radius))
    assert not np.array_equal(results[0], mask)
    for result in results[1:]:
        assert np.abs(result - results[0]).max() <= 2e-6  # measured: 2.4e-7


@pytest.mark.parametrize(("radius", "reduction"), [(4.5, 3), (7, 5), (20, 13)])
def test_a_wide_window_is_fitted_at_a_reduced_size(radius: float, reduction: int) -> None:
    """Blocks of one colour and one value each give at their middles what the paper gives for one pixel each."""
    small_mask, small_rgb = noise(11, 14, 4)
    mask, rgb = (x.repeat(reduction, 0).repeat(reduction, 1) for x in (small_mask, small_rgb))
    middles = guided(mask, rgb, radius)[reduction // 2 :: reduction, reduction // 2 :: reduction]
    assert np.abs(middles - paper(small_mask, small_rgb)).max() <= 3e-6  # measured: 4e-7


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 90), st.integers(0, 2**32))
def test_any_size_and_radius_stays_within_0_and_1(height: int, width: int, radius: float, seed: int) -> None:
    mask, rgb = noise(height, width, seed)
    out = guided(mask, rgb, radius)
    assert out.shape == mask.shape
    assert out.dtype == np.float32
    assert ((out >= 0) & (out <= 1)).all()


@pytest.mark.parametrize("radius", [1.5, 3, 7.5])
def test_mirrored_photos_are_mirrored_alike(radius: float) -> None:
    """Where the size is a multiple of the blocks, and their grid the same from both ends."""
    mask, rgb = noise(60, 90, 5)
    for axis in (0, 1):
        mirrored = np.flip(guided(np.flip(mask, axis), np.flip(rgb, axis), radius), axis)
        assert np.abs(mirrored - guided(mask, rgb, radius)).max() <= 5e-6


def test_edges_come_back_where_colours_differ() -> None:
    """A disc of one colour on another, its mask as a small network would give it: most of the error goes."""
    y, x = np.mgrid[:480, :640]
    truth = np.clip(0.5 + 150 - np.hypot(y - 240, x - 320), 0, 1).astype(np.float32)
    rng = np.random.default_rng(6)
    colours = truth[..., None] * [200, 150, 120] + (1 - truth[..., None]) * [40, 90, 160]
    rgb = np.clip(np.rint(colours + rng.normal(0, 2, colours.shape)), 0, 255).astype(np.uint8)
    network = (80, 80)
    coarse = mask_to_photo(resize_bilinear(truth, network, antialias=True), truth.shape)
    fine = guided(coarse, rgb, natural_radius(truth.shape, network))
    assert np.square(fine - truth).mean() < 0.2 * np.square(coarse - truth).mean()


def test_the_natural_radius_is_three_pixels_of_the_networks_mask() -> None:
    assert natural_radius((3200, 1600), (320, 320)) == 30
    assert natural_radius((1600, 3200), (320, 320)) == 30
    assert natural_radius((200, 100), (320, 320)) == 3
