"""Concat: one slot for all parts. Most producers have written their views of it already; other parts are copied."""

from __future__ import annotations

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.concat import concat_axis


@lowers("Concat")
def lower_concat(node: Node, lowering: Lowering) -> None:
    axis = concat_axis(node, len(node.output.shape))
    parts = [lowering.tensor(value) for value in node.used_inputs()]
    output = lowering.concats.output(node.output)
    start = 0
    for part in parts:
        extent = part.shape[axis]
        view = output.slice(axis, start, extent)
        is_in_place = lowering.concats.has_twin(node.output, start) or _is_same(part, view)
        start += extent
        if part.size and not is_in_place:
            # a buffer cannot be read and written in one dispatch, even where the ranges are disjoint
            lowering.copy(lowering.dense_copy(part) if part.slot is output.slot else part, view)
    lowering.alias(node, output)


def _is_same(a: Tensor, b: Tensor) -> bool:
    """Whether two views of one shape are the same elements of the same slot."""
    strides = zip(a.shape, a.strides, b.strides, strict=True)
    return (
        a.slot is b.slot
        and a.offset == b.offset
        and all(extent == 1 or stride == other_stride for extent, stride, other_stride in strides)
    )
