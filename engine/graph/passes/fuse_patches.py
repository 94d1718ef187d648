"""Make one transposition of the web of splits and joins that cuts an image into patches and stacks them as channels."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.match import Matcher, new_node
from engine.graph.rearrangement import Rearrangements
from engine.graph.target import ANY, Target

RESHAPE_SINCE, TRANSPOSE_SINCE = 14, 13

ORDERS = {"columns first": (3, 1, 0, 2, 4), "channels first": (0, 1, 3, 2, 4)}
"""Orders of the channels of ``[C, down, h, across, w]``: patch by patch column by column, or as BiRefNet has it since
2025, channel by channel; h and w come last."""


def fuse_patches(graph: Graph, target: Target = ANY) -> int:
    """Replace each value ``[1, down * across * C, h, w]`` of patches of one image. Returns how many were."""
    matcher = Matcher(graph, target)
    rearrangements = Rearrangements(matcher.producers)
    count = 0
    for node in list(graph.nodes):
        for value in dict.fromkeys(node.used_inputs()):
            # a web ends in a join of many parts, whatever relabels it
            if not rearrangements.moves(value) or not _is_web(value, matcher):
                continue
            nodes = _nodes(value, rearrangements)
            if nodes is not None:
                count += matcher.replace(matcher.producers[value], nodes)
    matcher.finish()
    remove_dead_code(graph)
    return count


def _is_web(value: Value, matcher: Matcher) -> bool:
    """Whether ``value`` is a join of more than two parts, which nothing but readers of another kind join further."""
    node = matcher.producer(value, "Concat")
    return node is not None and len(node.inputs) > 2


def _nodes(value: Value, rearrangements: Rearrangements) -> list[Node] | None:
    """Reshape, Transpose and Reshape that make ``value`` of its source."""
    source = rearrangements.source(value)
    if source is None or len(value.shape) != 4 or value.shape[0] != 1 or source.type.size != value.type.size:
        return None
    *outer, height, width = source.shape
    _, depth, h, w = value.shape
    channels = int(np.prod(outer))
    if height % h or width % w or depth != channels * (height // h) * (width // w):
        return None
    split_shape = channels, height // h, h, width // w, w
    for name, order in ORDERS.items():

        def expected(order: tuple[int, ...] = order) -> np.ndarray:
            return np.arange(1, source.type.size + 1, dtype=np.int32).reshape(split_shape).transpose(order)

        if rearrangements.matches(value, (name, split_shape), expected):
            return transposition(source, value, split_shape, order)
    return None


def transposition(source: Value, value: Value, cut: tuple[int, ...], order: tuple[int, ...]) -> list[Node]:
    """Reshape, Transpose and Reshape that make ``value`` of ``source``: cut into axes, which are put in ``order``."""
    first = new_node("Reshape", [source, _dims(f"{value.name}/cut", cut)], f"{value.name}/cut", version=RESHAPE_SINCE)
    turned = new_node(
        "Transpose", [first.output], f"{value.name}/turned", attributes={"perm": order}, version=TRANSPOSE_SINCE
    )
    shape = _dims(f"{value.name}/shape", value.shape)
    return [first, turned, new_node("Reshape", [turned.output, shape], value.name, version=RESHAPE_SINCE, output=value)]


def _dims(name: str, dims: tuple[int, ...]) -> Value:
    return Value.constant(name, np.array(dims, np.int64))
