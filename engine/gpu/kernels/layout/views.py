"""Operators that move nothing: their outputs are aliases, views of the slot of their input.

Reshape, Flatten, Squeeze and Unsqueeze copy only where no strides express the result, such as a transposed matrix as
one axis. What convolutions read is then copied as channels last.
"""

from __future__ import annotations

import numpy as np

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.tensor import Tensor, channels_last
from engine.graph.ir import Node
from engine.ops.arguments import ints
from engine.ops.concat import split_extents
from engine.ops.slicing import node_ranges
from engine.ops.transpose import permutation


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def lower_reshape(node: Node, lowering: Lowering) -> None:
    x, shape = lowering.input(node, 0), node.output.shape
    lowering.alias(node, _channels_last_copy(node, lowering, x) or lowering.reshape(x, shape))


def _channels_last_copy(node: Node, lowering: Lowering, x: Tensor) -> Tensor | None:
    """A copy of ``x`` that is channels last in the shape of the result; None unless it takes a copy that only
    convolutions read, and strides express."""
    readers = lowering.consumers.get(node.output, [])
    if x.reshape(node.output.shape) is not None or not readers or any("Conv" not in reader.op for reader in readers):
        return None
    shape, storage = node.output.shape, lowering.value_storage(node.output)
    y = lowering.scratch(shape, storage, f"{node.output.name}:copy", channels_last(len(shape)))
    view = y.reshape(x.shape)
    if view is None:
        return None
    lowering.copy(x, view)
    return y


@lowers("Identity")
def lower_identity(node: Node, lowering: Lowering) -> None:
    lowering.alias(node, lowering.input(node, 0))


@lowers("Dropout")
def lower_dropout(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    lowering.alias(node, x)
    mask = node.outputs[1] if len(node.outputs) > 1 else None
    if mask is not None:
        lowering.alias(node, lowering.constant(np.ones((), mask.dtype), mask.name).broadcast_to(x.shape), 1)


@lowers("Transpose")
def lower_transpose(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    lowering.alias(node, x.transpose(permutation(node, x.rank)))


@lowers("Expand")
def lower_expand(node: Node, lowering: Lowering) -> None:
    lowering.alias(node, lowering.input(node, 0).broadcast_to(node.output.shape))


@lowers("Slice")
def lower_slice(node: Node, lowering: Lowering) -> None:
    y = lowering.input(node, 0)
    for axis, part in enumerate(node_ranges(node, y.shape)):
        start, _, step = part.indices(y.shape[axis])
        y = y.slice(axis, start, node.output.shape[axis], step)
    lowering.alias(node, y)


@lowers("Split")
def lower_split(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    axis, extents = split_extents(node, x.shape, ints(node.constant(1)))
    start = 0
    for index, extent in enumerate(extents):
        if node.outputs[index] is not None:
            lowering.alias(node, x.slice(axis, start, extent), index)
        start += extent
