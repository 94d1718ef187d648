"""Shape (ONNX versions 1, 13, 15), Size (1, 13) and NonZero (9, 13): what there is in a tensor, as int64."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import static_array
from engine.ops.registry import operator

INT64 = np.dtype(np.int64)


def shape_range(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The extents from ``start`` up to ``end`` (version 15), which count from the back and are clamped like a slice."""
    return shape[node.attr("start", 0) : node.attr("end")]


@operator("Shape")
class Shape:
    """The extents of x."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        return [TensorType(INT64, (len(shape_range(node, node.input(0).shape)),))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        return np.array(shape_range(node, x.shape), INT64)


@operator("Size")
class Size:
    """The number of elements of x."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        node.input(0)
        return [TensorType(INT64, ())]

    @staticmethod
    def reference(_: Node, x: np.ndarray) -> np.ndarray:
        return np.array(x.size, INT64)


@operator("NonZero", since=9, static=[0])
class NonZero:
    """The positions of the elements that are not zero, ``[rank, count]``; only for an x that is known at load."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = static_array(node, 0)
        return [TensorType(INT64, (x.ndim, int(np.count_nonzero(x))))]

    @staticmethod
    def reference(_: Node, x: np.ndarray) -> np.ndarray:
        if x.ndim == 0:
            return np.zeros((0, int(np.count_nonzero(x))), INT64)
        return np.array(np.nonzero(x), INT64)
