"""Float32 as two float16: parts, their scales, and what units that truncate lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.gpu.kernels.convolution.split import PRODUCTS, halves, split_unscales, weight_scales
from tests.engine.gpu.plans import EMULATED

UNITS = replace(EMULATED, truncates=True)


def test_weights_are_scaled_by_powers_of_two_and_halved() -> None:
    weights = np.array([0.1, -3000, 0, np.inf, 2e-38, 1024], np.float32).reshape(1, 1, 1, 6)
    scales = weight_scales(weights)
    assert (np.log2(scales) % 1 == 0).all()
    np.testing.assert_array_equal(scales[0], [2.0**13, 2.0**-2, 1, 1, 2.0**100, 1])
    high, low = halves(np.float32([1 / 3, 1000.1]))
    np.testing.assert_allclose(high.astype(np.float64) + low, np.float32([1 / 3, 1000.1]), rtol=2.0**-21)


@pytest.mark.parametrize("summands", [768, 3072])
def test_what_truncated_sums_lose_is_given_back(summands: int) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((256, summands)).astype(np.float32)
    w = random.standard_normal((summands, 32)).astype(np.float32)
    exact = x.astype(np.float64) @ w
    sums = _truncated(x, w)
    additions = PRODUCTS * summands / UNITS.k
    weights = w.reshape(1, 1, summands, 32)
    factors = split_unscales(weights, UNITS, scale=4.0, additions=additions)[0] * weight_scales(weights)[0] * 4
    kept, corrected = (np.sum(exact * values) / np.sum(exact * exact) - 1 for values in (sums, sums * factors))
    assert kept < -5e-9 * additions
    assert abs(corrected) < 0.3 * abs(kept)
    np.testing.assert_array_equal(
        split_unscales(weights, EMULATED, scale=4.0, additions=additions) * 4, 1 / weight_scales(weights)
    )


def _truncated(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x · w as units add it that cut off what 24 bits do not hold: the three products of each step, one by one."""
    sums = np.zeros((len(x), w.shape[1]))
    (x_high, x_low), (w_high, w_low) = (tuple(part.astype(np.float64) for part in halves(each)) for each in (x, w))
    for k in range(0, x.shape[1], UNITS.k):
        step = slice(k, k + UNITS.k)
        for left, right in ((x_high, w_high), (x_high, w_low), (x_low, w_high)):
            bits = (sums + left[:, step] @ right[step]).view(np.uint64)
            sums = (bits & np.uint64(0xFFFFFFFFE0000000)).view(np.float64)
    return sums
