"""Turn the resampling of axes of one position, which only repeats it, into an Expand."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import new_node, resampling
from engine.graph.target import ANY, Target

EXPAND_VERSION = 13


def broadcast_resize(graph: Graph, target: Target = ANY) -> int:
    """Make an Expand of each Resize or Upsample that changes axes of extent 1 alone. Returns how many there were."""
    count = 0
    for index, node in enumerate(graph.nodes):
        if node.op in ("Resize", "Upsample") and not node.domain and _repeats(node):
            shape = Value.constant(f"{node.name}:shape", np.array(node.output.shape, np.int64))
            inputs: list[Value | None] = [node.input(0), shape]
            expand = new_node("Expand", inputs, node.name, version=EXPAND_VERSION, output=node.output)
            if target.supports(expand):
                graph.nodes[index] = expand
                count += 1
    return count


def _repeats(node: Node) -> bool:
    """Whether every output is the one position of its axis with all the weight."""
    tables = resampling(node)
    return bool(tables) and all(node.input(0).shape[axis] == 1 and table.keeps_constants for axis, table in tables)
