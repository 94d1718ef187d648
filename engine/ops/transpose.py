"""Transpose (ONNX versions 1 and 13): the axes in another order."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import normalize_axes


def permutation(node: Node, rank: int) -> tuple[int, ...]:
    """The input axis that stands at each output axis; reversed by default. ValueError when it is no permutation."""
    perm = node.attr("perm")
    if perm is None:
        return tuple(reversed(range(rank)))
    if len(perm) != rank:
        raise ValueError(f"perm {list(perm)} for rank {rank}")
    return normalize_axes(perm, rank)


@operator("Transpose")
class Transpose:
    """x with its axes permuted."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, tuple(x.shape[axis] for axis in permutation(node, len(x.shape))))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        return x.transpose(permutation(node, x.ndim))
