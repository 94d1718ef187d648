"""Drop nodes that hand on their first input as it is."""

from __future__ import annotations

from collections.abc import Callable

from engine.graph.ir import Graph, Node, Value
from engine.graph.target import ANY, Target
from engine.ops.resize import resize_taps, upsample_taps


def drop_identities(graph: Graph, _: Target = ANY) -> int:
    """Let the readers of each identity read its input. Returns how many nodes went."""
    replacement: dict[Value, Value] = {}
    nodes = []
    for node in graph.nodes:
        if is_identity(node):
            replacement[node.output] = node.input(0)
        else:
            nodes.append(node)
    count = len(graph.nodes) - len(nodes)
    graph.nodes = nodes
    graph.replace_values(replacement)
    return count


def is_identity(node: Node) -> bool:
    """Whether the node's only used output equals its first input, whatever the data."""
    rule = _RULES.get(node.op)
    if rule is None or node.domain or node.output.type != node.input(0).type:
        return False
    return not any(value is not None for value in node.outputs[1:]) and rule(node)


def _same_type(_: Node) -> bool:
    """For operators that only relabel or repeat: the same shape and dtype leave nothing to do."""
    return True


def _only_input(node: Node) -> bool:
    return len(node.inputs) == 1


def _no_pads(node: Node) -> bool:
    pads = node.constant(1)
    return not any(node.attr("pads", ()) if pads is None else pads.ravel())


def _forward_slice(node: Node) -> bool:
    # a negative step turns the axis round and keeps the shape
    steps = node.constant(4)
    return steps is None or bool((steps == 1).all())


def _identity_permutation(node: Node) -> bool:
    rank = len(node.input(0).shape)
    return tuple(node.attr("perm") or range(rank)[::-1]) == tuple(range(rank))


def _no_limits(node: Node) -> bool:
    return len(list(node.used_inputs())) == 1 and not node.attributes.keys() & {"min", "max"}


def _no_axis_changes(node: Node) -> bool:
    x = node.input(0)
    if node.op == "Upsample":
        return not list(upsample_taps(node, x.shape, node.constant(1)))
    return not list(resize_taps(node, x.shape, roi=node.constant(1), scales=node.constant(2), sizes=node.constant(3)))


_RULES: dict[str, Callable[[Node], bool]] = {
    **dict.fromkeys(
        ("Identity", "Dropout", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"),
        _same_type,
    ),
    **dict.fromkeys(("Concat", "Sum", "Max", "Min", "Mean"), _only_input),
    **dict.fromkeys(("Resize", "Upsample"), _no_axis_changes),
    "Split": _same_type,
    "Pad": _no_pads,
    "Slice": _forward_slice,
    "Transpose": _identity_permutation,
    "Clip": _no_limits,
}
