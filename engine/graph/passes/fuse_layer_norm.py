"""Fuse the expansion of a layer normalisation that exporters write before version 17 into one LayerNormalization."""

from __future__ import annotations

from dataclasses import dataclass

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_close, made, other_operand, scalar


@dataclass(frozen=True, slots=True)
class _Expansion:
    """One expansion: its last node, the others, and what the fused node is given."""

    last: Node
    x: Value
    epsilon: float
    parameters: list[Value]
    gone: list[Node]


def fuse_layer_norm(graph: Graph) -> int:
    """Make one LayerNormalization of each expansion over the last axis. Returns how many were fused.

    The expansion is d / sqrt(mean(d^2) + epsilon) * scale + shift with d = x - mean(x); the shift may be left out.
    """
    matcher = Matcher(graph)
    fused = 0
    for node in matcher.nodes():
        found = _match(matcher, node) if node.op == "Div" and not node.domain else None
        if found is None:
            continue
        norm = made(
            "LayerNormalization",
            [found.x, *found.parameters],
            found.last.name,
            attributes={"axis": -1, "epsilon": found.epsilon},
            version=17,
            output=found.last.output,
        )
        matcher.replace(found.last, [norm], found.gone)
        fused += 1
    matcher.finish()
    return fused


def _match(matcher: Matcher, div: Node) -> _Expansion | None:
    """The expansion whose division this is; everything that it makes on the way must have no other reader."""
    distance = matcher.producer(div.input(0), "Sub")
    root = matcher.private(div.input(1), "Sqrt")
    if distance is None or root is None:
        return None
    shifted = matcher.private(root.input(0), "Add")
    if shifted is None:
        return None
    variance, epsilon = shifted.input(0), scalar(shifted.input(1))
    if epsilon is None:
        variance, epsilon = shifted.input(1), scalar(shifted.input(0))
    spread = _mean(matcher, variance)
    square = None if spread is None else matcher.private(spread.input(0), "Pow", "Mul")
    centre = _mean(matcher, distance.input(1))
    scaled = matcher.reader(div.output, "Mul")
    if epsilon is None or spread is None or square is None or centre is None or scaled is None:
        return None
    d, x = distance.output, distance.input(0)
    squared = square.input(0) is d and (is_close(square.input(1), 2) if square.op == "Pow" else square.input(1) is d)
    readers = set(matcher.readers.get(d, ()))
    if not squared or centre.input(0) is not x or readers != {square, div} or d in matcher.outputs:
        return None
    scale = _along_last(other_operand(scaled, div.output), x)
    if scale is None or scaled.output.type != x.type:
        return None
    gone = [centre, distance, square, spread, shifted, root, div]
    adding = matcher.reader(scaled.output, "Add")
    shift = None if adding is None else _along_last(other_operand(adding, scaled.output), x)
    if adding is None or shift is None or adding.output.type != x.type:
        return _Expansion(scaled, x, epsilon, [scale], gone)
    return _Expansion(adding, x, epsilon, [scale, shift], [*gone, scaled])


def _mean(matcher: Matcher, value: Value) -> Node | None:
    """The ReduceMean over the last axis that makes ``value`` for one reader, keeping the axis."""
    node = matcher.private(value, "ReduceMean")
    if node is None or not node.attr("keepdims", 1):
        return None
    given = node.constant(1) if node.version >= 18 else node.attr("axes")
    axes = () if given is None else tuple(int(axis) for axis in given)
    return node if axes in ((-1,), (len(node.input(0).shape) - 1,)) else None


def _along_last(value: Value, x: Value) -> Value | None:
    """The constant that holds one number for each position of the last axis of ``x``, as a vector; or None."""
    extent = x.shape[-1:]
    if value.data is None or value.shape[-1:] != extent or value.data.size != extent[0]:
        return None
    return value if value.shape == extent else Value.constant(value.name, value.data.reshape(extent))
