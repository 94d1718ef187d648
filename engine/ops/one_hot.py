"""OneHot (ONNX versions 9 and 11): an axis put in that holds one value at the index and another elsewhere."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import static_array
from engine.ops.registry import operator
from engine.ops.types import normalize_axis


def _depth(depth: np.ndarray) -> int:
    if depth.size != 1 or depth.item() < 0:
        raise ValueError(f"depth {depth} is not one count")
    return int(depth.item())


@operator("OneHot", since=9, static=[1])
class OneHot:
    """y[..., k, ...] = values[1] where k is the index (negative: from the back), values[0] elsewhere."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        indices, values = node.input(0), node.input(2)
        axis = normalize_axis(node.attr("axis", -1), len(indices.shape) + 1)
        depth = _depth(static_array(node, 1))
        return [TensorType(values.dtype, (*indices.shape[:axis], depth, *indices.shape[axis:]))]

    @staticmethod
    def reference(node: Node, indices: np.ndarray, depth: np.ndarray, values: np.ndarray) -> np.ndarray:
        axis = normalize_axis(node.attr("axis", -1), indices.ndim + 1)
        count = _depth(depth)
        index = np.expand_dims(indices.astype(np.int64), axis)
        classes = np.arange(count).reshape(-1, *(1,) * (indices.ndim - axis))
        return np.where((index == classes) | (index + count == classes), values[1], values[0])
