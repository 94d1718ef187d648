"""The offset of every activation in one allocation, shared by values that are never alive together.

Reshapes are views of the same memory, the inputs of a Concat along the outermost axis lie inside its output, and an
element-wise result may alias an input that nothing reads afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from engine.graph.ir import Graph, Node, Value
from engine.ops.concat import concat_axis

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector that NumPy uses."""

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
"""Operators whose output is a view of their input."""


@dataclass(eq=False, slots=True)
class Region:
    """Memory that one or more values share, from step ``first`` to step ``last``; it may be part of a larger region."""

    nbytes: int
    first: int
    last: int
    within: Region | None = None
    offset: int = 0
    parts: list[Region] = field(default_factory=list)

    def root(self) -> tuple[Region, int]:
        """The outermost region that holds this one, and where in it this one begins."""
        region, offset = self, 0
        while region.within is not None:
            offset += region.offset
            region = region.within
        return region, offset

    def extend(self, last: int) -> None:
        """Keep this region, and what it is part of, alive until step ``last``."""
        region: Region | None = self
        while region is not None:
            region.last = max(region.last, last)
            region = region.within

    def embed(self, part: Region, offset: int) -> None:
        """Place ``part`` at ``offset``; this region is then alive whenever the part is."""
        part.within, part.offset = self, offset
        self.parts.append(part)
        self.first = min(self.first, part.first)
        self.extend(part.last)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Byte offset of each non-constant value in one block of ``nbytes``."""

    offsets: dict[Value, int]
    nbytes: int


def plan_memory(graph: Graph, in_place: Sequence[bool]) -> MemoryPlan:
    """Place every input and intermediate value of a run.

    ``in_place`` says of each node whether its first output may alias an input of its type.
    """
    regions = _regions(graph, in_place)
    roots = list(dict.fromkeys(region.root()[0] for region in regions.values()))
    places, nbytes = _place(roots)
    offsets = {}
    for value, region in regions.items():
        root, offset = region.root()
        offsets[value] = places[root] + offset
    return MemoryPlan(offsets, nbytes)


def _regions(graph: Graph, in_place: Sequence[bool]) -> dict[Value, Region]:
    end = len(graph.nodes)
    last_use: dict[Value, int] = {}
    for step, node in enumerate(graph.nodes):
        last_use.update((value, step) for value in node.used_inputs())
    last_use.update((value, end) for value in graph.outputs)

    regions = {value: Region(value.type.nbytes, -1, last_use.get(value, -1)) for value in graph.inputs}
    for step, node in enumerate(graph.nodes):
        alias = _alias_region(node, step, regions, in_place[step])
        for index, value in enumerate(node.outputs):
            if value is None:
                continue
            last = last_use.get(value, step)
            if index == 0 and alias is not None:
                regions[value] = alias
                alias.extend(last)
            else:
                regions[value] = Region(value.type.nbytes, step, last)
        if node.op == "Concat" and not node.domain:
            _gather_parts(node, regions)
    return regions


def _alias_region(node: Node, step: int, regions: dict[Value, Region], in_place: bool) -> Region | None:
    """The region of an input that the first output may alias."""
    inputs = [value for value in node.used_inputs() if value in regions]
    if node.op in VIEWS and not node.domain:
        return regions[inputs[0]] if inputs else None
    if not in_place:
        return None
    for value in inputs:
        region = regions[value]
        alone = sum(regions[other].root()[0] is region for other in inputs) == 1
        separate = region.within is None and not region.parts
        if separate and alone and region.last == step and value.type == node.output.type:
            return region
    return None


def _gather_parts(node: Node, regions: dict[Value, Region]) -> None:
    """Place the inputs of a Concat in its output, where each is contiguous in it and part of no other region yet."""
    whole = regions[node.output]
    if prod(node.output.shape[: concat_axis(node, len(node.output.shape))]) != 1:
        return
    offset = 0
    for value in node.used_inputs():
        part = regions.get(value)
        if part is not None and part.within is None and part is not whole and part.nbytes == value.type.nbytes:
            whole.embed(part, offset)
        offset += value.type.nbytes


def _place(roots: list[Region]) -> tuple[dict[Region, int], int]:
    """Offsets such that regions alive at once do not overlap: the largest first, each in the lowest gap that fits."""
    places: dict[Region, int] = {}
    begins, ends, firsts, lasts = (np.zeros(len(roots), np.int64) for _ in range(4))
    for count, root in enumerate(sorted(roots, key=lambda region: -region.nbytes)):
        alive = np.flatnonzero((firsts[:count] <= root.last) & (lasts[:count] >= root.first))
        place = 0
        for other in alive[np.argsort(begins[alive], kind="stable")]:
            if place + root.nbytes <= begins[other]:
                break
            place = max(place, int(ends[other]))
        size = -(-root.nbytes // ALIGNMENT) * ALIGNMENT
        places[root] = place
        begins[count], ends[count], firsts[count], lasts[count] = place, place + size, root.first, root.last
    return places, int(ends.max(initial=0))
