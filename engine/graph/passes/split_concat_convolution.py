"""Let a 1x1 convolution take the parts of a concatenation one by one, so that the concatenated tensor never exists."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_pointwise, new_node
from engine.graph.target import ANY, Target

SAVING = 2
"""How many times as many channels the concatenation must have as all partial results together."""


def split_concat_convolution(graph: Graph, target: Target = ANY) -> int:
    """Split each 1x1 Conv that alone reads a Concat of channels into a sum over its parts. Returns how many were split.

    Each part is convolved and added as soon as it is made. What an Expand repeats is convolved before it is repeated.
    """
    matcher = Matcher(graph, target)
    position = {node: index for index, node in enumerate(graph.nodes)}
    count = 0
    for conv in matcher.nodes():
        concat = matcher.private(conv.input(0), "Concat") if is_pointwise(conv) else None
        if concat is not None and _saves_memory(matcher, conv, concat):
            _split_convolution(matcher, position, conv, concat)
            count += 1
    matcher.finish()
    return count


def _saves_memory(matcher: Matcher, conv: Node, concat: Node) -> bool:
    """Whether the parts lie along the channels, nodes make them, and the results are smaller by ``SAVING``."""
    parts = [concat.input(index) for index in range(len(concat.inputs))]
    outputs = conv.output.shape[1]
    return (
        concat.attr("axis") in (1, 1 - len(concat.output.shape))
        and all(part in matcher.producers and part.shape[1] >= outputs for part in parts)
        and concat.output.shape[1] >= SAVING * outputs * len(parts)
        and any(_before_expand(matcher, part) is part for part in parts)
    )


def _before_expand(matcher: Matcher, part: Value) -> Value:
    """What an Expand of other axes than the channels repeats to make ``part``; else ``part``."""
    expand = matcher.producer(part, "Expand")
    if expand is None:
        return part
    x = expand.input(0)
    return x if len(x.shape) == len(part.shape) and x.shape[1] == part.shape[1] else part


def _split_convolution(matcher: Matcher, position: dict[Node, int], conv: Node, concat: Node) -> None:
    weights, bias = conv.input(1), conv.optional_input(2)
    assert weights.data is not None
    parts = [concat.input(index) for index in range(len(concat.inputs))]
    cuts = np.cumsum([part.shape[1] for part in parts])[:-1]
    blocks = zip(parts, np.split(weights.data, cuts, axis=1), strict=True)
    ordered_blocks = sorted(blocks, key=lambda block: position[matcher.producers[block[0]]])
    total: Value | None = None
    nodes: list[Node] = []
    for index, (part, block) in enumerate(ordered_blocks):
        w = Value.constant(f"{weights.name}:{index}", np.ascontiguousarray(block))
        inputs = [_before_expand(matcher, part), w, *([bias] if bias is not None and index == 0 else [])]
        product = new_node("Conv", inputs, f"{conv.name}:{index}", version=conv.version)
        last = index == len(parts) - 1
        nodes = [product]
        if total is not None:
            output = conv.output if last else None
            nodes.append(new_node("Add", [total, product.output], f"{conv.name}:sum{index}", version=14, output=output))
        total = nodes[-1].output
        if not last:
            matcher.insert_after(matcher.producers[part], nodes)
    unread = {matcher.producers[part] for part in parts if _before_expand(matcher, part) is not part}
    matcher.replace(conv, nodes, [concat, *(expand for expand in unread if matcher.is_private(expand.output))])
    position[nodes[-1]] = position[conv]
