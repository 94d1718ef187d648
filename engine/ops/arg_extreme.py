"""ArgMax and ArgMin (ONNX versions 1, 11, 12, 13): where the extreme element of an axis stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.reduce import reduced_shape
from engine.ops.registry import operator
from engine.ops.types import normalize_axis


@dataclass(frozen=True, slots=True)
class ArgExtreme:
    """int64 index of the extreme along ``axis`` (default 0): the first, or the last with ``select_last_index``."""

    function: Callable[..., np.ndarray]

    def infer(self, node: Node) -> list[TensorType]:
        x = node.input(0)
        axis = normalize_axis(node.attr("axis", 0), len(x.shape))
        if x.shape and x.shape[axis] == 0:
            raise ValueError(f"axis {axis} is empty")
        shape = reduced_shape(x.shape, (axis,), bool(node.attr("keepdims", 1)))
        return [TensorType(np.dtype(np.int64), shape)]

    def reference(self, node: Node, x: np.ndarray) -> np.ndarray:
        axis, keepdims = node.attr("axis", 0), bool(node.attr("keepdims", 1))
        if node.attr("select_last_index", 0):
            index = x.shape[axis] - 1 - self.function(np.flip(x, axis), axis, keepdims=keepdims)
        else:
            index = self.function(x, axis, keepdims=keepdims)
        return np.asarray(index, np.int64)


operator("ArgMax")(ArgExtreme(np.argmax))
operator("ArgMin")(ArgExtreme(np.argmin))
