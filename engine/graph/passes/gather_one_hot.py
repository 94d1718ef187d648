"""Take rows of a matrix by their numbers, where a model multiplies a one-hot encoding of these with it."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, new_node
from engine.graph.target import ANY, Target


def gather_one_hot(graph: Graph, target: Target = ANY) -> int:
    """Make a Gather of each MatMul of Cast(x == 0, 1, ..., K - 1) and a known matrix. Returns how many were found.

    x is integers ``[..., 1]``. One outside of 0 to K - 1 equals none and gives zeros, so the rows stand between two of
    zeros, and numbers are clipped to these. Zero times an infinity is none of either row, so all are finite.
    """
    matcher = Matcher(graph, target)
    count = 0
    for node in matcher.nodes():
        if node.op != "MatMul" or node.domain:
            continue
        cast, matrix = matcher.private(node.input(0), "Cast"), node.constant(1)
        equal = None if cast is None else matcher.private(cast.input(0), "Equal")
        if cast is None or equal is None or matrix is None or matrix.ndim != 2 or not np.isfinite(matrix).all():
            continue
        for x, numbers in (equal.inputs, equal.inputs[::-1]):
            if x is not None and _counts(numbers, len(matrix)) and x.shape == (*equal.output.shape[:-1], 1):
                if x.dtype in (np.int32, np.int64):
                    count += matcher.replace(node, _rows(node, x, matrix), [cast, equal])
                break
    matcher.finish()
    return count


def _counts(numbers: Value | None, count: int) -> bool:
    """Whether the constant is 0, 1, ..., ``count`` - 1 along its last axis."""
    data = None if numbers is None else numbers.data
    return (
        data is not None
        and data.shape[-1:] == (count,)
        and data.size == count
        and bool((data.ravel() == range(count)).all())
    )


def _rows(product: Node, x: Value, matrix: np.ndarray) -> list[Node]:
    """The nodes that make what ``product`` makes."""

    def constant(name: str, data: np.ndarray) -> Value:
        return Value.constant(f"{product.name}:{name}", data)

    def number(name: str, value: int) -> Value:
        return constant(name, np.array(value, x.dtype))

    name, rows = product.name, constant("rows", np.pad(matrix, ((1, 1), (0, 0))))
    line = new_node("Squeeze", [x, constant("axis", np.array([-1]))], f"{name}:numbers", version=13)
    limits = number("below", -1), number("beyond", len(matrix))
    clipped = new_node("Clip", [line.output, *limits], f"{name}:clipped", version=13)
    index = new_node("Add", [clipped.output, number("one", 1)], f"{name}:index", version=14)
    return [line, clipped, index, new_node("Gather", [rows, index.output], name, version=13, output=product.output)]
