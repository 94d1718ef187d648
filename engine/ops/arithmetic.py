"""Arithmetic under NumPy broadcasting.

Add, Sub, Mul, Div-7/13/14, Pow-7/12/13/15, Mod-10/13/28; of any number of inputs Max, Min-6/8/12/13, Sum, Mean-6/8/13.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import NUMBER, elementwise, round_to, widen
from engine.ops.registry import operator
from engine.ops.types import broadcast


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; for integers rounded toward zero, and 0 where ``b`` is 0 (ONNX leaves that open)."""
    y: np.ndarray
    if a.dtype.kind == "f":
        y = np.divide(a, b)
    else:
        floor = np.floor_divide(a, b)
        y = floor + (((a < 0) != (b < 0)) & (floor * b != a) & (b != 0))
    return y


def modulo(a: np.ndarray, b: np.ndarray, *, fmod: int = 0) -> np.ndarray:
    """Remainder with the sign of the divisor, or, with ``fmod``, of the dividend."""
    y: np.ndarray = np.fmod(a, b) if fmod else np.mod(a, b)
    return y


def power(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """base ** exponent in the wider dtype; integers to a negative power in float64, where they have a value."""
    if base.dtype.kind in "iu" and exponent.dtype.kind == "i" and exponent.size and exponent.min() < 0:
        base = base.astype(np.float64)
    y: np.ndarray = np.power(base, exponent)
    if exponent.size == 1 and exponent.item() == 0.5:
        # some releases of NumPy take the square root, which is NaN and -0 where pow is infinite and 0
        y = np.where(base == -np.inf, np.inf, y + 0)
    return y


def maximum(*arrays: np.ndarray) -> np.ndarray:
    """The largest of each; NaN wins."""
    return reduce(np.maximum, arrays)


def minimum(*arrays: np.ndarray) -> np.ndarray:
    """The smallest of each; NaN wins."""
    return reduce(np.minimum, arrays)


def total(*arrays: np.ndarray) -> np.ndarray:
    """The sum of each, from the left."""
    return reduce(np.add, arrays)


def mean(*arrays: np.ndarray) -> np.ndarray:
    """The sum of each divided by their number."""
    return total(*arrays) / len(arrays)


elementwise("Add", np.add, since=7, kinds=NUMBER)
elementwise("Sub", np.subtract, since=7, kinds=NUMBER)
elementwise("Mul", np.multiply, since=7, kinds=NUMBER)
elementwise("Div", divide, since=7, kinds=NUMBER)
elementwise("Mod", modulo, since=10, kinds=NUMBER, attributes=("fmod",))
elementwise("Max", maximum, kinds=NUMBER)
elementwise("Min", minimum, kinds=NUMBER)
elementwise("Sum", total)
elementwise("Mean", mean)


@operator("Pow", since=7)
class Pow:
    """Base to the power of the exponent; since version 12 their dtypes may differ, and the result has the base's."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        base, exponent = node.input(0), node.input(1)
        if "b" in (base.dtype.kind, exponent.dtype.kind) or (node.version < 12 and base.dtype != exponent.dtype):
            raise ValueError("dtypes the operator does not take")
        return [TensorType(base.dtype, broadcast(base.shape, exponent.shape))]

    @staticmethod
    def reference(_: Node, base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return round_to(power(widen(base), widen(exponent)), base.dtype)
