"""Where in the output of a Concat each of its inputs lies, so that what computes them writes there."""

from __future__ import annotations

from engine.graph.ir import Graph, Value
from engine.ops.concat import concat_axis


def concat_parts(graph: Graph) -> dict[Value, tuple[Value, int, int]]:
    """For each value that a Concat joins: the Concat's output, the axis, and the position on it where it begins."""
    parts: dict[Value, tuple[Value, int, int]] = {}
    for node in graph.nodes:
        if node.op != "Concat" or node.domain:
            continue
        axis, start = concat_axis(node, len(node.output.shape)), 0
        for value in node.used_inputs():
            if value not in parts and not value.is_constant and value not in graph.inputs and value.type.size:
                parts[value] = node.output, axis, start
            start += value.shape[axis]
    return parts
