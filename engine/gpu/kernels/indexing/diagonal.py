"""Trilu, EyeLike and OneHot: elements selected by a comparison of positions."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.indexing.indexed_copy import ZERO, indexed_copy
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.diagonal import EyeLike
from engine.ops.types import normalize_axis


@lowers("Trilu")
def lower_trilu(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    k_input = node.optional_input(1)
    elements = ElementGrid(lowering.output(node, reads=[x], order=x.order()))
    row, column = elements.positions[-2:]
    reads, lines = [], []
    # diagonals beyond the corners of the matrix give the same result
    least_k, largest_k = -x.shape[-2] - 1, x.shape[-1] + 1
    if k_input is not None and k_input.data is None:
        k = lowering.reshape(lowering.tensor(k_input), ())
        reads = [elements.operand("k", k)]
        least, largest = (elements.numbers.integer(*bound) for bound in (("least", least_k), ("largest", largest_k)))
        lines = [f"let diagonal = clamp({elements.address('k', k, [])}, {least}, {largest});"]
        diagonal = "diagonal"
    else:
        k_static = 0 if k_input is None or k_input.data is None else k_input.data.item()
        diagonal = elements.numbers.integer("diagonal", int(np.clip(k_static, least_k, largest_k)))
    relation = ">=" if node.attr("upper", 1) else "<="
    inside = f"{column} - {row} {relation} {diagonal}"
    source = elements.operand("x", x, elements.outer)
    indexed_copy(
        lowering, elements, source, elements.positions, lines=lines, reads=reads, inside=inside, fill=ZERO[x.dtype]
    )


@lowers("EyeLike")
def lower_eye_like(node: Node, lowering: Lowering) -> None:
    x = node.input(0)
    eye = EyeLike.reference(node, np.broadcast_to(np.zeros((), x.dtype), x.shape))
    lowering.alias(node, lowering.constant(eye, node.output.name))


@lowers("OneHot")
def lower_one_hot(node: Node, lowering: Lowering) -> None:
    indices, values = lowering.input(node, 0), lowering.input(node, 2)
    axis = normalize_axis(node.attr("axis", -1), indices.rank + 1)
    one_hot(lowering, indices, values, axis=axis, y=lowering.output(node, reads=[indices, values]))


def one_hot(lowering: Lowering, indices: Tensor, values: Tensor, axis: int, y: Tensor) -> None:
    """Write ``values[1]`` where the position on ``axis`` of y is the index, ``values[0]`` elsewhere."""
    elements = ElementGrid(y)
    position, extent = elements.positions[axis], elements.extent(axis)
    others = [other for other in range(y.rank) if other != axis]
    lines = [
        f"let index = i32({elements.address('indices', indices, [elements.positions[other] for other in others])});",
        f"let hot = select(0, 1, index == {position} || index + {extent} == {position});",
    ]
    index = elements.mapped_operand("indices", indices, others)
    indexed_copy(lowering, elements, elements.operand("values", values), ["hot"], lines=lines, reads=[index])
