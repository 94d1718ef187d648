"""Pad and CenterCropPad: what is taken away is a view; what is added is picked from the edge, or the fill."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.dispatch import Operand
from engine.gpu.kernels.addressing import Walk, slab, value_of
from engine.gpu.kernels.elementwise import copy
from engine.gpu.kernels.indexed_copy import pick
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.arguments import ints, static_ints
from engine.ops.pad import center_widths, pad_widths


@lowers("Pad")
def lower_pad(node: Node, low: Lowering) -> None:
    x, mode = low.input(node, 0), node.attr("mode", "constant")
    if node.version >= 11:
        widths = pad_widths(x.rank, static_ints(node, 1), ints(node.constant(3)))
        value = low.optional(node, 2)
    else:
        widths = pad_widths(x.rank, node.attr("pads", ()))
        value = low.constant(np.array(node.attr("value", 0.0), node.output.dtype), "value")
    _pad(node, low, x, widths, mode, value)


@lowers("CenterCropPad")
def lower_center_crop_pad(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    _pad(node, low, x, center_widths(node, x.shape, static_ints(node, 1)), "constant", None)


def _pad(
    node: Node, low: Lowering, x: Tensor, widths: Sequence[tuple[int, int]], mode: str, value: Tensor | None
) -> None:
    for axis, (before, after) in enumerate(widths):
        removed = max(-before, 0)
        x = x.slice(axis, removed, x.shape[axis] - removed - max(-after, 0))
    if x.shape == node.output.shape:
        low.hand_on(node, x)
        return
    if value is None:
        value = low.constant(np.zeros((), node.output.dtype), "value")
    value = low.reshaped(value, ())
    befores = [max(before, 0) for before, _ in widths]
    y = low.output(node, order=x.order(), reads=[x, value])
    if mode == "constant":
        _pad_constant(low, x, y, befores, value)
    else:
        _pad_from_edges(low, x, y, befores, mode)


def _pad_constant(low: Lowering, x: Tensor, y: Tensor, befores: Sequence[int], value: Tensor) -> None:
    if not x.size:
        copy(value.broadcast_to(y.shape), y, low)
        return
    walk = Walk(y)
    positions = [_moved(place, -before) for place, before in zip(walk.positions, befores, strict=True)]
    inside = [
        f"{position} >= 0 && {position} < {extent}"
        for position, extent, wanted in zip(positions, x.shape, y.shape, strict=True)
        if extent != wanted
    ]
    source = _source(walk, x, befores, "constant")
    reads = [walk.operand("value", value)]
    pick(low, walk, source, positions, reads=reads, inside=" && ".join(inside), fill=value_of("value", value, []))


def _pad_from_edges(low: Lowering, x: Tensor, y: Tensor, befores: Sequence[int], mode: str) -> None:
    if not x.size:
        raise UnsupportedError(f"{low.node.label}: mode '{mode}' of an empty tensor")
    walk = Walk(y)
    positions, lines = [], []
    for axis, (place, before) in enumerate(zip(walk.positions, befores, strict=True)):
        extent = x.shape[axis]
        if extent == y.shape[axis]:
            positions.append(place)
        elif extent == 1:
            positions.append("0")
        elif mode == "edge":
            positions.append(f"clamp({_moved(place, -before)}, 0, {extent - 1})")
        else:
            period = _period(extent, mode)
            lines.append(f"let m{axis} = ({_moved(place, -before % period)}) % {period};")
            positions.append(f"m{axis}" if mode == "wrap" else f"min(m{axis}, {period} - m{axis})")
    pick(low, walk, _source(walk, x, befores, mode), positions, lines=lines)


def _moved(place: str, by: int) -> str:
    return f"{place} + {by}" if by > 0 else f"{place} - {-by}" if by else place


def _period(extent: int, mode: str) -> int:
    """After how many elements the edges repeat: reflect runs there and back, without the two ends twice."""
    return extent if mode == "wrap" else max(1, 2 * (extent - 1))


def _source(walk: Walk, x: Tensor, befores: Sequence[int], mode: str) -> Operand:
    axis = walk.outer
    if axis is None:
        return walk.operand("x", x)
    extent, before = x.shape[axis], befores[axis]

    def span(first: int, last: int) -> tuple[int, int]:
        positions = np.arange(first, last) - before
        if mode == "constant":
            positions = positions[(positions >= 0) & (positions < extent)]
        elif mode == "edge":
            positions = positions.clip(0, extent - 1)
        else:
            positions %= _period(extent, mode)
            positions = positions if mode == "wrap" else np.minimum(positions, _period(extent, mode) - positions)
        if not positions.size:
            return x.offset, x.offset
        return slab(x, axis, int(positions.min()), int(positions.max()) + 1)

    return Operand("x", x, span)
