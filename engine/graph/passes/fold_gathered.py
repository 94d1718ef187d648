"""Compute what is made of the rows of a known table, one by one, before they are taken from it."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import LARGEST_HALF, Budget
from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.fold_constants import fold
from engine.graph.passes.match import Matcher, new_node
from engine.graph.target import ANY, Target
from engine.ops.registry import MisfitError
from engine.ops.types import normalize_axis

ELEMENT_WISE = {
    *("Abs", "Add", "Ceil", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid"),
    *("HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow"),
    *("Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub"),
    *("Sum", "Swish", "Tanh"),
}
"""ONNX's operators of numbers whose result at a place depends on what lies there alone."""

LARGEST_TABLE = 4 << 20
"""Bytes of the largest table that is computed: references take up to 20 ns an element for each operator, at load."""


def fold_gathered(graph: Graph, target: Target = ANY) -> int:
    """Let element-wise nodes compute the constant that a Gather takes their input from. Returns how many went.

    f(x[i]) is f(x)[i], and x is known before a run. This is for tables that are no larger than what is taken from them,
    nor than LARGEST_TABLE, and whose rows stay within float16: in half precision a Gather stores them, where a kernel
    of several element-wise nodes computes on in float32.
    """
    matcher, budget = Matcher(graph, target), Budget()
    gathers: dict[Value, Node] = {}
    count = 0
    for node in list(matcher.nodes()):
        if node.domain:
            continue
        if node.op == "Gather" and _is_small(node):
            gathers[node.output] = node
        elif node.op in ELEMENT_WISE:
            gather = _of_table(node, gathers, budget)
            if gather is not None and matcher.replace(node, [gather]):
                gathers[node.output] = gather
                count += 1
    matcher.finish()
    return count


def _is_small(gather: Node) -> bool:
    """Whether it takes rows of a known table, as many numbers as that holds or more, and the table is small."""
    table = gather.input(0)
    return table.is_constant and table.type.size <= gather.output.type.size and table.type.nbytes <= LARGEST_TABLE


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
    try:
        rows = new_node(node.op, inputs, f"{node.name}:rows", attributes=node.attributes, version=node.version)
    except MisfitError:
        return None  # a slope that broadcasts to x may not as a table
    fold(rows, budget)
    data = rows.output.data
    assert data is not None
    if data.dtype.kind == "f" and not (np.abs(data) <= LARGEST_HALF).all():
        return None
    # named as the one in the model, which errors of an index speak of
    return new_node(
        "Gather", [rows.output, first.input(1)], first.name, attributes={"axis": axis}, version=13, output=node.output
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
    indexed = len(gather.input(1).shape)
    shape = (1,) * (len(gather.output.shape) - len(value.shape)) + value.shape
    if value.type.size == 1:
        shape = ()
    elif any(extent != 1 for extent in shape[axis : axis + indexed]):
        return None
    else:
        shape = (*shape[:axis], 1, *shape[axis + indexed :])
    return Value.constant(value.name, value.data.reshape(shape))
