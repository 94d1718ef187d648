"""Comparisons, logic and choice under NumPy broadcasting.

Equal-7/11/13/19, Greater and Less-7/9/13, GreaterOrEqual and LessOrEqual-12/16, And, Or, Xor-7, Where-9/16.
"""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import BOOLEAN, NUMBER, elementwise
from engine.ops.registry import operator
from engine.ops.types import broadcast

elementwise("Equal", np.equal, since=7, kinds=NUMBER + BOOLEAN, result=np.bool_)
elementwise("Greater", np.greater, since=7, kinds=NUMBER, result=np.bool_)
elementwise("Less", np.less, since=7, kinds=NUMBER, result=np.bool_)
elementwise("GreaterOrEqual", np.greater_equal, since=12, kinds=NUMBER, result=np.bool_)
elementwise("LessOrEqual", np.less_equal, since=12, kinds=NUMBER, result=np.bool_)
elementwise("And", np.logical_and, since=7, kinds=BOOLEAN)
elementwise("Or", np.logical_or, since=7, kinds=BOOLEAN)
elementwise("Xor", np.logical_xor, since=7, kinds=BOOLEAN)


@operator("Where", since=9)
class Where:
    """The second input where the first, bool, is true; the third elsewhere."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        condition, x, y = node.input(0), node.input(1), node.input(2)
        if condition.dtype != np.bool_ or x.dtype != y.dtype:
            raise ValueError("the condition must be bool, and the choices must have one dtype")
        return [TensorType(x.dtype, broadcast(condition.shape, x.shape, y.shape))]

    @staticmethod
    def reference(_: Node, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(condition, x, y)
