"""Softmax and LogSoftmax."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.expressions import literal
from engine.gpu.kernels.row_reduction import Rows, Statistic, normalize
from engine.gpu.lowering import Lowering, lowers
from engine.graph.ir import Node
from engine.ops.types import normalize_axis

TOP = Statistic("top", "x", "largest", literal(-np.inf))
"""Exponentials are taken relative to the largest element, so that none overflows."""

VALUES = {
    "Softmax": (Statistic("scale", "exp(x - top)", "sum", literal(0), "F(1.0) / total"), "exp(x - top) * scale"),
    "LogSoftmax": (Statistic("shift", "exp(x - top)", "sum", literal(0), "logarithm(total)"), "(x - top) - shift"),
}
"""For each operator what is taken of the row, and what becomes of an element."""


@lowers(*VALUES)
def lower_softmax(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    statistic, value = VALUES[node.op]
    if node.version >= 13:
        axes: tuple[int, ...] = (normalize_axis(node.attr("axis", -1), x.rank),)
    else:
        # all axes from that on count as one
        axes = tuple(range(normalize_axis(node.attr("axis", 1), x.rank + 1), x.rank))
    y = low.output(node, order=x.order(), reads=[x])
    normalize(low, Rows({"x": x}, axes), [TOP, statistic], y, value)
