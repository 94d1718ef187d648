"""Remove every node whose outputs nothing needs."""

from __future__ import annotations

from engine.graph.ir import Graph


def remove_dead_code(graph: Graph) -> int:
    """Drop nodes that no output depends on. Returns how many went."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if any(value in needed and not value.is_constant for value in node.used_outputs()):
            needed.update(node.used_inputs())
            kept.append(node)
    removed = len(graph.nodes) - len(kept)
    graph.nodes = kept[::-1]
    return removed
