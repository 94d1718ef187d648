"""Pad and CenterCropPad: a crop is a view; padding copies elements of the input, or the fill value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.kernels.indexing.indexed_copy import indexed_copy
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid, slice_span
from engine.gpu.program.dispatch import Operand
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.arguments import ints, static_ints
from engine.ops.pad import center_widths, pad_widths


@lowers("Pad")
def lower_pad(node: Node, lowering: Lowering) -> None:
    x, mode = lowering.input(node, 0), node.attr("mode", "constant")
    if node.version >= 11:
        widths = pad_widths(x.rank, static_ints(node, 1), ints(node.constant(3)))
        value = lowering.optional(node, 2)
    else:
        widths = pad_widths(x.rank, node.attr("pads", ()))
        value = lowering.constant(np.array(node.attr("value", 0.0), node.output.dtype), "value")
    _pad(node, lowering, x, widths=widths, mode=mode, value=value)


@lowers("CenterCropPad")
def lower_center_crop_pad(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    _pad(node, lowering, x, widths=center_widths(node, x.shape, static_ints(node, 1)), mode="constant", value=None)


def _pad(
    node: Node, lowering: Lowering, x: Tensor, widths: Sequence[tuple[int, int]], mode: str, value: Tensor | None
) -> None:
    for axis, (before, after) in enumerate(widths):
        crop = max(-before, 0)
        x = x.slice(axis, crop, x.shape[axis] - crop - max(-after, 0))
    if x.shape == node.output.shape:
        lowering.alias(node, x)
        return
    if value is None:
        value = lowering.constant(np.zeros((), node.output.dtype), "value")
    value = lowering.reshape(value, ())
    begin_pads = [max(before, 0) for before, _ in widths]
    y = lowering.output(node, order=x.order(), reads=[x, value])
    if mode == "constant":
        _pad_constant(lowering, x, y, begin_pads=begin_pads, value=value)
    else:
        _pad_from_edges(lowering, x, y, begin_pads=begin_pads, mode=mode)


def _pad_constant(lowering: Lowering, x: Tensor, y: Tensor, begin_pads: Sequence[int], value: Tensor) -> None:
    if not x.size:
        lowering.copy(value.broadcast_to(y.shape), y)
        return
    elements = ElementGrid(y)
    positions = [
        f"{position} - {elements.numbers.integer(f'before{axis}', before)}" if before else position
        for axis, (position, before) in enumerate(zip(elements.positions, begin_pads, strict=True))
    ]
    inside = [
        f"{position} >= 0 && {position} < {elements.numbers.integer(f'x_extent{axis}', extent)}"
        for axis, (position, extent) in enumerate(zip(positions, x.shape, strict=True))
        if extent != y.shape[axis]
    ]
    source = _source_operand(elements, x, begin_pads, "constant")
    reads = [elements.operand("value", value)]
    indexed_copy(
        lowering,
        elements,
        source,
        positions,
        reads=reads,
        inside=" && ".join(inside),
        fill=elements.value_of("value", value, []),
    )


def _pad_from_edges(lowering: Lowering, x: Tensor, y: Tensor, begin_pads: Sequence[int], mode: str) -> None:
    if not x.size:
        raise UnsupportedError(f"{lowering.node.label}: mode '{mode}' of an empty tensor")
    elements = ElementGrid(y)
    positions, lines = [], []
    for axis, (position, before) in enumerate(zip(elements.positions, begin_pads, strict=True)):
        extent = x.shape[axis]
        if extent == y.shape[axis]:
            positions.append(position)
        elif extent == 1:
            positions.append("0")
        elif mode == "edge":
            begin, last = elements.numbers.integer(f"before{axis}", before), f"last{axis}"
            positions.append(f"clamp({position} - {begin}, 0, {elements.numbers.integer(last, extent - 1)})")
        else:
            elements_of_period = _period(extent, mode)
            period = elements.numbers.integer(f"period{axis}", elements_of_period)
            shift = elements.numbers.integer(f"shift{axis}", -before % elements_of_period)
            lines.append(f"let m{axis} = ({position} + {shift}) % {period};")
            positions.append(f"m{axis}" if mode == "wrap" else f"min(m{axis}, {period} - m{axis})")
    indexed_copy(lowering, elements, _source_operand(elements, x, begin_pads, mode), positions, lines=lines)


def _period(extent: int, mode: str) -> int:
    """The period of the padding, in elements: "reflect" runs forth and back, and has both ends once."""
    return extent if mode == "wrap" else max(1, 2 * (extent - 1))


def _source_operand(elements: ElementGrid, x: Tensor, begin_pads: Sequence[int], mode: str) -> Operand:
    axis = elements.outer
    if axis is None:
        return elements.operand("x", x)
    extent, before = x.shape[axis], begin_pads[axis]

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
        return slice_span(x, axis, int(positions.min()), int(positions.max()) + 1)

    return Operand("x", x, span)
