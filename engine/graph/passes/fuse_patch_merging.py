"""Make one transposition of the slices and the join that stack each square of tokens as the channels of one."""

from __future__ import annotations

from math import isqrt

import numpy as np

from engine.graph.ir import Graph, Node
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.fuse_patches import transposition
from engine.graph.passes.match import Matcher
from engine.graph.rearrangement import Rearrangements
from engine.graph.target import ANY, Target

ORDERS = {"columns first": (0, 1, 3, 4, 2, 5), "rows first": (0, 1, 3, 2, 4, 5)}
"""Orders of ``[N, h, side, w, side, C]``: the tokens of a square column by column, as Swin has them, or row by row."""


def fuse_patch_merging(graph: Graph, target: Target = ANY) -> int:
    """Replace each join ``[N, h, w, side * side * C]`` of every ``side``-th token of each axis. Returns how many."""
    matcher = Matcher(graph, target)
    rearrangements = Rearrangements(matcher.producers)
    count = 0
    for join in list(graph.nodes):
        if join.op != "Concat" or join.domain or not rearrangements.moves(join.output):
            continue
        nodes = _nodes(join, rearrangements)
        if nodes is not None:
            count += matcher.replace(join, nodes)
    matcher.finish()
    if count:
        remove_dead_code(graph)
    return count


def _nodes(join: Node, rearrangements: Rearrangements) -> list[Node] | None:
    """The nodes that make the join of its source, where it is such a one."""
    value, parts = join.output, len(join.inputs)
    side = isqrt(parts)
    if side < 2 or side * side != parts or len(value.shape) != 4 or not value.type.size:
        return None
    source = rearrangements.source(value)
    if source is None:
        return None
    images, h, w, depth = value.shape
    cut = images, h, side, w, side, depth // parts
    if source.type.size != value.type.size or source.shape[0] != images or source.shape[-1] != cut[-1]:
        return None
    for name, order in ORDERS.items():

        def expected(order: tuple[int, ...] = order) -> np.ndarray:
            return rearrangements.numbers(source.type.size).reshape(cut).transpose(order)

        if rearrangements.matches(value, (name, cut), expected):
            return transposition(source, value, cut, order)
    return None
