"""Float32 on matrix units, which take float16: each number as the sum of a high and a low part (parts/split.wgsl)."""

from __future__ import annotations

import numpy as np

from engine.caps import MatrixUnits

ACTIVATION_SCALE = 8.0
"""What activations are multiplied by before they are split: a power of two.

The low part of a number is then normal float16 down to 2⁻⁶, and what an activation may be ends at 65504 / 8.
"""

LARGEST_WEIGHT = 1024.0
"""The weights of an output channel are scaled by a power of two to between half of this and this."""

PRODUCTS = 3
"""Products of parts that a multiplication takes: high by high, high by low, and low by high."""

LOSS = 1.7e-8
"""What units that truncate lose of a sum with each addition into it, as a part of the last sum.

Each addition cuts off half of a last bit in the mean, some 4e-8 of what the sum is by then, and that is half of the
last sum on the way: on an H200 sums of 256 to 3,072 random numbers of either sign lose 1.65e-8 to 1.8e-8.
``tools/truncation.py`` measures it.
"""


def weight_scales(weights: np.ndarray) -> np.ndarray:
    """Powers of two, float32 ``[groups, outputs]``, that bring the weights ``[groups, taps, channels, outputs]`` of
    each output channel to between half of LARGEST_WEIGHT and that; 1 where they are zeros or not finite."""
    largest = np.abs(weights).max((1, 2))
    usable = np.isfinite(largest) & (largest > np.finfo(np.float32).tiny)
    exponents = np.floor(np.log2(np.float64(LARGEST_WEIGHT) / np.where(usable, largest, LARGEST_WEIGHT)))
    return np.exp2(np.minimum(exponents, 100)).astype(np.float32)


def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 as a high and a low part, float16, whose sum is the number to 22 bits."""
    with np.errstate(over="ignore", invalid="ignore"):
        high = values.astype(np.float16)
        return high, (values - high.astype(np.float32)).astype(np.float16)


def split_unscales(weights: np.ndarray, units: MatrixUnits, *, scale: float, additions: float) -> np.ndarray:
    """What the sums of each output channel are multiplied by, float32 ``[groups, outputs]``.

    It undoes the scales of ``weights`` ``[groups, taps, channels, outputs]`` and of activations, ``scale``, and what
    ``units`` that truncate lost of a sum by so many ``additions`` of products.
    """
    lost = LOSS * additions if units.truncates else 0.0
    return ((1 + lost) / (weight_scales(weights) * np.float32(scale))).astype(np.float32)
