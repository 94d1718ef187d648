"""Which nodes run as one step: a convolution with the element-wise nodes behind it, or such nodes alone."""

from __future__ import annotations

from engine.cpu import chain, conv
from engine.cpu.chain import CHAIN
from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, Value

LONGEST = 24
"""Nodes of one step."""


def fuse_chains(graph: Graph) -> Graph:
    """The same graph, its nodes untouched, in which a node of the operator CHAIN stands for those that run as one.

    Only the last of them has a result that anything else reads, and what they read beside each other's results is there
    before the first of them runs, so nothing lives longer than it would.
    """
    consumers, outputs = graph.consumers(), set(graph.outputs)
    order = {node: index for index, node in enumerate(graph.nodes)}
    made = {value: order[node] for node in graph.nodes for value in node.used_outputs()}
    fused: set[Node] = set()
    nodes = []
    for node in graph.nodes:
        if node in fused:
            continue
        members = _members(node, order, made, consumers, outputs)
        fused.update(members)
        nodes.append(node if len(members) == 1 else _step(members))
    return Graph(graph.inputs, graph.outputs, nodes, graph.name)


def _members(
    root: Node, order: dict[Node, int], made: dict[Value, int], consumers: dict[Value, list[Node]], outputs: set[Value]
) -> list[Node]:
    """The nodes of the step that begins with ``root``, in running order."""
    members, whole = [root], 1
    if not (chain.takes(root) or conv.takes_chain(root)):
        return members
    shape, start, results = root.output.shape, order[root], {root.output}
    while len(members) < LONGEST and not (results & outputs):
        readers = {reader for value in results for reader in consumers.get(value, []) if reader not in members}
        if not readers:
            break
        node = min(readers, key=order.__getitem__)
        others = [value for value in node.used_inputs() if value not in results]
        if not chain.takes(node) or node.output.shape != shape or any(made.get(v, -1) > start for v in others):
            break
        members.append(node)
        results.add(node.output)
        leaving = [value for value in results if value in outputs or set(consumers.get(value, [])) - set(members)]
        if leaving == [node.output] or not leaving:
            whole = len(members)
    return members[:whole]


def _step(members: list[Node]) -> Node:
    root, last = members[0], members[-1]
    results = {node.output for node in members}
    others = dict.fromkeys(value for node in members[1:] for value in node.used_inputs() if value not in results)
    inputs: list[Value | None] = [*root.inputs]
    if conv.takes_chain(root):
        inputs += [None] * (3 - len(inputs))  # the place of a bias is one that the kernel has prepacked
    inputs += [value for value in others if value not in inputs]
    return Node(CHAIN, inputs, [last.output], {"nodes": members}, domain=INTERNAL_DOMAIN, name=root.name)
