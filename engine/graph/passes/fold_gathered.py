"""Compute what is made of the rows of a known table, one by one, before they are taken from it."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import Budget
from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.fold_constants import fold
from engine.graph.passes.match import Matcher, new_node
from engine.graph.target import ANY, Target
from engine.ops.types import normalize_axis

ELEMENT_WISE = {
    *("Abs", "Add", "Ceil", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid"),
    *("HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow"),
    *("Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub"),
    *("Sum", "Swish", "Tanh"),
}
"""ONNX's operators of numbers whose result at a place depends on what lies there alone."""


def fold_gathered(graph: Graph, target: Target = ANY) -> int:
    """Let element-wise nodes compute the constant that a Gather takes their input from. Returns how many went.

    f(x[i]) is f(x)[i], and x is known before a run. This is for tables that are no larger than what is taken from them,
    and not for those of which a row that nobody may take comes to an infinity or NaN: layers are computed without
    Winograd's transforms where a model holds one.
    """
    matcher, budget = Matcher(graph, target), Budget()
    gathers: dict[Value, Node] = {}
    count = 0
    for node in list(matcher.nodes()):
        if node.domain:
            continue
        if node.op == "Gather" and node.input(0).is_constant and node.input(0).type.size <= node.output.type.size:
            gathers[node.output] = node
        elif node.op in ELEMENT_WISE:
            gather = _of_table(node, gathers, budget)
            if gather is not None and matcher.replace(node, [gather]):
                gathers[node.output] = gather
                count += 1
    matcher.finish()
    return count


def _of_table(node: Node, gathers: dict[Value, Node], budget: Budget) -> Node | None:
    """The Gather that makes what ``node`` makes, where all it reads is gathered alike, or the same for all rows."""
    sources = [gathers[value] for value in node.used_inputs() if value in gathers]
    if not sources or node.output.shape != sources[0].output.shape or len({_taken(source) for source in sources}) > 1:
        return None
    first = sources[0]
    axis = _axis(first)
    inputs: list[Value | None] = []
    for value in node.inputs:
        table = gathers[value].input(0) if value in gathers else value and _for_table(value, first, axis)
        if value is not None and table is None:
            return None
        inputs.append(table)
    name, attributes = node.name, node.attributes
    rows = new_node(node.op, inputs, f"{name}:rows", attributes=attributes, version=node.version)
    fold(rows, budget, large_sums=True)
    if rows.output.data is None or not np.isfinite(rows.output.data).all():
        return None
    return new_node(
        "Gather", [rows.output, first.input(1)], name, attributes={"axis": axis}, version=13, output=node.output
    )


def _axis(gather: Node) -> int:
    return normalize_axis(gather.attr("axis", 0), len(gather.input(0).shape))


def _taken(gather: Node) -> tuple[Value, int, tuple[int, ...]]:
    """Of what form of table the Gather takes which rows."""
    return gather.input(1), _axis(gather), gather.input(0).shape


def _for_table(value: Value, gather: Node, axis: int) -> Value | None:
    """The constant as it is combined with the whole table; None where it is another one for each row that is taken."""
    if value.data is None:
        return None
    rank, indexed = len(gather.output.shape), len(gather.input(1).shape)
    shape = (1,) * (rank - len(value.shape)) + value.shape
    if value.type.size == 1:
        shape = ()
    elif len(shape) > rank or any(extent != 1 for extent in shape[axis : axis + indexed]):
        return None
    else:
        shape = (*shape[:axis], 1, *shape[axis + indexed :])
    return Value.constant(value.name, value.data.reshape(shape))
