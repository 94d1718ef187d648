"""Fold an Add of one constant number for each channel into the bias of the convolution before it."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher
from engine.graph.target import ANY, Target

BIAS = {"Conv": 2, "DeformConv": 3}
"""Where each operator has its bias."""


def fold_bias(graph: Graph, target: Target = ANY) -> int:
    """Let the convolutions that only such an Add reads add its constant themselves. Returns how many Adds went."""
    matcher = Matcher(graph, target)
    count = 0
    for node in list(matcher.nodes()):
        if node.op != "Add" or node.domain:
            continue
        for value, constant in (node.inputs, node.inputs[::-1]):
            conv = matcher.private(value, *BIAS)
            if conv is None or constant is None or constant.data is None or conv.output.type != node.output.type:
                continue
            addend = by_channel(constant.data, conv.output.shape)
            bias = conv.optional_input(BIAS[conv.op])
            if addend is None or (bias is not None and bias.data is None):
                continue
            new_bias = addend if bias is None or bias.data is None else bias.data + addend
            biased = _with_bias(conv, Value.constant(f"{node.name}:bias", new_bias), node)
            count += matcher.replace(node, [biased], [conv])
            break
    matcher.finish()
    return count


def by_channel(constant: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """One number for each channel of ``shape`` ``[N, M, *spatial]``, as broadcasting ``constant`` adds them."""
    if constant.ndim > len(shape):
        return None
    whole = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if any(extent != 1 for axis, extent in enumerate(whole.shape) if axis != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(whole.reshape(-1), (shape[1],)))


def _with_bias(conv: Node, bias: Value, last: Node) -> Node:
    bias_index = BIAS[conv.op]
    inputs = [*conv.inputs, *[None] * (bias_index + 1 - len(conv.inputs))]
    inputs[bias_index] = bias
    return Node(
        conv.op,
        inputs,
        list(last.outputs),
        attributes=conv.attributes,
        domain=conv.domain,
        version=conv.version,
        name=conv.name,
    )
