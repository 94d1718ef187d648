"""The Gaussian blur of a mask, or of a window of one, at any width for about the same time.

Separable: for each axis, blocks of output lines as products of a small matrix of weights with the input lines that
they read, which BLAS does at its full speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

import engine

# A normal distribution has 6.3e-5 of its mass outside four standard deviations.
_TRUNCATE = 4.0

# Sums of products of these units with 0 and 1 are exact in float32, in any order.
_UNIT = 2.0**-24


def reach(sigma: float) -> int:
    """How many pixels to each side a blur of ``sigma`` pixels looks; the halo of a tile."""
    return math.ceil(_TRUNCATE * sigma)


def blur(window: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve with a Gaussian, sampled at whole pixels, cut off at four standard deviations and normalised.

    The weights are whole multiples of 2**-24 whose sum is one. So what is 0 or 1 as far as the blur looks stays exactly
    0 or 1, nothing in 0..1 leaves 0..1, and a blur of zeros and ones along one axis is exact. Largest error against
    float64 on values in 0..1: 7e-7; against a Gaussian that is not cut off: 1e-4.

    Args:
        window: float32 HxW.
        sigma: the standard deviation in pixels; 0 gives the window itself.

    Returns:
        float32 HxW. Pixels on the edge count as repeated outwards.
    """
    if sigma <= 0:
        return window
    height, width = window.shape
    columns = np.empty((height, width), np.float32)
    out = np.empty_like(columns)
    # how BLAS would split these products between its own threads would show in the last bits
    with engine.single_threaded_blas():
        for start, stop, inputs, weights in _blocks(height, sigma):
            np.matmul(weights, window[inputs], out=columns[start:stop])
        for start, stop, inputs, weights in _blocks(width, sigma):
            np.matmul(columns[:, inputs], weights.T, out=out[:, start:stop])
    return out


def half_kernel(sigma: float) -> np.ndarray:
    """The weights of `blur` from the pixel outwards, float32: its own, then that of either one beside it, and so on."""
    return _kernel(sigma)[reach(sigma) :]


def _blocks(length: int, sigma: float) -> Iterator[tuple[int, int, slice, np.ndarray]]:
    """For each block of output lines: first, last + 1, the input lines it reads, the weights (outputs x inputs)."""
    margin = reach(sigma)
    block = _block(sigma)
    for start in range(0, length, len(block)):
        stop = min(start + len(block), length)
        weights = block[: stop - start, : stop - start + 2 * margin]
        before = max(0, margin - start)
        after = max(0, stop + margin - length)
        if before or after:  # what lies outside counts as the line on the edge
            inside = weights[:, before : weights.shape[1] - after].copy()
            inside[:, 0] += weights[:, :before].sum(axis=1)
            inside[:, -1] += weights[:, weights.shape[1] - after :].sum(axis=1)
            weights = inside
        yield start, stop, slice(max(0, start - margin), min(stop + margin, length)), weights


@lru_cache(maxsize=4)
def _block(sigma: float) -> np.ndarray:
    """The weights of a run of output lines over the lines that they touch where no edge is near, float32."""
    kernel = _kernel(sigma)
    # with fewer lines BLAS is not busy; with more, most weights of a block are zeros
    lines = min(max(32, len(kernel)), 256)
    padded_kernel = np.pad(kernel, lines - 1)
    block = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded_kernel, lines + len(kernel) - 1)[::-1])
    block.flags.writeable = False
    return block


def _kernel(sigma: float) -> np.ndarray:
    """The weights of one output line, float32, symmetric, whole multiples of ``_UNIT`` with the sum one."""
    distance = np.arange(reach(sigma), -1, -1)
    half = np.exp(-0.5 * (distance / sigma) ** 2)
    half /= 2 * half.sum() - half[-1]
    # the sums from outside are rounded, not the weights, so that the errors do not add up
    tail = np.diff(np.rint(np.cumsum(half[:-1]) / _UNIT), prepend=0)
    return (np.concatenate([tail, [1 / _UNIT - 2 * tail.sum()], tail[::-1]]) * _UNIT).astype(np.float32)
