"""Fuse x/2 (1 + erf(x / sqrt 2)), which exporters write as five nodes, into one Gelu."""

from __future__ import annotations

from math import sqrt

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_close, new_node, other_operand, with_scalar
from engine.graph.target import ANY, Target


def fuse_gelu(graph: Graph, target: Target = ANY) -> int:
    """Make one Gelu of each such expansion, wherever the half stands in it. Returns how many were fused."""
    matcher = Matcher(graph, target)
    count = 0
    for node in matcher.nodes():
        match = _match(matcher, node) if node.op == "Erf" and not node.domain else None
        if match is not None:
            x, last, others = match
            gelu = new_node("Gelu", [x], last.name, version=20, output=last.output)
            count += matcher.replace(last, [gelu], others)
    matcher.finish()
    return count


def _match(matcher: Matcher, erf: Node) -> tuple[Value, Node, list[Node]] | None:
    """x, the last node and the others; everything that they make on the way must have no other reader."""
    quotient = matcher.private(erf.input(0), "Div", "Mul")
    x = _over_root(quotient)
    add = matcher.reader(erf.output, "Add")
    if quotient is None or x is None or add is None or with_scalar(add, 1) is not erf.output:
        return None
    others = [quotient, erf, add]
    product = matcher.reader(add.output, "Mul")
    if product is None:
        return None
    other = other_operand(product, add.output)
    half = matcher.private(other, "Mul")
    if half is not None and with_scalar(half, 0.5) is x:
        return x, product, [*others, half]
    last = matcher.reader(product.output, "Mul")
    if last is None:
        return None
    x_first = other is x and with_scalar(last, 0.5) is product.output
    half_first = with_scalar(product, 0.5) is add.output and other_operand(last, product.output) is x
    return (x, last, [*others, product]) if x_first or half_first else None


def _over_root(node: Node | None) -> Value | None:
    """What the node divides by the root of two."""
    if node is None or node.op == "Mul":
        return with_scalar(node, sqrt(0.5))
    x = node.input(0)
    return x if is_close(node.input(1), sqrt(2)) and node.output.shape == x.shape else None
