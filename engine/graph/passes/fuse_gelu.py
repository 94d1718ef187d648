"""Fuse x/2 (1 + erf(x / sqrt 2)), which exporters write as five nodes, into one Gelu."""

from __future__ import annotations

from math import sqrt

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_close, made, other_operand, with_scalar


def fuse_gelu(graph: Graph) -> int:
    """Make one Gelu of each such expansion, wherever the half stands in it. Returns how many were fused."""
    matcher = Matcher(graph)
    fused = 0
    for node in matcher.nodes():
        found = _match(matcher, node) if node.op == "Erf" and not node.domain else None
        if found is not None:
            x, last, gone = found
            matcher.replace(last, [made("Gelu", [x], last.name, version=20, output=last.output)], gone)
            fused += 1
    matcher.finish()
    return fused


def _match(matcher: Matcher, erf: Node) -> tuple[Value, Node, list[Node]] | None:
    """x, the last node and the others; everything that they make on the way must have no other reader."""
    scaled = matcher.private(erf.input(0), "Div", "Mul")
    x = _over_root(scaled)
    plus = matcher.reader(erf.output, "Add")
    if scaled is None or x is None or plus is None or with_scalar(plus, 1) is not erf.output:
        return None
    gone = [scaled, erf, plus]
    product = matcher.reader(plus.output, "Mul")
    if product is None:
        return None
    other = other_operand(product, plus.output)
    half = matcher.private(other, "Mul")
    if half is not None and with_scalar(half, 0.5) is x:
        return x, product, [*gone, half]
    last = matcher.reader(product.output, "Mul")
    if last is None:
        return None
    x_first = other is x and with_scalar(last, 0.5) is product.output
    half_first = with_scalar(product, 0.5) is plus.output and other_operand(last, product.output) is x
    return (x, last, [*gone, product]) if x_first or half_first else None


def _over_root(node: Node | None) -> Value | None:
    """What the node divides by the root of two."""
    if node is None or node.op == "Mul":
        return with_scalar(node, sqrt(0.5))
    x = node.input(0)
    return x if is_close(node.input(1), sqrt(2)) and node.output.shape == x.shape else None
