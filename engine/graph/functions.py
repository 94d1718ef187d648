"""Inlining of a model's local functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
import onnx.inliner

from engine.graph.unsupported_operators import normalize_domain

DEEPEST = 100
"""Functions within functions: onnx's inliner calls itself for each, and before onnx 1.22 it overran the stack."""

MOST_NODES = 1_000_000
"""Nodes of the model once it is without functions: where each calls the next one twice, thirty make a billion."""

_Key = tuple[str, str, str]


def inline(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without local functions.

    Raises:
        ValueError: a function calls itself, or they are nested more than ``DEEPEST`` deep, or the model would have more
            than ``MOST_NODES`` nodes. Of what else it finds wrong onnx's inliner raises types of its own.
    """
    if not proto.functions:
        return proto
    bodies: dict[_Key, list[_Key]] = {}
    for function in proto.functions:
        key = normalize_domain(function.domain), function.name, function.overload
        bodies.setdefault(key, []).extend(_callees(function.node))
    sizes: dict[_Key, tuple[int, int]] = {}

    def measure(key: _Key, depth: int) -> tuple[int, int]:
        """How deep functions are nested in this one, itself included, and the nodes it becomes."""
        if key not in bodies:
            return 0, 1
        if key not in sizes:
            inner = [measure(callee, depth + 1) for callee in bodies[key]] if depth < DEEPEST else [(depth, 0)]
            height = 1 + max((height for height, _ in inner), default=0)
            if height > DEEPEST:
                raise ValueError(f"they call themselves, or each other more than {DEEPEST} deep")
            sizes[key] = height, sum(count for _, count in inner)
        return sizes[key]

    for key in bodies:
        measure(key, 1)
    if sum(measure(key, 0)[1] for key in _callees(proto.graph.node)) > MOST_NODES:
        raise ValueError(f"they come to more than {MOST_NODES:,} nodes")
    return onnx.inliner.inline_local_functions(proto)


def _callees(nodes: Iterable[onnx.NodeProto]) -> Iterator[_Key]:
    """The operator or function that each of these nodes calls, nodes of subgraphs included."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield normalize_domain(node.domain), node.op_type, node.overload
        for attribute in node.attribute:
            pending.extend(attribute.g.node)
            for graph in attribute.graphs:
                pending.extend(graph.node)
