"""Unpack4Bit, of the engine's own domain: the 4-bit integers of a file, which stay two in a byte until it runs.

The loader puts one behind each 4-bit tensor. A pass takes it away again where the weights stay packed for good
(`engine.graph.passes.pack_products`), and what is left is evaluated when constants are folded.
"""

from __future__ import annotations

import numpy as np

from engine.graph.dtypes import ELEM_TYPES, dtype_of, is_four_bit
from engine.graph.ir import INTERNAL_DOMAIN, Node, TensorType, Value
from engine.graph.nibbles import unpack
from engine.ops.registry import operator

UNPACK = "Unpack4Bit"


def unpack_node(packed: np.ndarray, name: str, kind: TensorType) -> Node:
    """The node that makes the value ``name``, a tensor of ``kind``, of its ``packed`` bytes."""
    attributes = {"elem_type": ELEM_TYPES[kind.dtype], "shape": kind.shape}
    source = Value.constant(f"{name}:packed", packed)
    return Node(UNPACK, [source], [Value(name, kind)], attributes, domain=INTERNAL_DOMAIN, name=f"{name}:unpack")


@operator(UNPACK, domain=INTERNAL_DOMAIN)
class Unpack4Bit:
    """uint8 ``[(elements + 1) // 2]``, the lower half of a byte first, as INT4 or UINT4 of ``shape``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        packed = node.input(0)
        kind = TensorType(dtype_of(node.attr("elem_type"), f"{node.label}: the output"), node.attr("shape"))
        if not is_four_bit(kind.dtype) or packed.dtype != np.uint8 or packed.shape != (-(-kind.size // 2),):
            raise ValueError(f"{kind} takes {-(-kind.size // 2)} bytes")
        return [kind]

    @staticmethod
    def reference(node: Node, packed: np.ndarray) -> np.ndarray:
        return unpack(packed, Unpack4Bit.infer(node)[0])
