"""Resize and Upsample by the tables of engine.ops.resize, with as many axes in one pass as their taps allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid, axis_span, slice_span
from engine.gpu.program.dispatch import Dispatch, Operand, Span
from engine.gpu.program.expressions import functions_in, kind_of, literal
from engine.gpu.program.tensor import Tensor, channels_last
from engine.gpu.program.vec4 import (
    ALIASES,
    CHANNELS,
    compute_value,
    storage_value,
    vec4_items,
    vec4_operand,
    vec4_width,
)
from engine.graph.ir import Node
from engine.ops.resize import AxisTaps, round_to, taps_of

MAX_TAPS = 16
"""Taps of one pass at the most, such as two axes of four; with more, several passes read less."""

MAX_CONSTANT_PAIRS = 2
"""Pairs of taps up to which their number is a constant of the kernel: those of every filter that does not shrink."""


@dataclass(frozen=True, slots=True)
class Step:
    """One axis of a pass, its table, and whether the table marks positions of the extrapolation value."""

    axis: int
    table: AxisTaps
    marks_outside: bool = False

    @property
    def taps(self) -> int:
        """Taps of one result along the axis."""
        return self.table.indices.shape[1]

    @property
    def pairs(self) -> int:
        """Items of the table for one position, of two taps each."""
        return -(-self.taps // 2)

    @property
    def is_weighted(self) -> bool:
        """Whether any weight is not 1."""
        return not self.table.is_selection

    def items(self) -> np.ndarray:
        """The table for the kernel, int32 ``[out, pairs, 4]``: two indices, then the bits of their float32 weights."""
        indices, weights = self.table.indices, self.table.weights.astype(np.float32)
        if self.taps % 2:
            # the last tap twice, at half its weight: a tap without weight would turn an infinity into NaN
            indices, weights = indices[:, [*range(self.taps), -1]], weights[:, [*range(self.taps), -1]]
            weights[:, -2:] /= 2 if self.taps > 1 else 1
        pairs = np.stack([indices.astype(np.int32), weights.view(np.int32)], axis=1)
        items = pairs.reshape(len(indices), 2, self.pairs, 2).transpose(0, 2, 1, 3).reshape(-1, self.pairs, 4)
        if self.marks_outside:
            items[self.table.outside, 0, 0] = -1
        return items


@lowers("Resize", "Upsample")
def lower_resize(node: Node, lowering: Lowering) -> None:
    x, dtype = lowering.input(node, 0), node.output.dtype
    axis_taps = taps_of(node)
    if not axis_taps or not node.output.type.size:
        lowering.alias(node, x)
        return
    order = channels_last(x.rank) if min(axis for axis, _ in axis_taps) > 1 else x.order()
    *earlier, last = passes(axis_taps)
    for steps in earlier:
        shape = list(x.shape)
        for step in steps:
            shape[step.axis] = len(step.table.indices)
        storage = lowering.storage(np.dtype(np.float32))
        intermediate = lowering.scratch(shape, storage, f"{node.output.name}:axis", order)
        resample(lowering, x, intermediate, steps=steps, dtype=np.dtype(np.float32))
        x = intermediate
    resample(
        lowering,
        x,
        lowering.output(node, order=order, reads=[x]),
        steps=last,
        dtype=dtype,
        fill=node.attr("extrapolation_value", 0.0),
    )


def passes(axis_taps: Sequence[tuple[int, AxisTaps]]) -> list[list[Step]]:
    """The steps of each pass: axes that shrink most first. The last pass marks positions outside, on any axis."""
    by_growth = sorted(axis_taps, key=lambda step: len(step[1].indices) / (1 + int(step[1].indices.max())))
    runs: list[list[Step]] = [[]]
    taps = 1
    for axis, table in by_growth:
        count = table.indices.shape[1]
        if runs[-1] and taps * count > MAX_TAPS:
            runs.append([])
            taps = 1
        runs[-1].append(Step(axis, table))
        taps *= count
    last = [Step(step.axis, step.table, bool(step.table.outside.any())) for step in runs[-1]]
    for steps in runs[:-1]:
        last += [_mark_step(step) for step in steps if step.table.outside.any()]
    return [*runs[:-1], last]


def _mark_step(step: Step) -> Step:
    """A step of the last pass that copies an axis of an earlier pass, and marks its positions outside."""
    outside = step.table.outside
    table = AxisTaps(np.arange(len(outside))[:, None], np.ones((len(outside), 1)), outside)
    return Step(step.axis, table, marks_outside=True)


def resample(
    lowering: Lowering, x: Tensor, y: Tensor, steps: Sequence[Step], dtype: np.dtype[Any], fill: float = 0.0
) -> None:
    """Add the dispatch that resamples the axes of ``steps`` at once.

    ``dtype`` is that of y in the graph, to which sums are rounded. Positions that a table marks become ``fill``.
    """
    axes = [step.axis for step in steps]
    if y.shape[0] > 1 and 0 not in axes and max(x.nbytes, y.nbytes) > lowering.binding_limit:
        # else a row of the dispatch, a position of the outermost axis, would be a whole image
        for image in range(y.shape[0]):
            resample(lowering, x.slice(0, image, 1), y.slice(0, image, 1), steps=steps, dtype=dtype, fill=fill)
        return
    is_weighted = any(step.is_weighted for step in steps)
    width = 1 if CHANNELS in axes else vec4_width([x, y])
    items = vec4_items(x, width)
    elements = ElementGrid(vec4_items(y, width))
    table = lowering.constant(np.concatenate([step.items().reshape(-1, 4) for step in steps]), f"{y.slot.label}:taps")
    result, fill_value = _result_expressions(dtype, y.dtype, width, fill, is_weighted=is_weighted)
    lowering.dispatch(
        Dispatch(
            kernel="resize",
            params={
                **elements.params(),
                "vec": width,
                "functions": functions_in([fill_value]),
                "steps": _loops(elements, steps),
                "taps": [
                    _tap(elements, items, steps, sides, is_weighted=is_weighted)
                    for sides in product(*(range(min(step.taps, 2)) for step in steps))
                ],
                "zero": f"{'F' if is_weighted else ALIASES[x.dtype]}()",
                "fill": fill_value,
                "result": result,
                "target": elements.address("y", elements.y, elements.positions),
            },
            reads=[vec4_operand("x", x, width, _taps_span(elements, items, steps)), Operand("table", table, None, 4)],
            writes=[vec4_operand("y", y, width, elements.target().span)],
            rows=elements.rows,
            grid=elements.grid,
            uniforms=elements.numbers.uniforms,
            flops=2 * y.size * prod(step.taps for step in steps) if is_weighted else 0,
        )
    )


def _loops(elements: ElementGrid, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The template parameters of each axis; ``first`` is the item of the table at which its part begins."""
    loops, first = [], 0
    for step in steps:
        loops.append(
            {
                "axis": step.axis,
                "position": elements.positions[step.axis],
                "pairs": str(step.pairs)
                if step.pairs <= MAX_CONSTANT_PAIRS
                else elements.numbers.integer(f"pairs{step.axis}", step.pairs),
                "looped": step.pairs > 1,
                "first": elements.numbers.integer(f"first{step.axis}", first),
                "marked": step.marks_outside,
            }
        )
        first += len(step.table.indices) * step.pairs
    return loops


