"""Replace what can be known before a run by its value, computed by the reference operators."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import Budget
from engine.graph.ir import Graph, Node, Value
from engine.graph.target import ANY, Target
from engine.ops import evaluate
from engine.ops.quantize import quantized
from engine.ops.registry import evaluation_bytes
from engine.ops.unpack import UNPACK

SHAPE_ONLY = ("Shape", "Size")
"""Operators that read no elements: with static shapes they are always constant."""


LARGE_SUM = 4 << 20
"""Bytes from which on a sum waits that is several times as large as its terms."""

EXPANSION = 4
"""How many times its terms such a sum is."""


def fold_constants(graph: Graph, _: Target = ANY) -> int:
    """Evaluate every node whose inputs are all constant, but for large sums. Returns how many nodes went."""
    return _fold_nodes(graph)


def fold_large_sums(graph: Graph, _: Target = ANY) -> int:
    """Evaluate what ``fold_constants`` has left. Returns how many nodes went."""
    return _fold_nodes(graph, large_sums=True)


def _fold_nodes(graph: Graph, *, large_sums: bool = False) -> int:
    budget = Budget()
    nodes = [node for node in graph.nodes if not fold(node, budget, unpack=True, large_sums=large_sums)]
    count = len(graph.nodes) - len(nodes)
    graph.nodes = nodes
    return count


def fold(node: Node, budget: Budget, *, unpack: bool = False, large_sums: bool = False) -> bool:
    """Give the node's outputs their data when it can be known now. Returns whether it could.

    4-bit integers stay packed unless ``unpack``: a pass takes most of them as they are. A large sum waits unless
    ``large_sums``: the masks and the biases of a Swin-L's windows are a gigabyte when they are added, and fusing its
    attention takes them apart again. Raises TooLargeError where ``budget`` has no memory left.
    """
    if not all(value.is_constant for value in node.used_inputs()) and node.op not in SHAPE_ONLY:
        return False
    if (not unpack and node.op == UNPACK) or (not large_sums and is_large_sum(node)):
        return False
    sources = [_evaluation_input(value) for value in node.inputs]
    budget.evaluate(node, evaluation_bytes(node))
    for value, array in zip(node.outputs, evaluate(node, sources), strict=False):
        if value is not None:
            value.data = np.ascontiguousarray(array) if array.ndim else array
            budget.add(value.data, sources)
    if node.op == "DequantizeLinear":
        node.output.quantized = quantized(node)
    return True


def is_large_sum(node: Node) -> bool:
    """Whether the node is a large sum of constants, which repeats both. One in float16 is not: it is rounded first."""
    if node.op != "Add" or node.domain or node.output.dtype == np.float16:
        return False
    if not all(value.is_constant for value in node.used_inputs()):
        return False
    nbytes = node.output.type.nbytes
    return nbytes >= LARGE_SUM and nbytes >= EXPANSION * sum(value.type.nbytes for value in node.used_inputs())


def _evaluation_input(value: Value | None) -> np.ndarray | None:
    """The constant's data; for a value of which only the shape is known, a view of one zero of that shape."""
    if value is None:
        return None
    if value.data is not None:
        return value.data
    return np.broadcast_to(np.zeros((), value.dtype), value.shape)
