"""Float32 as two float16: parts, their scales, and what units that truncate lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.gpu.kernels.convolution.split import LOSS, PRODUCTS, halves, split_unscales, weight_scales
from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.plans import EMULATED, ROOM
from tests.engine.models import load_graph, model, node
from tools.truncation import lost

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
    of_all, left = (lost(exact, values) / additions for values in (sums, sums * factors))
    # 2.16e-8 by what half a last bit is of a sum in the mean; an H200 loses three quarters to five sixths of that
    assert of_all == pytest.approx(2.16e-8, rel=0.02)
    assert 0.15 < left / of_all < 0.26
    np.testing.assert_array_equal(
        split_unscales(weights, EMULATED, scale=4.0, additions=additions) * 4, 1 / weight_scales(weights)
    )


@pytest.mark.parametrize(
    ("row", "channels", "kernel", "additions"),
    [
        ("matrix-32x32x64-32x32-4-weights", 512, 1, 512 / 16 * 3 / 4),
        ("patch-2x16x16-64-114", 64, 3, 9 * 64 / 16 * 3 / 4),
        ("winograd-2x2-split", 128, 3, 128 / 16 * 3),
    ],
)
def test_every_kernel_of_split_operands_gives_it_back(row: str, channels: int, kernel: int, additions: float) -> None:
    """The emulation rounds: what it is given back all the same is what a truncated sum of that length loses."""
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: MATRIX UNITS ARE NOT EMULATED")
    random = np.random.default_rng(1)
    w = random.standard_normal((16, channels, kernel, kernel)).astype(np.float32)
    proto = model([node("Conv", "x w", "y", pads=[kernel // 2] * 4)], {"x": [1, channels, 4, 16]}, "y", {"w": w})
    inputs = [random.standard_normal((1, channels, 4, 16)).astype(np.float32)]
    (rounded,), (given,) = (
        run(load_graph(proto), inputs, limits=ROOM, matrix_units=units, choices={"convolution": row})[0]
        for units in (EMULATED, UNITS)
    )
    wide, narrow = given.astype(np.float64), rounded.astype(np.float64)
    assert 0.7 < (np.sum(wide * narrow) / np.sum(narrow**2) - 1) / (LOSS * additions) < 1.3


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
