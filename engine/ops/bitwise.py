"""BitShift-11/28, BitwiseAnd-18, BitwiseOr-18 and BitwiseXor-18, on integers under NumPy broadcasting."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import INTEGER, Elementwise, elementwise
from engine.ops.registry import operator


def bit_shift(x: np.ndarray, count: np.ndarray, *, direction: str) -> np.ndarray:
    """``x`` shifted LEFT or RIGHT; shifted right by its whole width or by a negative count, only its sign remains."""
    y: np.ndarray = np.left_shift(x, count) if direction == "LEFT" else np.right_shift(x, count)
    return y


class _Shift(Elementwise):
    """Elementwise whose attribute ``direction`` must be given."""

    def infer(self, node: Node) -> list[TensorType]:
        if node.attr("direction") not in ("LEFT", "RIGHT"):
            raise ValueError(f"direction {node.attr('direction')!r} is neither LEFT nor RIGHT")
        return Elementwise.infer(self, node)


operator("BitShift", since=11)(_Shift(bit_shift, INTEGER, None, ("direction",)))
elementwise("BitwiseAnd", np.bitwise_and, since=18, kinds=INTEGER)
elementwise("BitwiseOr", np.bitwise_or, since=18, kinds=INTEGER)
elementwise("BitwiseXor", np.bitwise_xor, since=18, kinds=INTEGER)
