"""Tile, DepthToSpace and SpaceToDepth: copies between views of input and output that cut their axes alike."""

from __future__ import annotations

from engine.gpu.kernels.elementwise import copy
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Shape, Tensor, channels_last
from engine.graph.ir import Node


@lowers("Tile")
def lower_tile(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    repeats = [total // max(1, extent) for total, extent in zip(node.output.shape, x.shape, strict=True)]
    single = all(extent == 1 or repeat == 1 for extent, repeat in zip(x.shape, repeats, strict=True))
    if single or not node.output.type.size:
        low.hand_on(node, x.broadcast_to(node.output.shape))
        return
    y = low.output(node, reads=[x], order=x.order())
    cut = tuple(count for pair in zip(repeats, x.shape, strict=True) for count in pair)
    ones = tuple(count for extent in x.shape for count in (1, extent))
    copy(_split(x, ones).broadcast_to(cut), _split(y, cut), low)


@lowers("DepthToSpace")
def lower_depth_to_space(node: Node, low: Lowering) -> None:
    x, block = low.input(node, 0), node.attr("blocksize", 0)
    n, c, h, w = x.shape
    depth = c // block**2
    if node.attr("mode", "DCR") == "DCR":
        parts = _split(x, (n, block, block, depth, h, w)).transpose((0, 3, 4, 1, 5, 2))
    else:
        parts = _split(x, (n, depth, block, block, h, w)).transpose((0, 1, 4, 2, 5, 3))
    y = low.output(node, reads=[x], order=channels_last(4))
    copy(parts, _split(y, (n, depth, h, block, w, block)), low)


@lowers("SpaceToDepth")
def lower_space_to_depth(node: Node, low: Lowering) -> None:
    x, block = low.input(node, 0), node.attr("blocksize", 0)
    n, c, h, w = x.shape
    parts = _split(x, (n, c, h // block, block, w // block, block))
    y = low.output(node, reads=[x], order=channels_last(4))
    if node.attr("mode", "DCR") == "DCR":
        copy(parts.transpose((0, 3, 5, 1, 2, 4)), _split(y, (n, block, block, c, h // block, w // block)), low)
    else:
        copy(parts.transpose((0, 1, 3, 5, 2, 4)), _split(y, (n, c, block, block, h // block, w // block)), low)


def _split(tensor: Tensor, shape: Shape) -> Tensor:
    """A view whose axes are runs of one axis each, which always exists."""
    view = tensor.reshape(shape)
    assert view is not None
    return view
