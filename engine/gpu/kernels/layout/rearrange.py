"""Tile, DepthToSpace and SpaceToDepth: copies between views of input and output whose axes are split alike."""

from __future__ import annotations

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.tensor import Shape, Tensor, channels_last
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
    lowering.copy(_split_axes(x, x_shape).broadcast_to(split_shape), _split_axes(y, split_shape))


@lowers("DepthToSpace")
def lower_depth_to_space(node: Node, lowering: Lowering) -> None:
    x, block = lowering.input(node, 0), node.attr("blocksize", 0)
    n, c, h, w = x.shape
    depth = c // block**2
    if node.attr("mode", "DCR") == "DCR":
        parts = _split_axes(x, (n, block, block, depth, h, w)).transpose((0, 3, 4, 1, 5, 2))
    else:
        parts = _split_axes(x, (n, depth, block, block, h, w)).transpose((0, 1, 4, 2, 5, 3))
    y = lowering.output(node, reads=[x], order=channels_last(4))
    lowering.copy(parts, _split_axes(y, (n, depth, h, block, w, block)))


@lowers("SpaceToDepth")
def lower_space_to_depth(node: Node, lowering: Lowering) -> None:
    x, block = lowering.input(node, 0), node.attr("blocksize", 0)
    n, c, h, w = x.shape
    parts = _split_axes(x, (n, c, h // block, block, w // block, block))
    y = lowering.output(node, reads=[x], order=channels_last(4))
    if node.attr("mode", "DCR") == "DCR":
        lowering.copy(parts.transpose((0, 3, 5, 1, 2, 4)), _split_axes(y, (n, block, block, c, h // block, w // block)))
    else:
        lowering.copy(parts.transpose((0, 1, 3, 5, 2, 4)), _split_axes(y, (n, c, block, block, h // block, w // block)))


def _split_axes(tensor: Tensor, shape: Shape) -> Tensor:
    """The view of ``shape``, which splits axes of ``tensor`` and merges none, and so always exists."""
    view = tensor.reshape(shape)
    assert view is not None
    return view
