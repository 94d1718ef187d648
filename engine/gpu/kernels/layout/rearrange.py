"""Tile, DepthToSpace and SpaceToDepth: copies between views of input and output whose axes are split alike."""

from __future__ import annotations

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.tensor import channels_last
from engine.graph.ir import Node


@lowers("Tile")
def lower_tile(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    repeats = [total // max(1, extent) for total, extent in zip(node.output.shape, x.shape, strict=True)]
    is_view = all(extent == 1 or repeat == 1 for extent, repeat in zip(x.shape, repeats, strict=True))
    if is_view or not node.output.type.size:
        lowering.alias(node, x.broadcast_to(node.output.shape))
        return
    y = lowering.output(node, reads=[x], order=x.order())
    split_shape = tuple(count for pair in zip(repeats, x.shape, strict=True) for count in pair)
    x_shape = tuple(count for extent in x.shape for count in (1, extent))
    lowering.copy(x.view(x_shape).broadcast_to(split_shape), y.view(split_shape))


@lowers("DepthToSpace")
def lower_depth_to_space(node: Node, lowering: Lowering) -> None:
    x, block = lowering.input(node, 0), node.attr("blocksize", 0)
    n, c, h, w = x.shape
    depth = c // block**2
    if node.attr("mode", "DCR") == "DCR":
        parts = x.view((n, block, block, depth, h, w)).transpose((0, 3, 4, 1, 5, 2))
    else:
        parts = x.view((n, depth, block, block, h, w)).transpose((0, 1, 4, 2, 5, 3))
    y = lowering.output(node, reads=[x], order=channels_last(4))
    lowering.copy(parts, y.view((n, depth, h, block, w, block)))


@lowers("SpaceToDepth")
def lower_space_to_depth(node: Node, lowering: Lowering) -> None:
    x, block = lowering.input(node, 0), node.attr("blocksize", 0)
    n, c, h, w = x.shape
    parts = x.view((n, c, h // block, block, w // block, block))
    y = lowering.output(node, reads=[x], order=channels_last(4))
    if node.attr("mode", "DCR") == "DCR":
        lowering.copy(parts.transpose((0, 3, 5, 1, 2, 4)), y.view((n, block, block, c, h // block, w // block)))
    else:
        lowering.copy(parts.transpose((0, 1, 3, 5, 2, 4)), y.view((n, c, block, block, h // block, w // block)))
