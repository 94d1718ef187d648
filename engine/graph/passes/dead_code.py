"""Remove every node whose outputs nothing needs."""

from __future__ import annotations

from engine.graph.ir import Graph
from engine.graph.target import ANY, Target


def remove_dead_code(graph: Graph, _: Target = ANY) -> int:
    """Drop nodes that no output depends on. Returns how many went."""
    live = set(graph.outputs)
    live_nodes = []
    for node in reversed(graph.nodes):
        if any(value in live and not value.is_constant for value in node.used_outputs()):
            live.update(node.used_inputs())
            live_nodes.append(node)
    count = len(graph.nodes) - len(live_nodes)
    graph.nodes = live_nodes[::-1]
    return count
