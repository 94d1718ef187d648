"""Softmax and LogSoftmax."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.reduction.row_reduction import RowLayout, Statistic, normalize
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.expressions import literal
from engine.graph.ir import Node
from engine.ops.types import normalize_axis

TOP = Statistic("top", "x", "largest", literal(-np.inf))
"""The largest element of a row. Exponentials are relative to it, so that none overflows."""

VALUES = {
    "Softmax": (
        Statistic("scale", "exp(x - top)", join="sum", neutral=literal(0), result="F(1.0) / total"),
        "exp(x - top) * scale",
    ),
    "LogSoftmax": (
        Statistic("shift", "exp(x - top)", join="sum", neutral=literal(0), result="logarithm(total)"),
        "(x - top) - shift",
    ),
}
"""For each operator the statistic of a row, and the value of an element."""


@lowers(*VALUES)
def lower_softmax(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    statistic, value = VALUES[node.op]
    if node.version >= 13:
        axes: tuple[int, ...] = (normalize_axis(node.attr("axis", -1), x.rank),)
    else:
        # a row extends over all axes from that one on
        axes = tuple(range(normalize_axis(node.attr("axis", 1), x.rank + 1), x.rank))
    y = lowering.output(node, order=x.order(), reads=[x])
    normalize(lowering, RowLayout({"x": x}, axes), [TOP, statistic], y=y, value=value)
