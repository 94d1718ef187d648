"""Make one convolution of a convolution and the 1x1 convolution that narrows its result."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import has_extremes
from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_dense, is_pointwise, new_node
from engine.graph.target import ANY, Target


def compose_convolutions(graph: Graph, target: Target = ANY) -> int:
    """Compose each 1x1 Conv with fewer outputs than inputs with the Conv that it alone reads. Returns how many went.

    W2 (W1 * x + b1) + b2 = (W2 W1) * x + (W2 b1 + b2), formed in float64. What overflows on the one side need not on
    the other: extreme weights stay apart.
    """
    matcher = Matcher(graph, target)
    count = 0
    for outer in matcher.nodes():
        if not is_pointwise(outer) or outer.output.shape[1] >= outer.input(0).shape[1]:
            continue
        inner = matcher.private(outer.input(0), "Conv")
        if inner is not None and is_dense(inner) and not (has_extremes(inner) or has_extremes(outer)):
            count += matcher.replace(inner, [_compose(inner, outer)], [outer])
    matcher.finish()
    return count


def _compose(inner: Node, outer: Node) -> Node:
    w1, w2 = (np.array(conv.input(1).data, np.float64) for conv in (inner, outer))
    w2 = w2.reshape(w2.shape[:2])
    inputs = [
        inner.input(0),
        Value.constant(f"{outer.name}:composed", np.tensordot(w2, w1, 1).astype(inner.output.dtype)),
    ]
    b1, b2 = inner.constant(2), outer.constant(2)
    if b1 is not None or b2 is not None:
        bias = (0 if b1 is None else w2 @ b1.astype(np.float64)) + (0 if b2 is None else b2.astype(np.float64))
        inputs.append(Value.constant(f"{outer.name}:bias", np.asarray(bias).astype(inner.output.dtype)))
    return new_node("Conv", inputs, outer.name, attributes=inner.attributes, version=inner.version, output=outer.output)
