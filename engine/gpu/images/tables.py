"""Tables of weights as constants of a dispatch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.gpu.program.tensor import Tensor, new_tensor
from engine.images import LineWeights


def bits(value: float) -> int:
    """The bits of a float32, as the i32 that a uniform holds."""
    with np.errstate(over="ignore"):
        return int(np.float32(value).view(np.int32))


def constant(array: np.ndarray, label: str) -> Tensor:
    """A constant of float32 or int32, with one axis."""
    data = np.ascontiguousarray(array).reshape(-1)
    return new_tensor(data.shape, "f32" if data.dtype == np.float32 else "i32", label, content=lambda: data)


def line_table(rows: LineWeights, columns: LineWeights) -> Tensor:
    """For each row and then each column of the result, the first line that it is made of and how many they are."""
    pairs = [np.stack([lines.first, lines.counts], axis=1) for lines in (rows, columns)]
    return constant(np.concatenate(pairs), "lines")


def weight_table(rows: LineWeights, columns: LineWeights) -> Tensor:
    """The weights of each row, and then of each column."""
    return constant(np.concatenate([rows.weights.reshape(-1), columns.weights.reshape(-1)]), "weights")


def kernel_table(half: Sequence[float]) -> Tensor:
    """The weights of a symmetric kernel from its middle outwards."""
    return constant(np.asarray(half, np.float32), "kernel")


def point_table(points: Sequence[tuple[float, float]]) -> Tensor:
    """For each point the whole rows and columns below it, and what it lies beyond them, as bits."""
    places = np.asarray(points, np.float64).reshape(-1, 2)
    whole = np.floor(places)
    parts = (places - whole).astype(np.float32)
    table = np.concatenate([whole.astype(np.int32), parts.view(np.int32)], axis=1)
    return constant(table if len(table) else np.zeros((1, 4), np.int32), "points")
