"""Rules that many operators share: which dtype sums are kept in, how axes and broadcasts resolve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which products and sums of ``dtype`` are formed: float16 widens to float32, all else stays."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def normalize_axis(axis: int, rank: int) -> int:
    """``axis`` counted from the front; ValueError when it is outside the rank."""
    if not -rank <= axis < max(rank, 1):
        raise ValueError(f"axis {axis} is outside rank {rank}")
    return axis + rank if axis < 0 else axis


def normalize_axes(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """The axes counted from the front, in the order given; ValueError on one that is outside or stands twice."""
    result = tuple(normalize_axis(int(axis), rank) for axis in axes)
    if len(set(result)) != len(result):
        raise ValueError(f"axes {list(result)} repeat")
    return result


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape under multidirectional (NumPy) broadcasting; ValueError when there is none."""
    return np.broadcast_shapes(*shapes)
