"""Fuse the activation behind a convolution into its epilogue, so that its output is written once."""

from __future__ import annotations

from math import inf
from typing import Any

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node
from engine.graph.target import ANY, Target

ACTIVATIONS = {"Relu", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Clip"}
"""Element-wise functions of one tensor whose parameters are attributes (a Clip's constant limits become ones)."""

CLIP_WITH_ATTRIBUTES = 6


def fuse_activation(graph: Graph, target: Target = ANY) -> int:
    """Make a FusedConv of each Conv that only an activation reads. Returns how many activations went."""
    producers, consumers = graph.producers(), graph.consumers()
    activations: set[Node] = set()
    for activation in graph.nodes:
        if activation.op not in ACTIVATIONS or activation.domain:
            continue
        conv = producers.get(activation.input(0))
        if conv is None or conv.op != "Conv" or conv.domain or conv.output in graph.outputs:
            continue
        attributes = with_activation(conv, activation)
        if consumers[conv.output] != [activation] or attributes is None:
            continue
        fused = Node("FusedConv", conv.inputs, [activation.output], attributes, domain=INTERNAL_DOMAIN, name=conv.name)
        if not target.supports(fused):
            continue
        conv.op, conv.domain, conv.version = fused.op, fused.domain, 1
        conv.attributes, conv.outputs = fused.attributes, fused.outputs
        activations.add(activation)
    graph.nodes = [node for node in graph.nodes if node not in activations]
    return len(activations)


def with_activation(conv: Node, activation: Node) -> dict[str, Any] | None:
    """The attributes of ``conv`` with the activation behind it; None where its parameters depend on the data."""
    attributes = _attributes(activation)
    if attributes is None:
        return None
    return {
        **conv.attributes,
        "activation": activation.op,
        "activation_version": CLIP_WITH_ATTRIBUTES if activation.op == "Clip" else activation.version,
        "activation_attributes": attributes,
    }


def _attributes(activation: Node) -> dict[str, Any] | None:
    """The activation's parameters; None where they are only known at run time."""
    if activation.op != "Clip" or len(activation.inputs) == 1:
        return dict(activation.attributes)
    limits = {"min": activation.optional_input(1), "max": activation.optional_input(2)}
    if any(value is not None and not value.is_constant for value in limits.values()):
        return None
    # a limit that is left out is none, where the attribute's default is the largest finite float32
    attributes = {"min": -inf, "max": inf}
    for name, value in limits.items():
        if value is not None and value.data is not None:
            attributes[name] = float(value.data.item())
    return attributes
