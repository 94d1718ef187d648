"""Which nodes run as one step: a convolution with the element-wise nodes behind it, or such nodes alone."""

from __future__ import annotations

import numpy as np

from engine.cpu import chain, conv, conv_transpose
from engine.cpu.chain import CHAIN
from engine.graph.bounds import has_extremes
from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, Value
from engine.ops.normalization import EPSILON

LONGEST = 24
"""Nodes of one step."""


def fuse_chains(graph: Graph) -> Graph:
    """The same graph, its nodes untouched, in which a node of the operator CHAIN stands for those that run as one.

    A BatchNormalization is a multiplication and an addition there.

    Only the last of them has a result that anything else reads, and what they read beside each other's results is there
    before the first of them runs, so nothing lives longer than it would.
    """
    graph = Graph(graph.inputs, graph.outputs, [each for node in graph.nodes for each in _affine(node)], graph.name)
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


def _affine(node: Node) -> list[Node]:
    """The node, or what a BatchNormalization of known float32 parameters comes to."""
    parameters = [node.constant(index) for index in range(1, len(node.inputs))]
    plain = node.op == "BatchNormalization" and not node.domain and not any(node.outputs[1:])
    if not plain or node.output.dtype != np.float32 or has_extremes(node) or not node.output.type.size:
        return [node]
    scale, b, mean, variance = (None if each is None else each.astype(np.float64) for each in parameters)
    if scale is None or b is None or mean is None or variance is None or scale.ndim != 1:
        return [node]
    factor = scale / np.sqrt(variance + node.attr("epsilon", EPSILON))
    pair = np.stack([factor, b - mean * factor]).astype(np.float32)
    if not np.isfinite(pair).all():
        return [node]
    shape = (-1, *(1,) * (len(node.output.shape) - 2))
    by_channel = [
        Value.constant(f"{node.name}:{name}", each.reshape(shape)) for name, each in zip("ab", pair, strict=True)
    ]
    scaled = Value(f"{node.name}:scaled", node.output.type)
    return [
        Node("Mul", [node.input(0), by_channel[0]], [scaled], version=14, name=node.name),
        Node("Add", [scaled, by_channel[1]], [node.output], version=14, name=node.name),
    ]


def _takes_chain(node: Node) -> bool:
    """Whether element-wise nodes behind this one are part of its epilogue."""
    return conv.takes_chain(node) or conv_transpose.takes_chain(node)


def _members(
    root: Node, order: dict[Node, int], made: dict[Value, int], consumers: dict[Value, list[Node]], outputs: set[Value]
) -> list[Node]:
    """The nodes of the step that begins with ``root``, in running order."""
    members, whole = [root], 1
    if not (chain.takes(root) or _takes_chain(root)):
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
    if _takes_chain(root):
        inputs += [None] * (3 - len(inputs))  # the place of a bias is one that the kernel has prepacked
    inputs += [value for value in others if value not in inputs]
    return Node(CHAIN, inputs, [last.output], {"nodes": members}, domain=INTERNAL_DOMAIN, name=root.name)
