"""Fold a factor of a deformable convolution's mask into its weights."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import has_extremes
from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, other_operand, scalar
from engine.graph.target import ANY, Target

WEIGHTS, MASK = 1, 4
"""Inputs of a DeformConv."""


def fold_mask_scale(graph: Graph, target: Target = ANY) -> int:
    """Scale the weights of each DeformConv whose mask is a product with a constant number. Returns how many there were.

    A mask weighs what is sampled, so that (c m) x w = m x (c w): the 2 of a modulated deformable convolution goes.
    """
    matcher = Matcher(graph, target)
    count = 0
    for node in matcher.nodes():
        mask = node.optional_input(MASK) if node.op == "DeformConv" and not node.domain else None
        factor = _factor(matcher, mask) if node.optional_input(WEIGHTS) is not None else None
        weights = node.input(WEIGHTS).data if factor is not None else None
        if mask is None or factor is None or weights is None or has_extremes(node):
            continue
        product, number = factor
        scaled = Value.constant(f"{node.name}:scaled", (weights * number).astype(weights.dtype))
        inputs: list[Value | None] = [*node.inputs]
        inputs[WEIGHTS], inputs[MASK] = scaled, product
        new = Node(node.op, inputs, node.outputs, node.attributes, version=node.version, name=node.name)
        count += matcher.replace(node, [new], [matcher.producers[mask]])
    matcher.finish()
    return count


def _factor(matcher: Matcher, mask: Value | None) -> tuple[Value, float] | None:
    """What is multiplied by which number to make the mask, where nothing else reads the product; or None."""
    multiply = matcher.private(mask, "Mul")
    if multiply is None or mask is None:
        return None
    for value in multiply.used_inputs():
        number, other = scalar(value), other_operand(multiply, value)
        if number is not None and np.isfinite(number) and other.shape == mask.shape:
            return other, number
    return None
