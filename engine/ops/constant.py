"""Constant (ONNX versions 1, 11, 12, 13), ConstantOfShape (9, 20) and Range (11, 27): tensors out of nothing."""

from __future__ import annotations

from math import ceil

import numpy as np

from engine.errors import UnsupportedError
from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints, static_array, static_ints
from engine.ops.registry import operator


def constant_value(node: Node) -> np.ndarray:
    """The tensor that a Constant node holds, in whichever of its attributes; UnsupportedError for text and sparse."""
    value = node.attr("value")
    if isinstance(value, np.ndarray):
        return value
    for name, dtype in (("float", np.float32), ("floats", np.float32), ("int", np.int64), ("ints", np.int64)):
        value = node.attr(f"value_{name}")
        if value is not None:
            return np.array(value, dtype)
    names = ", ".join(node.attributes) or "nothing"
    raise UnsupportedError(f"{node.label}: holds {names}; only value, value_float(s) and value_int(s) are supported")


@operator("Constant")
class Constant:
    """The tensor held in the node."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        value = constant_value(node)
        return [TensorType(value.dtype, value.shape)]

    @staticmethod
    def reference(node: Node) -> np.ndarray:
        return constant_value(node)


def _fill(node: Node) -> np.ndarray:
    value: np.ndarray = node.attr("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ValueError(f"value has {value.size} elements, not one")
    return value.reshape(())


@operator("ConstantOfShape", since=9, static=[0])
class ConstantOfShape:
    """A tensor of the given shape, filled with the one element of ``value`` (default: float 0)."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        shape = static_ints(node, 0)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {list(shape)} is negative")
        return [TensorType(_fill(node).dtype, shape)]

    @staticmethod
    def reference(node: Node, shape: np.ndarray) -> np.ndarray:
        return np.full(ints(shape) or (), _fill(node))


def _range_count(start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> int:
    """How many numbers of a Range there are; ValueError where ``delta`` is 0, or one of them NaN or infinite."""
    first, stop, step = start.item(), limit.item(), delta.item()
    if step == 0:
        raise ValueError("delta is 0")
    if start.dtype.kind in "iu":
        return max(-((first - stop) // step), 0)
    return max(ceil((stop - first) / step), 0)


@operator("Range", since=11, static=[0, 1, 2])
class Range:
    """start + i·delta for each i below ceil((limit - start) / delta); float16 and float32 computed in float64."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        start = static_array(node, 0)
        return [TensorType(start.dtype, (_range_count(start, static_array(node, 1), static_array(node, 2)),))]

    @staticmethod
    def reference(_: Node, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
        wide_dtype = np.dtype({"i": np.int64, "u": np.uint64}.get(start.dtype.kind, np.float64))
        values: np.ndarray = np.arange(_range_count(start, limit, delta), dtype=wide_dtype)
        # what wraps in the product comes back in the sum: every result fits
        np.multiply(values, delta.astype(wide_dtype).reshape(()), out=values)
        np.add(values, start.astype(wide_dtype).reshape(()), out=values)
        return values.astype(start.dtype, copy=False)
