"""Run the nodes of a graph depth first, where that takes less memory than the order of the file.

A file that was made anew, as quantised ones are, may have its nodes breadth first: what needs the input alone comes
early, and stands in memory until the end.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate

from engine.graph.ir import Graph, Node, Value
from engine.graph.rearrangement import RELABELLINGS
from engine.graph.target import ANY, Target

LARGEST_SHARE = 0.9
"""Of the memory that the file's order takes, for another to be worth it: fusions make less of either."""


def order_nodes(graph: Graph, _: Target = ANY) -> int:
    """Put the nodes in another order where they hold less at a time so. Returns 1 where it did, else 0."""
    nodes = _late(_depth_first(graph), graph)
    if _peak_bytes(graph, nodes) > LARGEST_SHARE * _peak_bytes(graph, graph.nodes):
        return 0
    graph.nodes = nodes
    return 1


def _depth_first(graph: Graph) -> list[Node]:
    """The nodes, each behind those that make its inputs: first the one that most nodes in a row lead to."""
    producers = graph.producers()
    depth: dict[Node, int] = {}
    sources: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        before = dict.fromkeys(producers[value] for value in node.used_inputs() if value in producers)
        sources[node] = sorted(before, key=lambda source: -depth[source])
        depth[node] = 1 + max((depth[source] for source in before), default=0)
    ordered: dict[Node, None] = {}
    # what leads to no output stays, behind all that does
    ends = [producers[value] for value in graph.outputs if value in producers]
    for end in [*ends, *graph.nodes]:
        path = [end]
        while path:
            node = path[-1]
            following = next((source for source in sources[node] if source not in ordered), None)
            if following is None:
                ordered.setdefault(path.pop())
            else:
                path.append(following)
    return list(ordered)


def _late(nodes: list[Node], graph: Graph) -> list[Node]:
    """The nodes with those that make more than they take, as an enlargement does, right before their first reader."""
    producers = graph.producers()
    sources = {
        node: list(dict.fromkeys(producers[value] for value in node.used_inputs() if value in producers))
        for node in nodes
    }
    unplaced = Counter(source for node in nodes for source in sources[node])
    growing = {node for node in nodes if node in unplaced and _grows(node)}
    backwards: list[Node] = []
    for end in reversed(nodes):
        path = [] if end in growing else [end]
        while path:
            backwards.append(path.pop())
            for source in sources[backwards[-1]]:
                unplaced[source] -= 1
                if source in growing and not unplaced[source]:
                    path.append(source)
    return backwards[::-1]


def _grows(node: Node) -> bool:
    made = sum(value.type.nbytes for value in node.used_outputs())
    return made > sum(value.type.nbytes for value in dict.fromkeys(node.used_inputs()) if not value.is_constant)


def _peak_bytes(graph: Graph, nodes: list[Node]) -> int:
    """The most bytes that nodes in this order hold at a time.

    Another shape of a result takes none, and what a Concat alone reads lies in its output.
    """
    whole = _containers(graph)
    steps: dict[Value, tuple[int, int]] = {}
    for step, node in enumerate(nodes):
        for value in (*node.used_outputs(), *node.used_inputs()):
            if not value.is_constant:
                memory = whole.get(value, value)
                steps[memory] = steps.get(memory, (step, step))[0], step
    for value in graph.outputs:
        memory = whole.get(value, value)
        steps[memory] = steps.get(memory, (0, 0))[0], len(nodes)
    change = [0] * (len(nodes) + 2)
    for memory, (first, last) in steps.items():
        change[first] += memory.type.nbytes
        change[last + 1] -= memory.type.nbytes
    return max(accumulate(change))


def _containers(graph: Graph) -> dict[Value, Value]:
    """For each value that lies in the memory of another one, that one."""
    readers = graph.consumers()
    whole = {value: value for value in graph.outputs}
    for node in reversed(graph.nodes):
        if node.domain or (node.op != "Concat" and node.op not in RELABELLINGS):
            continue
        for value in node.used_inputs():
            if len(readers[value]) == 1 and not value.is_constant:
                whole.setdefault(value, whole.get(node.output, node.output))
    return whole
