"""What Winograd's algorithms of six points have in common: F(4, 3) and F(2, 5) along an axis (Lavin and Gray, 2015).

The points are 0, 1, -1, 2, -2 and infinity, in this order. They decide how the six inputs under a tile are transformed,
whatever the taps; a filter of t taps makes 7 - t outputs of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from engine.cpu.threads import Do

POINTS = 6

_AT = np.array([0, 1, -1, 2, -2])
_SCALES = np.array([1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24])


def tile_size(taps: int) -> int:
    """Outputs of a tile."""
    return POINTS + 1 - taps


def weights_of(taps: int) -> np.ndarray:
    """The matrix ``[6, taps]`` float32 that transforms a filter."""
    matrix = np.zeros((POINTS, taps))
    matrix[:5] = _SCALES[:, None] * _AT[:, None] ** np.arange(taps)
    matrix[5, -1] = 1
    return matrix.astype(np.float32)


def outputs_of(size: int) -> np.ndarray:
    """The matrix ``[size, 6]`` float32 that makes the outputs of a tile of the products at its points."""
    matrix = np.zeros((size, POINTS), np.float32)
    matrix[:, :5] = _AT ** np.arange(size)[:, None]
    matrix[-1, 5] = 1
    return matrix


def add_points(do: Do, d: Sequence[np.ndarray], out: np.ndarray, even: np.ndarray, odd: np.ndarray) -> None:
    """``out`` ``[6, ...]`` = the transform of six inputs ``d``; ``even`` and ``odd`` are scratch of the size of one."""
    # d4 - 4 d2 and d3 - 4 d1, their sum and difference; the first is 4 d0 - 5 d2 + d4
    do(np.multiply, d[2], 4, even)
    do(np.subtract, d[4], even, even)
    do(np.multiply, d[1], 4, odd)
    do(np.subtract, d[3], odd, odd)
    do(np.add, even, odd, out[1])
    do(np.subtract, even, odd, out[2])
    do(np.multiply, d[0], 4, out[0])
    do(np.add, out[0], even, out[0])
    do(np.subtract, out[0], d[2], out[0])
    # d4 - d2 and 2 (d3 - d1), their sum and difference; the last is 4 d1 - 5 d3 + d5
    do(np.subtract, d[4], d[2], even)
    do(np.subtract, d[3], d[1], odd)
    do(np.multiply, odd, 2, odd)
    do(np.add, even, odd, out[3])
    do(np.subtract, even, odd, out[4])
    do(np.multiply, odd, 2, odd)
    do(np.subtract, d[5], d[3], out[5])
    do(np.subtract, out[5], odd, out[5])


def take(region: np.ndarray, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """The start of ``region`` in that shape, and the rest of it."""
    size = prod(shape)
    return region[:size].reshape(shape), region[size:]
