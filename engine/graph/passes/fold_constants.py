"""Replace what can be known before a run by its value, computed by the reference operators."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import Budget
from engine.graph.ir import Graph, Node, Value
from engine.graph.target import ANY, Target
from engine.ops import evaluate
from engine.ops.registry import evaluation_bytes

SHAPE_ONLY = ("Shape", "Size")
"""Operators that read no elements: with static shapes they are always constant."""


def fold_constants(graph: Graph, _: Target = ANY) -> int:
    """Evaluate every node whose inputs are all constant. Returns how many nodes went."""
    budget = Budget()
    nodes = [node for node in graph.nodes if not fold(node, budget)]
    count = len(graph.nodes) - len(nodes)
    graph.nodes = nodes
    return count


def fold(node: Node, budget: Budget) -> bool:
    """Give the node's outputs their data when it can be known now. Returns whether it could.

    Raises TooLargeError where ``budget`` has no memory left for it.
    """
    if not all(value.is_constant for value in node.used_inputs()) and node.op not in SHAPE_ONLY:
        return False
    sources = [_evaluation_input(value) for value in node.inputs]
    budget.evaluate(node, evaluation_bytes(node))
    for value, array in zip(node.outputs, evaluate(node, sources), strict=False):
        if value is not None:
            value.data = np.ascontiguousarray(array) if array.ndim else array
            budget.add(value.data, sources)
    return True


def _evaluation_input(value: Value | None) -> np.ndarray | None:
    """The constant's data; for a value of which only the shape is known, a view of one zero of that shape."""
    if value is None:
        return None
    if value.data is not None:
        return value.data
    return np.broadcast_to(np.zeros((), value.dtype), value.shape)
