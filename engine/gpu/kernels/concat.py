"""Concat: one place for all parts. Most producers have written there already; what lies elsewhere is copied."""

from __future__ import annotations

from engine.gpu.kernels.elementwise import copy
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.concat import concat_axis


@lowers("Concat")
def lower_concat(node: Node, low: Lowering) -> None:
    axis = concat_axis(node, len(node.output.shape))
    parts = [low.tensor(value) for value in node.used_inputs()]
    whole = low.whole(node.output)
    start = 0
    for part in parts:
        extent = part.shape[axis]
        place = whole.slice(axis, start, extent)
        start += extent
        if part.size and not _is_same(part, place):
            # a buffer cannot be read and written in one dispatch, even where the ranges are disjoint
            copy(low.copied(part) if part.slot is whole.slot else part, place, low)
    low.hand_on(node, whole)


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether both views, of one shape, are the same elements of the same memory."""
    strides = zip(one.shape, one.strides, other.strides, strict=True)
    return (
        one.slot is other.slot
        and one.offset == other.offset
        and all(extent == 1 or step == wanted for extent, step, wanted in strides)
    )
