"""Reduce*, and the poolings over a whole image."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.reduction import row_reduction
from engine.gpu.kernels.reduction.row_reduction import RowLayout, Statistic
from engine.gpu.kernels.sampling.pool import power, root
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.expressions import conversion, kind_of, literal, wrap
from engine.gpu.program.numbers import Numbers
from engine.graph.ir import Node
from engine.ops.reduce import REDUCTIONS, Axes, extreme

TYPES = {"F": "f32", "I": "i32", "U": "u32", "B": "u32"}
"""The WGSL type in which elements of each kind are reduced."""


@lowers(*REDUCTIONS)
def lower_reduce(node: Node, lowering: Lowering) -> None:
    axes = REDUCTIONS[node.op].axes(node, len(node.input(0).shape))
    _reduce(node, lowering, axes, node.op.removeprefix("Reduce"))


@lowers("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def lower_global_pool(node: Node, lowering: Lowering) -> None:
    joins = {"GlobalAveragePool": "Mean", "GlobalMaxPool": "Max", "GlobalLpPool": "Lp"}
    _reduce(node, lowering, tuple(range(2, len(node.input(0).shape))), joins[node.op])


def _reduce(node: Node, lowering: Lowering, axes: Axes, reduction: str) -> None:
    rows = RowLayout({"x": lowering.input(node, 0)}, axes)
    y = lowering.output(node, reads=[rows.x]).view(rows.shape)
    row_reduction.reduce(lowering, rows, _statistics(node, reduction, rows.length), y)


def _statistics(node: Node, reduction: str, length: int) -> list[Statistic]:
    """The statistics of a row, each of which may use those before it; the last is the result."""
    dtype = node.input(0).dtype
    kind = kind_of(dtype)
    wgsl_type = TYPES[kind]
    if reduction in ("Max", "Min"):
        kind = "U" if kind == "B" else kind
        join = "largest" if reduction == "Max" else "smallest"
        return [
            Statistic("result", "x", join, literal(extreme(dtype, largest=reduction == "Min"), kind), type=wgsl_type)
        ]
    if reduction == "Prod":
        return [
            Statistic(
                "result", "x", join="product", neutral=literal(1, kind), result=wrap("total", dtype), type=wgsl_type
            )
        ]
    if reduction in ("Sum", "L1", "SumSquare", "Mean"):
        term = {"L1": "abs(x)", "SumSquare": "x * x"}.get(reduction, "x")
        numbers = Numbers()
        result = f"total / {_count(numbers, length, kind)}" if reduction == "Mean" else "total"
        return [
            Statistic(
                "result",
                term,
                join="sum",
                neutral=literal(0, kind),
                result=wrap(result, dtype),
                type=wgsl_type,
                uniforms=numbers.uniforms,
            )
        ]
    # a root or logarithm of integers is rounded toward zero once, at the end
    if reduction == "Lp":
        p = node.attr("p", 2)
        return [_float_statistic(node, power("x", p), root("total", p))]
    if reduction == "L2":
        return [_float_statistic(node, "F(x) * F(x)", "sqrt(total)" if kind == "F" else "whole_root(total)")]
    if reduction == "LogSum":
        return [_float_statistic(node, "F(x)", "logarithm(total)")]
    top = Statistic(
        "top", "F(x)", join="largest", neutral=literal(-np.inf), result="select(total, F(0.0), is_inf(total))"
    )
    return [top, _float_statistic(node, "exp(F(x) - top)", "logarithm(total) + top")]


def _count(numbers: Numbers, length: int, kind: str) -> str:
    """The number of elements of a row in the type of its sum; an empty row of integers has the mean 0."""
    if kind == "F":
        return numbers.scalar("elements", length)
    return f"{kind}({numbers.integer('elements', max(1, length))})"


def _float_statistic(node: Node, term: str, result: str) -> Statistic:
    return Statistic(
        "result",
        term,
        join="sum",
        neutral=literal(0),
        result=conversion(result, np.dtype(np.float32), node.output.dtype),
    )
