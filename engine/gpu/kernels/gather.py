"""Gather, GatherElements, GatherND and ReverseSequence: elements picked by what a tensor of indices says.

No shader can refuse an index that lies outside: such a one is kept at the end that it passed.
"""

from __future__ import annotations

import numpy as np

from engine.gpu.dispatch import Operand
from engine.gpu.kernels.addressing import Walk, address, clamped_index
from engine.gpu.kernels.indexed_copy import pick
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.types import normalize_axis


@lowers("Gather")
def lower_gather(node: Node, low: Lowering) -> None:
    x, known = low.input(node, 0), node.constant(1)
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    view = None if known is None else _gathered_view(x, axis, known)
    if view is not None:
        low.hand_on(node, view)
        return
    indices = low.input(node, 1)
    walk = Walk(low.output(node, reads=[x, indices]))
    behind = axis + indices.rank
    axes = [*range(axis), None, *range(behind, walk.y.rank)]
    lines = [
        f"let given = {address('indices', indices, walk.positions[axis:behind])};",
        f"let picked = {clamped_index('given', x.shape[axis])};",
    ]
    positions = [*walk.positions[:axis], "picked", *walk.positions[behind:]]
    index = walk.shared("indices", indices, range(axis, behind))
    pick(low, walk, walk.shared("x", x, axes), positions, lines=lines, reads=[index])


def _gathered_view(x: Tensor, axis: int, indices: np.ndarray) -> Tensor | None:
    """What Gather picks as a view, where the indices are one, or evenly spaced: how exporters take a tensor apart."""
    extent = x.shape[axis]
    flat = np.where(indices < 0, indices + extent, indices).reshape(-1)
    steps = np.diff(flat)
    if not flat.size or flat.min() < 0 or flat.max() >= extent or (steps != steps[:1]).any():
        return None
    part = x.slice(axis, int(flat[0]), flat.size, int(steps[0]) if steps.size else 1)
    return part.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@lowers("GatherElements")
def lower_gather_elements(node: Node, low: Lowering) -> None:
    x, indices = low.input(node, 0), low.input(node, 1)
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    walk = Walk(low.output(node, reads=[x, indices], order=indices.order()))
    lines = [
        f"let given = {address('indices', indices, walk.positions)};",
        f"let picked = {clamped_index('given', x.shape[axis])};",
    ]
    positions = [*walk.positions[:axis], "picked", *walk.positions[axis + 1 :]]
    axes = [None if along == axis else along for along in range(x.rank)]
    index = walk.shared("indices", indices, range(x.rank))
    pick(low, walk, walk.shared("x", x, axes), positions, lines=lines, reads=[index])


@lowers("GatherND")
def lower_gather_nd(node: Node, low: Lowering) -> None:
    x, indices = low.input(node, 0), low.input(node, 1)
    batch, depth, lead = node.attr("batch_dims", 0), indices.shape[-1], indices.rank - 1
    walk = Walk(low.output(node, reads=[x, indices]))
    lines = []
    for step in range(depth):
        lines += [
            f"let given{step} = {address('indices', indices, [*walk.positions[:lead], str(step)])};",
            f"let picked{step} = {clamped_index(f'given{step}', x.shape[batch + step])};",
        ]
    picked = [f"picked{step}" for step in range(depth)]
    positions = [*walk.positions[:batch], *picked, *walk.positions[lead:]]
    axes = [*range(batch), *([None] * depth), *range(lead, walk.y.rank)]
    reads: list[Operand] = [walk.shared("indices", indices, [*range(lead), None])] if depth else []
    pick(low, walk, walk.shared("x", x, axes), positions, lines=lines, reads=reads)


@lowers("ReverseSequence")
def lower_reverse_sequence(node: Node, low: Lowering) -> None:
    x, lengths = low.input(node, 0), low.input(node, 1)
    time, batch = node.attr("time_axis", 0), node.attr("batch_axis", 1)
    walk = Walk(low.output(node, reads=[x, lengths], order=x.order()))
    step = walk.positions[time]
    lines = [
        f"let count = min({address('lengths', lengths, [walk.positions[batch]])}, {x.shape[time]});",
        f"let source = select({step}, count - 1 - {step}, {step} < count);",
    ]
    positions = list(walk.positions)
    positions[time] = "source"
    axes = [None if along == time else along for along in range(x.rank)]
    pick(low, walk, walk.shared("x", x, axes), positions, lines=lines, reads=[walk.shared("lengths", lengths, [batch])])
