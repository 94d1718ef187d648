"""Resize and Upsample: the tables of engine.ops.resize, for as many axes in one pass as their taps allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from engine.gpu.dispatch import Dispatch, Operand, Span
from engine.gpu.kernels.addressing import Walk, address, box_span, slab
from engine.gpu.kernels.expressions import functions_in, kind_of, literal
from engine.gpu.kernels.vec4 import ALIASES, CHANNELS, in_items, item_operand, item_width, narrow, wide
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor, channels_last
from engine.graph.ir import Node
from engine.ops.resize import AxisTaps, round_to, taps_of

MOST_TAPS = 16
"""Taps of one pass: two axes of four; beyond them a pass for each run of axes reads less."""


@dataclass(frozen=True, slots=True)
class Step:
    """One axis of a pass, its table, and whether a mark in that stands for the extrapolation value."""

    axis: int
    table: AxisTaps
    marked: bool = False

    @property
    def taps(self) -> int:
        """Elements that one result takes along the axis."""
        return self.table.indices.shape[1]

    @property
    def pairs(self) -> int:
        """Items of the table for one position."""
        return -(-self.taps // 2)

    @property
    def weighted(self) -> bool:
        """Whether the weights are anything but 1."""
        return not self.table.is_selection

    def items(self) -> np.ndarray:
        """The table as the kernel reads it, int32 ``[out, pairs, 4]``: indices and bits of weights of two taps each."""
        indices, weights = self.table.indices, self.table.weights.astype(np.float32)
        if self.taps % 2:
            # the last tap twice, at half its weight: a tap without weight would turn an infinity into NaN
            indices, weights = indices[:, [*range(self.taps), -1]], weights[:, [*range(self.taps), -1]]
            weights[:, -2:] /= 2 if self.taps > 1 else 1
        pairs = np.stack([indices.astype(np.int32), weights.view(np.int32)], axis=1)
        items = pairs.reshape(len(indices), 2, self.pairs, 2).transpose(0, 2, 1, 3).reshape(-1, self.pairs, 4)
        if self.marked:
            items[self.table.outside, 0, 0] = -1
        return items


@lowers("Resize", "Upsample")
def lower_resize(node: Node, low: Lowering) -> None:
    x, dtype = low.input(node, 0), node.output.dtype
    asked = taps_of(node)
    if not asked or not node.output.type.size:
        low.hand_on(node, x)
        return
    order = channels_last(x.rank) if min(axis for axis, _ in asked) > 1 else x.order()
    *earlier, last = passes(asked)
    for steps in earlier:
        shape = list(x.shape)
        for step in steps:
            shape[step.axis] = len(step.table.indices)
        storage = low.storage(np.dtype(np.float32), prod(shape))
        middle = low.scratch(shape, storage, f"{node.output.name}:axis", order)
        resample(low, x, middle, steps, np.dtype(np.float32))
        x = middle
    resample(low, x, low.output(node, order=order, reads=[x]), last, dtype, node.attr("extrapolation_value", 0.0))


def passes(asked: Sequence[tuple[int, AxisTaps]]) -> list[list[Step]]:
    """The axes of each pass: those that shrink most first. The last one marks what lies outside, on any axis."""
    by_growth = sorted(asked, key=lambda step: len(step[1].indices) / (1 + int(step[1].indices.max())))
    runs: list[list[Step]] = [[]]
    taps = 1
    for axis, table in by_growth:
        count = table.indices.shape[1]
        if runs[-1] and taps * count > MOST_TAPS:
            runs.append([])
            taps = 1
        runs[-1].append(Step(axis, table))
        taps *= count
    last = [Step(step.axis, step.table, bool(step.table.outside.any())) for step in runs[-1]]
    for steps in runs[:-1]:
        last += [_kept(step) for step in steps if step.table.outside.any()]
    return [*runs[:-1], last]


def _kept(step: Step) -> Step:
    """The axis of an earlier pass, as it is but for its marks."""
    outside = step.table.outside
    table = AxisTaps(np.arange(len(outside))[:, None], np.ones((len(outside), 1)), outside)
    return Step(step.axis, table, marked=True)


def resample(
    low: Lowering, x: Tensor, y: Tensor, steps: Sequence[Step], dtype: np.dtype[Any], fill: float = 0.0
) -> None:
    """Add the dispatch that resamples the axes of ``steps`` at once.

    ``dtype`` is what the graph gives y: sums are rounded to it. What a table marks becomes ``fill``.
    """
    axes = [step.axis for step in steps]
    if y.shape[0] > 1 and 0 not in axes and max(x.nbytes, y.nbytes) > low.binding_limit:
        # rows, by which ranges are cut, are whole images otherwise
        for image in range(y.shape[0]):
            resample(low, x.slice(0, image, 1), y.slice(0, image, 1), steps, dtype, fill)
        return
    weighted = any(step.weighted for step in steps)
    width = 1 if CHANNELS in axes else item_width([x, y])
    items = in_items(x, width)
    walk = Walk(in_items(y, width))
    table = low.constant(np.concatenate([step.items().reshape(-1, 4) for step in steps]), f"{y.slot.label}:taps")
    result, filled = _result(dtype, y.dtype, width, fill, weighted=weighted)
    low.dispatch(
        Dispatch(
            kernel="resize",
            params={
                **walk.params(),
                "vec": width,
                "functions": functions_in([filled]),
                "steps": _loops(walk, steps),
                "taps": [
                    _tap(walk, items, steps, which, weighted=weighted)
                    for which in product(*(range(min(step.taps, 2)) for step in steps))
                ],
                "zero": f"{'F' if weighted else ALIASES[x.dtype]}()",
                "fill": filled,
                "result": result,
                "target": address("y", walk.y, walk.positions),
            },
            reads=[item_operand("x", x, width, _taps_span(walk, items, steps)), Operand("table", table, None, 4)],
            writes=[item_operand("y", y, width, None if walk.outer is None else box_span(walk.y, walk.outer))],
            rows=walk.rows,
            grid=walk.grid,
            flops=2 * y.size * prod(step.taps for step in steps) if weighted else 0,
        )
    )


def _loops(walk: Walk, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What the kernel is told of each axis; ``first`` is where its run of the table begins."""
    loops, first = [], 0
    for step in steps:
        position = walk.positions[step.axis]
        loops.append(
            {"axis": step.axis, "position": position, "pairs": step.pairs, "first": first, "marked": step.marked}
        )
        first += len(step.table.indices) * step.pairs
    return loops


