"""Gather, GatherElements, GatherND and ReverseSequence: elements selected by a tensor of indices.

A shader cannot refuse an index that lies outside its axis, so indices are clamped to the axis.
"""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.indexing.indexed_copy import indexed_copy
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.dispatch import Operand
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.types import normalize_axis


@lowers("Gather")
def lower_gather(node: Node, lowering: Lowering) -> None:
    x, constant_indices = lowering.input(node, 0), node.constant(1)
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    view = None if constant_indices is None else _gather_view(x, axis, constant_indices)
    if view is not None:
        lowering.alias(node, view)
        return
    indices = lowering.input(node, 1)
    elements = ElementGrid(lowering.output(node, reads=[x, indices]))
    end = axis + indices.rank
    axes = [*range(axis), None, *range(end, elements.y.rank)]
    lines = [
        f"let index = {elements.address('indices', indices, elements.positions[axis:end])};",
        f"let position = {elements.clamped_index('index', 'choices', x.shape[axis])};",
    ]
    positions = [*elements.positions[:axis], "position", *elements.positions[end:]]
    index = elements.mapped_operand("indices", indices, range(axis, end))
    indexed_copy(lowering, elements, elements.mapped_operand("x", x, axes), positions, lines=lines, reads=[index])


def _gather_view(x: Tensor, axis: int, indices: np.ndarray) -> Tensor | None:
    """The output of Gather as a view, where the indices are evenly spaced, as exporters write a split of a tensor."""
    extent = x.shape[axis]
    flat = np.where(indices < 0, indices + extent, indices).reshape(-1)
    steps = np.diff(flat)
    if not flat.size or flat.min() < 0 or flat.max() >= extent or (steps != steps[:1]).any():
        return None
    part = x.slice(axis, int(flat[0]), flat.size, int(steps[0]) if steps.size else 1)
    return part.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@lowers("GatherElements")
def lower_gather_elements(node: Node, lowering: Lowering) -> None:
    x, indices = lowering.input(node, 0), lowering.input(node, 1)
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    elements = ElementGrid(lowering.output(node, reads=[x, indices], order=indices.order()))
    lines = [
        f"let index = {elements.address('indices', indices, elements.positions)};",
        f"let position = {elements.clamped_index('index', 'choices', x.shape[axis])};",
    ]
    positions = [*elements.positions[:axis], "position", *elements.positions[axis + 1 :]]
    axes = [None if other == axis else other for other in range(x.rank)]
    index = elements.mapped_operand("indices", indices, range(x.rank))
    indexed_copy(lowering, elements, elements.mapped_operand("x", x, axes), positions, lines=lines, reads=[index])


@lowers("GatherND")
def lower_gather_nd(node: Node, lowering: Lowering) -> None:
    x, indices = lowering.input(node, 0), lowering.input(node, 1)
    batch, depth, lead = node.attr("batch_dims", 0), indices.shape[-1], indices.rank - 1
    elements = ElementGrid(lowering.output(node, reads=[x, indices]))
    lines = []
    for step in range(depth):
        lines += [
            f"let index{step} = {elements.address('indices', indices, [*elements.positions[:lead], str(step)])};",
            f"let position{step} = {elements.clamped_index(f'index{step}', f'choices{step}', x.shape[batch + step])};",
        ]
    index_positions = [f"position{step}" for step in range(depth)]
    positions = [*elements.positions[:batch], *index_positions, *elements.positions[lead:]]
    axes = [*range(batch), *([None] * depth), *range(lead, elements.y.rank)]
    reads: list[Operand] = [elements.mapped_operand("indices", indices, [*range(lead), None])] if depth else []
    indexed_copy(lowering, elements, elements.mapped_operand("x", x, axes), positions, lines=lines, reads=reads)


@lowers("ReverseSequence")
def lower_reverse_sequence(node: Node, lowering: Lowering) -> None:
    x, lengths = lowering.input(node, 0), lowering.input(node, 1)
    time, batch = node.attr("time_axis", 0), node.attr("batch_axis", 1)
    elements = ElementGrid(lowering.output(node, reads=[x, lengths], order=x.order()))
    step = elements.positions[time]
    length = elements.address("lengths", lengths, [elements.positions[batch]])
    lines = [
        f"let count = min({length}, {elements.extent(time)});",
        f"let source = select({step}, count - 1 - {step}, {step} < count);",
    ]
    positions = list(elements.positions)
    positions[time] = "source"
    axes = [None if other == time else other for other in range(x.rank)]
    indexed_copy(
        lowering,
        elements,
        elements.mapped_operand("x", x, axes),
        positions,
        lines=lines,
        reads=[elements.mapped_operand("lengths", lengths, [batch])],
    )
