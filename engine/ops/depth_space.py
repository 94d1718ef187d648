"""DepthToSpace (ONNX versions 1, 11, 13) and SpaceToDepth (1, 13, 28): channels traded for blocks of pixels.

In the order DCR the channel is (row, column, depth), in CRD (depth, row, column), slowest first. DepthToSpace knows CRD
since version 11, SpaceToDepth since version 28.
"""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator


def _options(node: Node, shape: tuple[int, ...]) -> tuple[int, bool]:
    """(block size, whether the order is DCR); ValueError where they make no sense."""
    block, mode = node.attr("blocksize", 0), node.attr("mode", "DCR")
    if len(shape) != 4 or block < 1 or mode not in ("DCR", "CRD"):
        raise ValueError(f"blocksize {block}, mode '{mode}'")
    return block, mode == "DCR"


@operator("DepthToSpace")
class DepthToSpace:
    """``[N, C, H, W]`` to ``[N, C/b², H·b, W·b]``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        block, _ = _options(node, x.shape)
        n, c, h, w = x.shape
        if c % block**2:
            raise ValueError(f"{c} channels do not split into blocks of {block} x {block}")
        return [TensorType(x.dtype, (n, c // block**2, h * block, w * block))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        block, depth_last = _options(node, x.shape)
        n, c, h, w = x.shape
        depth = c // block**2
        if depth_last:
            parts = x.reshape(n, block, block, depth, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = x.reshape(n, depth, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(n, depth, h * block, w * block)


@operator("SpaceToDepth")
class SpaceToDepth:
    """``[N, C, H, W]`` to ``[N, C·b², H/b, W/b]``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        block, _ = _options(node, x.shape)
        n, c, h, w = x.shape
        if h % block or w % block:
            raise ValueError(f"{h} x {w} pixels do not split into blocks of {block} x {block}")
        return [TensorType(x.dtype, (n, c * block**2, h // block, w // block))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        block, depth_last = _options(node, x.shape)
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block)
        parts = parts.transpose((0, 3, 5, 1, 2, 4) if depth_last else (0, 1, 3, 5, 2, 4))
        return parts.reshape(n, c * block**2, h // block, w // block)
