"""TopK: k as an attribute (ONNX TopK-1) or as a static input (TopK-10/11/24)."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import static_ints
from engine.ops.registry import operator
from engine.ops.types import normalize_axis


def k_of(node: Node) -> int:
    """The number of elements that TopK selects."""
    (k,) = static_ints(node, 1) if node.version >= 10 else (int(node.attr("k", -1)),)
    return k


@operator("TopK", static=[1])
class TopK:
    """The k largest (or smallest) elements along ``axis`` in order, and their int64 indices; equal ones by index.

    Unsorted results (``sorted`` = 0) may come in any order, so they come in this one too.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, k = node.input(0), k_of(node)
        axis = normalize_axis(node.attr("axis", -1), len(x.shape))
        if not 0 <= k <= x.shape[axis]:
            raise ValueError(f"k = {k} of {x.shape[axis]} elements")
        shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
        return [TensorType(x.dtype, shape), TensorType(np.dtype(np.int64), shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray, _: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        axis = node.attr("axis", -1)
        if node.attr("largest", 1):
            # a stable sort of the reversed axis, read backwards: descending, and equal elements by rising index
            order = x.shape[axis] - 1 - np.flip(np.flip(x, axis).argsort(axis, kind="stable"), axis)
        else:
            order = x.argsort(axis, kind="stable")
        indices = order.take(np.arange(k_of(node)), axis).astype(np.int64, copy=False)
        return np.take_along_axis(x, indices, axis), indices
