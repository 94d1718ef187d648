"""Recognise hard swish where it is written out, as exporters of mobile networks do."""

from __future__ import annotations

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_close, new_node, scalar, with_scalar
from engine.graph.target import ANY, Target


def fuse_hard_swish(graph: Graph, target: Target = ANY) -> int:
    """Make one HardSwish of x clip(x + 3, 0, 6) / 6, divided before or behind the product. Returns how many were found.

    A HardSigmoid of slope 1/6 is clip(x + 3, 0, 6) / 6.
    """
    matcher = Matcher(graph, target)
    count = 0
    for node in matcher.nodes():
        if node.domain or node.output.dtype.kind != "f":
            continue
        product = _undivided(matcher, node)
        whole, others = (node, []) if product is None else (product, [product])
        if whole.op != "Mul" or whole.output.shape != node.output.shape:
            continue
        for x, gate in (whole.inputs, whole.inputs[::-1]):
            members = _gate(matcher, x, gate, divided=product is None)
            if x is not None and members and x.shape == node.output.shape:
                fused = new_node("HardSwish", [x], node.name, version=14, output=node.output)
                count += matcher.replace(node, [fused], [*others, *members])
                break
    matcher.finish()
    return count


def _undivided(matcher: Matcher, node: Node) -> Node | None:
    """The Mul whose result the node divides by 6."""
    if node.op == "Div" and is_close(node.input(1), 6):
        return matcher.private(node.input(0), "Mul")
    value = with_scalar(node, 1 / 6) if node.op == "Mul" else None
    return matcher.private(value, "Mul")


def _gate(matcher: Matcher, x: Value | None, gate: Value | None, *, divided: bool) -> list[Node]:
    """The nodes that make ``gate`` of ``x``: clip(x + 3, 0, 6), over 6 where ``divided``; none where it is not that."""
    if divided:
        sigmoid = matcher.private(gate, "HardSigmoid")
        if sigmoid is not None:
            slope, offset = sigmoid.attr("alpha", 0.2), sigmoid.attr("beta", 0.5)
            return [sigmoid] if sigmoid.input(0) is x and abs(slope * 6 - 1) < 1e-5 and offset == 0.5 else []
        last = matcher.private(gate, "Div", "Mul")
        if last is None:
            return []
        value = with_scalar(last, 1 / 6)
        if last.op == "Div":
            value = last.input(0) if is_close(last.input(1), 6) else None
        return [last, *members] if (members := _gate(matcher, x, value, divided=False)) else []
    clip = matcher.private(gate, "Clip")
    if clip is None or _limits(clip) != (0, 6):
        return []
    add = matcher.private(clip.input(0), "Add")
    return [clip, add] if add is not None and x is not None and with_scalar(add, 3) is x else []


def _limits(clip: Node) -> tuple[float | None, float | None]:
    if clip.version < 11:
        return clip.attr("min", None), clip.attr("max", None)
    return scalar(clip.optional_input(1)), scalar(clip.optional_input(2))
