"""MaxUnpool (ONNX versions 9, 11, 22): the elements that MaxPool chose, put back where they stood."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.errors import ModelError
from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints
from engine.ops.registry import operator


def unpooled_shape(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape whose pooling gives ``shape``: the one that the indices refer to."""
    kernel = node.attr("kernel_shape")
    if kernel is None:
        raise ModelError(f"{node.label}: attribute kernel_shape is required")
    rank = len(shape) - 2
    strides, pads = node.attr("strides") or (1,) * rank, node.attr("pads") or (0,) * 2 * rank
    columns = zip(shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True)
    return (*shape[:2], *((n - 1) * s + k - before - after for n, s, k, before, after in columns))


@operator("MaxUnpool", since=9, static=[2])
class MaxUnpool:
    """Zeros with x at the given flat indices; ``output_shape`` puts zeros behind, or cuts them off."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        shape = unpooled_shape(node, x.shape)
        target = ints(node.constant(2)) or shape
        if node.input(1).shape != x.shape or len(target) != len(shape):
            raise ValueError("indices or output_shape differ from x in rank or shape")
        return [TensorType(x.dtype, target)]

    @staticmethod
    def workspace(node: Node) -> int:
        x = node.input(0)
        return prod(unpooled_shape(node, x.shape)) * x.dtype.itemsize

    @staticmethod
    def reference(node: Node, x: np.ndarray, indices: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        shape = unpooled_shape(node, x.shape)
        flat = np.zeros(prod(shape), x.dtype)
        flat[indices.ravel()] = x.ravel()
        y = np.zeros(ints(target) or shape, x.dtype)
        common = tuple(slice(min(ours, theirs)) for ours, theirs in zip(shape, y.shape, strict=True))
        y[common] = flat.reshape(shape)[common]
        return y
