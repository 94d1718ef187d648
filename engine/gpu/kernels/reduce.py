"""Reduce*, and the poolings over all of an image."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels import row_reduction
from engine.gpu.kernels.expressions import converted, kind_of, literal, wrapped
from engine.gpu.kernels.pool import power, root
from engine.gpu.kernels.row_reduction import Rows, Statistic
from engine.gpu.lowering import Lowering, lowers
from engine.graph.ir import Node
from engine.ops.reduce import REDUCTIONS, Axes, extreme

TYPES = {"F": "f32", "I": "i32", "U": "u32", "B": "u32"}
"""The type in which elements of each kind are joined."""


@lowers(*REDUCTIONS)
def lower_reduce(node: Node, low: Lowering) -> None:
    axes = REDUCTIONS[node.op].axes(node, len(node.input(0).shape))
    _reduce(node, low, axes, node.op.removeprefix("Reduce"))


@lowers("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def lower_global_pool(node: Node, low: Lowering) -> None:
    joins = {"GlobalAveragePool": "Mean", "GlobalMaxPool": "Max", "GlobalLpPool": "Lp"}
    _reduce(node, low, tuple(range(2, len(node.input(0).shape))), joins[node.op])


def _reduce(node: Node, low: Lowering, axes: Axes, what: str) -> None:
    lines = Rows({"x": low.input(node, 0)}, axes)
    y = low.output(node, reads=[lines.x]).reshape(lines.shape)
    assert y is not None  # axes of one element come and go
    row_reduction.reduce(low, lines, _statistics(node, what, lines.length), y)


def _statistics(node: Node, what: str, length: int) -> list[Statistic]:
    """What is taken of the rows one after the other; the last is the result."""
    dtype = node.input(0).dtype
    kind = kind_of(dtype)
    own = TYPES[kind]
    if what in ("Max", "Min"):
        kind = "U" if kind == "B" else kind
        join = "largest" if what == "Max" else "smallest"
        return [Statistic("result", "x", join, literal(extreme(dtype, largest=what == "Min"), kind), type=own)]
    if what == "Prod":
        return [Statistic("result", "x", "product", literal(1, kind), wrapped("total", dtype), own)]
    if what in ("Sum", "L1", "SumSquare", "Mean"):
        term = {"L1": "abs(x)", "SumSquare": "x * x"}.get(what, "x")
        result = f"total / {literal(max(length, int(kind != 'F')), kind)}" if what == "Mean" else "total"
        return [Statistic("result", term, "sum", literal(0, kind), wrapped(result, dtype), own)]
    # a root or logarithm of integers is rounded toward zero once, at the end
    if what == "Lp":
        p = node.attr("p", 2)
        return [_real(node, power("x", p), root("total", p))]
    if what == "L2":
        return [_real(node, "F(x) * F(x)", "sqrt(total)" if kind == "F" else "whole_root(total)")]
    if what == "LogSum":
        return [_real(node, "F(x)", "logarithm(total)")]
    top = Statistic("top", "F(x)", "largest", literal(-np.inf), "select(total, F(0.0), is_inf(total))")
    return [top, _real(node, "exp(F(x) - top)", "logarithm(total) + top")]


def _real(node: Node, term: str, result: str) -> Statistic:
    return Statistic("result", term, "sum", literal(0), converted(result, np.dtype(np.float32), node.output.dtype))
