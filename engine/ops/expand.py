"""Expand (ONNX versions 8 and 13) and Tile (6 and 13): a tensor repeated along its axes."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints, static_ints
from engine.ops.registry import operator
from engine.ops.types import broadcast


@operator("Expand", static=[1])
class Expand:
    """x broadcast against a shape; where the shape has 1 and x has more, x stays as it is."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, broadcast(x.shape, static_ints(node, 1)))]

    @staticmethod
    def reference(_: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, broadcast(x.shape, ints(shape) or ()))


@operator("Tile", static=[1])
class Tile:
    """x laid side by side ``repeats`` times along each axis."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, repeats = node.input(0), static_ints(node, 1)
        if len(repeats) != len(x.shape) or min(repeats, default=0) < 0:
            raise ValueError(f"repeats {list(repeats)} for rank {len(x.shape)}")
        return [TensorType(x.dtype, tuple(extent * n for extent, n in zip(x.shape, repeats, strict=True)))]

    @staticmethod
    def reference(_: Node, x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
        return np.tile(x, ints(repeats) or ())
