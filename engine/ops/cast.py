"""Cast-6/9/13/19/21/23/24/25/28 and CastLike-15/19/21/23/24/25, among bool, integers and IEEE floats.

Integers of four bits are among them; what is cast to them keeps its lower four bits, a float once it is an int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.graph.dtypes import byte_dtype, dtype_of, is_four_bit, limits, whole_bytes
from engine.graph.ir import Node, TensorType
from engine.graph.nibbles import four_bits
from engine.ops.elementwise import round_to, widen
from engine.ops.registry import operator


def saturate(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Floats as integers: rounded toward zero and kept within the range of ``dtype``, NaN as 0."""
    (low, high), stored = limits(dtype), byte_dtype(dtype)
    wide = widen(x)
    # as a float the largest integer may round up to a power of two that is already outside: hence >=
    above, below = wide >= high, wide < low
    inside = np.where(above | below | np.isnan(wide), 0, wide).astype(stored)
    return np.where(above, stored.type(high), np.where(below, stored.type(low), inside)).view(dtype)


def cast(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """``x`` in another dtype: integers wrap, floats round to nearest even or become infinite.

    ONNX leaves floats outside the range of an integer type open; they saturate, as on WebGPU, on every machine alike.
    Those of four bits wrap, as in ONNX's node tests.
    """
    x = whole_bytes(x)
    if is_four_bit(dtype):
        return four_bits(cast(x, np.dtype(np.int32)), dtype)
    if x.dtype.kind == "f" and dtype.kind in "iu":
        return saturate(x, dtype)
    return round_to(x, dtype)


@operator("Cast", since=6)
class Cast:
    """To the tensor type ``to``; UnsupportedError when NumPy has no such dtype."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        return [TensorType(dtype_of(node.attr("to", 0), f"{node.label}: the output"), node.input(0).shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        return cast(x, dtype_of(node.attr("to", 0), f"{node.label}: the output"))


@operator("CastLike", since=15)
class CastLike:
    """To the dtype of the second input."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        return [TensorType(node.input(1).dtype, node.input(0).shape)]

    @staticmethod
    def reference(_: Node, x: np.ndarray, target: np.ndarray) -> np.ndarray:
        return cast(x, target.dtype)
