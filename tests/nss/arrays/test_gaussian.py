"""The blur against a convolution in float64, and what its weights promise: exact zeros, exact ones, nothing beyond."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFilter

from nss.arrays.gaussian import blur, reach


def convolved(x: np.ndarray, sigma: float) -> np.ndarray:
    """The Gaussian to six standard deviations, in float64, edges repeated."""
    margin = math.ceil(6 * sigma)
    weights = np.exp(-0.5 * (np.arange(-margin, margin + 1) / sigma) ** 2)
    weights /= weights.sum()
    windows = np.lib.stride_tricks.sliding_window_view
    padded = np.pad(x.astype(np.float64), margin, mode="edge")
    return windows(windows(padded, weights.size, axis=0) @ weights, weights.size, axis=1) @ weights


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 1.0, 2.0, 3.3, 10.0, 40.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (257, 40), (70, 90)])
def test_it_is_the_convolution(sigma: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for x in (rng.random(shape, np.float32), (rng.random(shape) > 0.5).astype(np.float32)):
        result = blur(x, sigma)
        assert result.dtype == np.float32
        # what is cut off counts most beside one half: 6.3e-5 an axis
        assert np.abs(result - convolved(x, sigma)).max() < 1e-4


@pytest.mark.parametrize("sigma", [0.3, 2.0, 7.5, 40.0])
def test_its_weights_are_the_ones_that_are_cut_off(sigma: float) -> None:
    x = np.random.default_rng(1).random((90, 110), np.float32)
    margin = reach(sigma)
    weights = np.exp(-0.5 * (np.arange(-margin, margin + 1) / sigma) ** 2)
    weights /= weights.sum()
    expected = x.astype(np.float64)
    for _ in range(2):
        padded = np.pad(expected, ((margin, margin), (0, 0)), mode="edge")
        expected = np.apply_along_axis(np.convolve, 0, padded, weights, "valid").T
    assert np.abs(blur(x, sigma) - expected).max() < 3e-6  # measured: 6e-7


@pytest.mark.parametrize("sigma", [0.2, 1.0, 3.0, 21.7, 333.0])
def test_zeros_and_ones_are_exact(sigma: float) -> None:
    assert (blur(np.ones((70, 300), np.float32), sigma) == 1).all()
    step = np.zeros((3, 1400), np.float32)
    step[:, 700:] = 1
    result = blur(step, sigma)
    margin = reach(sigma)
    if margin < 700:
        assert (result[:, : 700 - margin] == 0).all()
        assert (result[:, 700 + margin :] == 1).all()
        # the sum of the two halves of one edge
        assert (result + result[:, ::-1] == 1).all()


@given(
    x=arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.floats(0, 1, width=32)),
    sigma=st.floats(0.05, 30),
)
@settings(max_examples=60, deadline=None)
def test_nothing_leaves_the_range_and_mirrors_agree(x: np.ndarray, sigma: float) -> None:
    before = x.copy()
    result = blur(x, sigma)
    assert np.array_equal(x, before)
    assert result.min() >= 0
    assert result.max() <= 1
    for turn in (np.flipud, np.fliplr, np.transpose, np.rot90):
        assert np.abs(turn(result) - blur(turn(x), sigma)).max() < 1e-6


def test_zero_gives_the_window() -> None:
    x = np.random.default_rng(2).random((5, 6), np.float32)
    assert blur(x, 0) is x


def test_a_window_may_be_a_view() -> None:
    x = np.random.default_rng(3).random((80, 90), np.float32)
    assert np.array_equal(blur(x[5:70, 7:80], 2), blur(x[5:70, 7:80].copy(), 2))


@pytest.mark.parametrize("sigma", [2, 6])
def test_it_is_about_what_pillow_does(sigma: int) -> None:
    x = np.zeros((120, 140), np.uint8)
    x[40:80, 50:100] = 255
    # Pillow takes three box blurs for a Gaussian, in whole numbers
    pillow = np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(sigma)))
    assert np.abs(blur(x.astype(np.float32), sigma) - pillow).max() < 8
