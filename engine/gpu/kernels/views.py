"""Operators that move nothing: their outputs are other views of the input's memory.

Reshape, Flatten, Squeeze and Unsqueeze copy only where no strides express the result, such as rows of a transposed
matrix laid one behind the other.
"""

from __future__ import annotations

import numpy as np

from engine.gpu.lowering import Lowering, lowers
from engine.graph.ir import Node
from engine.ops.arguments import ints
from engine.ops.concat import split_extents
from engine.ops.slicing import node_ranges
from engine.ops.transpose import permutation


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def lower_reshape(node: Node, low: Lowering) -> None:
    low.hand_on(node, low.reshaped(low.input(node, 0), node.output.shape))


@lowers("Identity")
def lower_identity(node: Node, low: Lowering) -> None:
    low.hand_on(node, low.input(node, 0))


@lowers("Dropout")
def lower_dropout(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    low.hand_on(node, x)
    mask = node.outputs[1] if len(node.outputs) > 1 else None
    if mask is not None:
        low.hand_on(node, low.constant(np.ones((), mask.dtype), mask.name).broadcast_to(x.shape), 1)


@lowers("Transpose")
def lower_transpose(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    low.hand_on(node, x.transpose(permutation(node, x.rank)))


@lowers("Expand")
def lower_expand(node: Node, low: Lowering) -> None:
    low.hand_on(node, low.input(node, 0).broadcast_to(node.output.shape))


@lowers("Slice")
def lower_slice(node: Node, low: Lowering) -> None:
    y = low.input(node, 0)
    for axis, part in enumerate(node_ranges(node, y.shape)):
        start, _, step = part.indices(y.shape[axis])
        y = y.slice(axis, start, node.output.shape[axis], step)
    low.hand_on(node, y)


@lowers("Split")
def lower_split(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    axis, extents = split_extents(node, x.shape, ints(node.constant(1)))
    start = 0
    for index, extent in enumerate(extents):
        if node.outputs[index] is not None:
            low.hand_on(node, x.slice(axis, start, extent), index)
        start += extent
