"""Fuse the expansion of a layer normalisation that exporters write before version 17 into one LayerNormalization."""

from __future__ import annotations

from dataclasses import dataclass

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_close, new_node, other_operand, scalar
from engine.graph.target import ANY, Target


@dataclass(frozen=True, slots=True)
class _Expansion:
    """One expansion: its last node, the other nodes, and the operands of the fused node."""

    last: Node
    x: Value
    epsilon: float
    parameters: list[Value]
    others: list[Node]


def fuse_layer_norm(graph: Graph, target: Target = ANY) -> int:
    """Make one LayerNormalization of each expansion over the last axis. Returns how many were fused.

    The expansion is d / sqrt(mean(d^2) + epsilon) * scale + shift with d = x - mean(x); the shift may be left out.
    """
    matcher = Matcher(graph, target)
    count = 0
    for node in matcher.nodes():
        expansion = _match(matcher, node) if node.op == "Div" and not node.domain else None
        if expansion is None:
            continue
        norm = new_node(
            "LayerNormalization",
            [expansion.x, *expansion.parameters],
            expansion.last.name,
            attributes={"axis": -1, "epsilon": expansion.epsilon},
            version=17,
            output=expansion.last.output,
        )
        count += matcher.replace(expansion.last, [norm], expansion.others)
    matcher.finish()
    return count


def _match(matcher: Matcher, div: Node) -> _Expansion | None:
    """The expansion whose division this is; everything that it makes on the way must have no other reader."""
    distance = matcher.producer(div.input(0), "Sub")
    root = matcher.private(div.input(1), "Sqrt")
    if distance is None or root is None:
        return None
    add_epsilon = matcher.private(root.input(0), "Add")
    if add_epsilon is None:
        return None
    variance, epsilon = add_epsilon.input(0), scalar(add_epsilon.input(1))
    if epsilon is None:
        variance, epsilon = add_epsilon.input(1), scalar(add_epsilon.input(0))
    variance_node = _mean(matcher, variance)
    square = None if variance_node is None else matcher.private(variance_node.input(0), "Pow", "Mul")
    centre = _mean(matcher, distance.input(1))
    mul_scale = matcher.reader(div.output, "Mul")
    if epsilon is None or variance_node is None or square is None or centre is None or mul_scale is None:
        return None
    d, x = distance.output, distance.input(0)
    is_square = square.input(0) is d and (is_close(square.input(1), 2) if square.op == "Pow" else square.input(1) is d)
    readers = set(matcher.readers.get(d, ()))
    if not is_square or centre.input(0) is not x or readers != {square, div} or d in matcher.outputs:
        return None
    scale = _along_last(other_operand(mul_scale, div.output), x)
    if scale is None or mul_scale.output.type != x.type:
        return None
    others = [centre, distance, square, variance_node, add_epsilon, root, div]
    add_shift = matcher.reader(mul_scale.output, "Add")
    shift = None if add_shift is None else _along_last(other_operand(add_shift, mul_scale.output), x)
    if add_shift is None or shift is None or add_shift.output.type != x.type:
        return _Expansion(mul_scale, x, epsilon=epsilon, parameters=[scale], others=others)
    return _Expansion(add_shift, x, epsilon=epsilon, parameters=[scale, shift], others=[*others, mul_scale])


def _mean(matcher: Matcher, value: Value) -> Node | None:
    """The ReduceMean over the last axis that makes ``value`` for one reader, keeping the axis."""
    node = matcher.private(value, "ReduceMean")
    if node is None or not node.attr("keepdims", 1):
        return None
    axis_list = node.constant(1) if node.version >= 18 else node.attr("axes")
    axes = () if axis_list is None else tuple(int(axis) for axis in axis_list)
    return node if axes in ((-1,), (len(node.input(0).shape) - 1,)) else None


def _along_last(value: Value, x: Value) -> Value | None:
    """The constant that holds one number for each position of the last axis of ``x``, as a vector; or None."""
    extent = x.shape[-1:]
    if value.data is None or value.shape[-1:] != extent or value.data.size != extent[0]:
        return None
    return value if value.shape == extent else Value.constant(value.name, value.data.reshape(extent))