def _tap(walk: Walk, x: Tensor, steps: Sequence[Step], which: Sequence[int], *, weighted: bool) -> dict[str, str]:
    """The element, and its weight, of one of the two taps (``which``) of a pair on each axis."""
    positions, weights = list(walk.positions), []
    for step, side in zip(steps, which, strict=True):
        positions[step.axis] = f"pair{step.axis}.{'xy'[side]}"
        if step.weighted:
            weights.append(f"bitcast<f32>(pair{step.axis}.{'zw'[side]})")
    item = address("x", x, positions)
    return {
        "element": f"F({item})" if weighted else wide(item, x.dtype),
        "weight": f"({' * '.join(weights)})" if weights else "",
    }


def _result(dtype: np.dtype[Any], storage: str, width: int, fill: float, *, weighted: bool) -> tuple[str, str]:
    """How the total and the fill are written: integers are rounded half to even and saturate."""
    kind = kind_of(dtype)
    if kind == "B":
        total = "select(U(0u), U(1u), !(total == F(0.0)))" if weighted else "total"
        return total, literal(bool(fill), "U")
    if kind == "F":
        return narrow("total", storage, width), narrow(literal(fill, kind), storage, width)
    filled = literal(float(round_to(np.array(fill), dtype)), kind)
    if not weighted:
        return "total", filled
    limits = np.iinfo(dtype)
    # the largest float32 that is not above the limit
    top = np.float32(limits.max)
    top = top if int(top) <= limits.max else np.nextafter(top, np.float32(0))
    return f"{kind}(clamp(round(total), {literal(limits.min)}, {literal(float(top))}))", filled


def _taps_span(walk: Walk, x: Tensor, steps: Sequence[Step]) -> Span | None:
    """What the taps of a range of rows touch of x."""
    outer = walk.outer
    if outer is None:
        return None
    indices = next((step.table.indices for step in steps if step.axis == outer), None)
    if indices is None:
        return box_span(x, outer)

    def span(first: int, last: int) -> tuple[int, int]:
        taken = indices[first:last]
        return slab(x, outer, int(taken.min()), int(taken.max()) + 1)

    return span
