"""GlobalAveragePool, GlobalMaxPool (ONNX versions 1, 22) and GlobalLpPool (2, 22): one number for each channel."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import accumulator


def _spatial_axes(x: np.ndarray) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


class _Global:
    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        if len(x.shape) < 2:
            raise ValueError(f"rank {len(x.shape)} has no channels")
        return [TensorType(x.dtype, (*x.shape[:2], *(1,) * (len(x.shape) - 2)))]


@operator("GlobalAveragePool")
class GlobalAveragePool(_Global):
    """The mean of each channel, float16 summed in float32."""

    @staticmethod
    def reference(_: Node, x: np.ndarray) -> np.ndarray:
        mean = x.mean(_spatial_axes(x), dtype=accumulator(x.dtype), keepdims=True)
        return mean.astype(x.dtype, copy=False)


@operator("GlobalMaxPool")
class GlobalMaxPool(_Global):
    """The largest element of each channel."""

    @staticmethod
    def reference(_: Node, x: np.ndarray) -> np.ndarray:
        return x.max(_spatial_axes(x), keepdims=True)


@operator("GlobalLpPool", since=2)
class GlobalLpPool(_Global):
    """The p-norm of each channel, float16 summed in float32."""

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        p = node.attr("p", 2)
        total = (np.abs(x.astype(accumulator(x.dtype), copy=False)) ** p).sum(_spatial_axes(x), keepdims=True)
        return (total ** (1 / p)).astype(x.dtype, copy=False)
