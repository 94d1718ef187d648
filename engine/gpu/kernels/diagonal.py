"""Trilu, EyeLike and OneHot: elements chosen by a comparison of positions."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.addressing import Walk, address
from engine.gpu.kernels.indexed_copy import ZERO, pick
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.diagonal import EyeLike
from engine.ops.types import normalize_axis


@lowers("Trilu")
def lower_trilu(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    given = node.optional_input(1)
    walk = Walk(low.output(node, reads=[x], order=x.order()))
    row, column = walk.positions[-2:]
    reads, lines = [], []
    if given is not None and given.data is None:
        k = low.reshaped(low.tensor(given), ())
        reads = [walk.operand("k", k)]
        # beyond the corners of the matrix nothing changes any more
        lines = [f"let diagonal = clamp({address('k', k, [])}, {-x.shape[-2] - 1}, {x.shape[-1] + 1});"]
        diagonal = "diagonal"
    else:
        k_static = 0 if given is None or given.data is None else given.data.item()
        diagonal = str(int(np.clip(k_static, -x.shape[-2] - 1, x.shape[-1] + 1)))
    relation = ">=" if node.attr("upper", 1) else "<="
    inside = f"{column} - {row} {relation} {diagonal}"
    source = walk.operand("x", x, walk.outer)
    pick(low, walk, source, walk.positions, lines=lines, reads=reads, inside=inside, fill=ZERO[x.dtype])


@lowers("EyeLike")
def lower_eye_like(node: Node, low: Lowering) -> None:
    x = node.input(0)
    eye = EyeLike.reference(node, np.broadcast_to(np.zeros((), x.dtype), x.shape))
    low.hand_on(node, low.constant(eye, node.output.name))


@lowers("OneHot")
def lower_one_hot(node: Node, low: Lowering) -> None:
    indices, values = low.input(node, 0), low.input(node, 2)
    axis = normalize_axis(node.attr("axis", -1), indices.rank + 1)
    one_hot(low, indices, values, axis, low.output(node, reads=[indices, values]))


def one_hot(low: Lowering, indices: Tensor, values: Tensor, axis: int, y: Tensor) -> None:
    """Write ``values[1]`` where the position on ``axis`` of y is the index, ``values[0]`` elsewhere."""
    walk = Walk(y)
    place, count = walk.positions[axis], y.shape[axis]
    others = [along for along in range(y.rank) if along != axis]
    lines = [
        f"let index = i32({address('indices', indices, [walk.positions[along] for along in others])});",
        f"let hot = select(0, 1, index == {place} || index + {count} == {place});",
    ]
    index = walk.shared("indices", indices, others)
    pick(low, walk, walk.operand("values", values), ["hot"], lines=lines, reads=[index])