def _tap(
    elements: ElementGrid, x: Tensor, steps: Sequence[Step], sides: Sequence[int], *, is_weighted: bool
) -> dict[str, str]:
    """The element and the weight of one tap; ``sides`` says for each axis which of the two of a pair."""
    positions, weights = list(elements.positions), []
    for step, side in zip(steps, sides, strict=True):
        positions[step.axis] = f"pair{step.axis}.{'xy'[side]}"
        if step.is_weighted:
            weights.append(f"bitcast<f32>(pair{step.axis}.{'zw'[side]})")
    item = elements.address("x", x, positions)
    return {
        "element": f"F({item})" if is_weighted else compute_value(item, x.dtype),
        "weight": f"({' * '.join(weights)})" if weights else "",
    }


def _result_expressions(
    dtype: np.dtype[Any], storage: str, width: int, fill: float, *, is_weighted: bool
) -> tuple[str, str]:
    """The WGSL of the result and of the fill value: integers are rounded half to even and saturate."""
    kind = kind_of(dtype)
    if kind == "B":
        total = "select(U(0u), U(1u), !(total == F(0.0)))" if is_weighted else "total"
        return total, literal(bool(fill), "U")
    if kind == "F":
        return storage_value("total", storage, width), storage_value(literal(fill, kind), storage, width)
    fill_value = literal(float(round_to(np.array(fill), dtype)), kind)
    if not is_weighted:
        return "total", fill_value
    limits = np.iinfo(dtype)
    # the largest float32 that is not above the limit
    top = np.float32(limits.max)
    top = top if int(top) <= limits.max else np.nextafter(top, np.float32(0))
    return f"{kind}(clamp(round(total), {literal(limits.min)}, {literal(float(top))}))", fill_value


def _taps_span(elements: ElementGrid, x: Tensor, steps: Sequence[Step]) -> Span | None:
    """The span of x: the elements of the taps of a range of rows."""
    outer = elements.outer
    if outer is None:
        return None
    indices = next((step.table.indices for step in steps if step.axis == outer), None)
    if indices is None:
        return axis_span(x, outer)

    def span(first: int, last: int) -> tuple[int, int]:
        row_indices = indices[first:last]
        return slice_span(x, outer, int(row_indices.min()), int(row_indices.max()) + 1)

    return span
