"""MaxPool, AveragePool, LpPool and LRN: a reduction of the elements under a window that slides over some axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid, axis_span, slice_span
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import Dispatch, Operand, Span
from engine.gpu.program.expressions import functions_in, kind_of, literal
from engine.gpu.program.tensor import Tensor, channels_last
from engine.gpu.program.vec4 import ALIASES, compute_value, storage_value, vec4_items, vec4_operand, vec4_width
from engine.graph.ir import Node
from engine.ops.pool import lowest, pool_window
from engine.ops.window import Window

MAX_UNROLLED = 16
"""Taps of a window up to which each is a statement of its own, so that all their loads are in flight at once."""


@dataclass(frozen=True, slots=True)
class Join:
    """The reduction of the elements under a window, as WGSL.

    ``step`` computes the next ``total`` from ``total``, at first ``start``, and the element ``v``. ``result`` is an
    expression of the last ``total``, and of ``count`` where ``pool`` counts elements.
    """

    start: str
    step: str
    result: str = "total"


@lowers("MaxPool")
def lower_max_pool(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    kind = kind_of(node.output.dtype)
    join = Join(literal(lowest(node.output.dtype), kind), "larger(total, v)" if kind == "F" else "max(total, v)")
    order = channels_last(x.rank)
    y = lowering.output(node, order=order, reads=[x])
    indices = lowering.output(node, 1, order=order, reads=[x]) if lowering.is_read(node, 1) else None
    column_major = bool(node.attr("storage_order", 0))
    pool(lowering, x, y, window=pool_window(node, x.shape), join=join, indices=indices, column_major=column_major)


@lowers("AveragePool")
def lower_average_pool(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    y = lowering.output(node, order=channels_last(x.rank), reads=[x])
    window, count_padding = pool_window(node, x.shape), bool(node.attr("count_include_pad", 0))
    pool(
        lowering,
        x,
        y,
        window=window,
        join=Join("F(0.0)", "total + v", "total / F(count)"),
        count_elements=True,
        count_padding=count_padding,
    )


@lowers("LpPool")
def lower_lp_pool(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    y = lowering.output(node, order=channels_last(x.rank), reads=[x])
    p = node.attr("p", 2)
    pool(
        lowering,
        x,
        y,
        window=pool_window(node, x.shape),
        join=Join("F(0.0)", f"total + {power('v', p)}", root("total", p)),
    )


def power(value: str, p: int) -> str:
    """abs(value) ** p, for a ``value`` that is a name."""
    if p == 1:
        return f"abs({value})"
    if p == 2:
        return f"{value} * {value}"
    return f"power(abs({value}), {literal(p)})"


def root(value: str, p: int) -> str:
    """value ** (1 / p), for a ``value`` that is a name and not negative."""
    if p == 1:
        return value
    if p == 2:
        return f"sqrt({value})"
    return f"power({value}, {literal(1 / p)})"


@lowers("LRN")
def lower_lrn(node: Node, lowering: Lowering) -> None:
    x, size = lowering.input(node, 0), node.attr("size")
    y = lowering.output(node, order=x.order(), reads=[x])
    channels = x.shape[1]
    window = Window(
        kernel=(size,), strides=(1,), dilations=(1,), begin=((size - 1) // 2,), end=(size // 2,), out=(channels,)
    )
    squares = lowering.scratch(x.shape, "f32", f"{node.output.name}:squares", y.order())
    pool(lowering, x, squares, window=window, join=Join("F(0.0)", "total + v * v"), axes=(1,))
    scale, bias = literal(node.attr("alpha", 1e-4) / size), literal(node.attr("bias", 1.0))
    divisor = f"power({bias} + {scale} * a1, {literal(node.attr('beta', 0.75))})"
    tree = Tree(lines=[f"let value = a0 / {divisor};"], result="value")
    lowering.elementwise(
        tree, [("a0", x, node.output.dtype), ("a1", squares, np.dtype(np.float32))], y, dtype=node.output.dtype
    )


def pool(
    lowering: Lowering,
    x: Tensor,
    y: Tensor,
    window: Window,
    join: Join,
    *,
    axes: Sequence[int] | None = None,
    count_elements: bool = False,
    count_padding: bool = False,
    indices: Tensor | None = None,
    column_major: bool = False,
) -> None:
    """Add the dispatch that reduces x under ``window``, which slides over ``axes`` (default: the spatial ones).

    ``indices``, of the shape of y, is for the index of each largest element in the flattened x, whose spatial part
    counts the first axis fastest if ``column_major``. ``count_elements`` counts the elements under the window, or,
    with ``count_padding``, elements and padding.
    """
    if not y.size:
        return
    if y.shape[0] > 1 and max(x.nbytes, y.nbytes) > lowering.binding_limit and indices is None:
        # else a row of the dispatch, a position of the outermost axis, would be a whole image
        for image in range(y.shape[0]):
            x_image, y_image = x.slice(0, image, 1), y.slice(0, image, 1)
            pool(
                lowering,
                x_image,
                y_image,
                window=window,
                join=join,
                axes=axes,
                count_elements=count_elements,
                count_padding=count_padding,
            )
        return
    axes = range(2, x.rank) if axes is None else axes
    width = 1 if indices is not None or 1 in axes else vec4_width([x, y])
    x_items = vec4_items(x, width)
    elements = ElementGrid(vec4_items(y, width))
    is_unrolled = window.taps <= MAX_UNROLLED
    axis_params = [
        _axis_params(
            elements,
            x_items,
            window=window,
            window_axis=window_axis,
            axis=axis,
            count_padding=count_padding,
            is_unrolled=is_unrolled,
        )
        for window_axis, axis in enumerate(axes)
    ]
    kind = ALIASES[x.dtype]

    def tap(offsets: dict[int, str]) -> dict[str, str]:
        positions = list(elements.positions)
        for axis, offset in offsets.items():
            positions[axis] = f"o{axis}{offset}"
        inside = [
            f"u32({positions[axis_param['axis']]}) < u32({axis_param['extent']})"
            for axis_param in axis_params
            if not axis_param["whole"]
        ]
        return {
            "inside": " && ".join(inside),
            "element": compute_value(elements.address("x", x_items, positions), x.dtype),
            "place": "" if indices is None else _flat_index(elements, x, positions, column_major),
        }

    if is_unrolled:
        steps = [[f" + {tap * d}" if tap else "" for tap in range(k)] for k, d in _taps(window)]
    else:
        steps = [[f" + t{axis_param['axis']} * {axis_param['dilation']}"] for axis_param in axis_params]
    planes, elements_of_plane = elements.numbers.integer("planes", x.shape[1]), prod(x.shape[2:])
    plane = elements.numbers.integer("plane", elements_of_plane)
    writes = [vec4_operand("y", y, width, _row_span(elements, elements.y))]
    writes += [] if indices is None else [Operand("places", indices, _row_span(elements, indices))]
    lowering.dispatch(
        Dispatch(
            kernel="pool",
            params={
                **elements.params(),
                "vec": width,
                "type": kind,
                "functions": functions_in([join.start, join.step, join.result, "" if indices is None else "is_nan()"]),
                "moves": axis_params,
                "looped": not is_unrolled,
                "taps": [tap(dict(zip(axes, offsets, strict=True))) for offsets in product(*steps)],
                "start": join.start,
                "join": join.step,
                "counted": " * ".join(_count(axis_param) for axis_param in axis_params) if count_elements else "",
                "target": elements.address("y", elements.y, elements.positions),
                "result": storage_value(join.result, y.dtype, width),
                "arg": "" if indices is None else elements.address("places", indices, elements.positions),
                "plane": f"({elements.positions[0]} * {planes} + {elements.positions[1]}) * {plane}",
            },
            reads=[vec4_operand("x", x, width, _window_span(elements, x_items, window, list(axes)))],
            writes=writes,
            rows=elements.rows,
            grid=elements.grid,
            uniforms=elements.numbers.uniforms,
            flops=y.size * window.taps,
        )
    )


def _taps(window: Window) -> list[tuple[int, int]]:
    """(positions, dilation) of each axis of the window."""
    return list(zip(window.kernel, window.dilations, strict=True))


def _axis_params(
    elements: ElementGrid,
    x: Tensor,
    window: Window,
    window_axis: int,
    axis: int,
    count_padding: bool,
    is_unrolled: bool,
) -> dict[str, Any]:
    """The template parameters of an axis along which the window slides; numbers are constants where taps unroll."""

    def number(name: str, value: int) -> str:
        return elements.numbers.integer(f"{name}{axis}", value)

    kernel, dilation = window.kernel[window_axis], window.dilations[window_axis]
    extent, begin = x.shape[axis], window.begin[window_axis]
    reach = (window.out[window_axis] - 1) * window.strides[window_axis] + window.extents[window_axis] - begin
    return {
        "axis": axis,
        "position": elements.positions[axis],
        "stride": number("stride", window.strides[window_axis]),
        "begin": number("begin", begin),
        "kernel": str(kernel) if is_unrolled else number("kernel", kernel),
        "dilation": str(dilation) if is_unrolled else number("dilation", dilation),
        "extent": number("x_extent", extent),
        "whole": begin <= 0 and reach <= extent,
        "low": number("low", -begin if count_padding else 0),
        "high": number("high", extent + (window.end[window_axis] if count_padding else 0)),
    }


def _count(axis_param: dict[str, Any]) -> str:
    """The number of positions along an axis that count, as WGSL."""
    return str(axis_param["kernel"]) if axis_param["whole"] else f"count{axis_param['axis']}"


def _flat_index(elements: ElementGrid, x: Tensor, positions: Sequence[str], column_major: bool) -> str:
    """The index of a position in the flattened spatial axes, as WGSL."""
    axes = list(range(2, x.rank))
    terms, step = [], 1
    for axis in axes if column_major else reversed(axes):
        terms.append(f"({positions[axis]}) * {elements.numbers.integer(f'place_step{axis}', step)}")
        step *= x.shape[axis]
    return " + ".join(terms)


def _row_span(elements: ElementGrid, tensor: Tensor) -> Span | None:
    return None if elements.outer is None else axis_span(tensor, elements.outer)


def _window_span(elements: ElementGrid, x: Tensor, window: Window, axes: list[int]) -> Span | None:
    """The span of x: the elements under the windows of a range of rows."""
    outer = elements.outer
    if outer is None or outer not in axes:
        return _row_span(elements, x)
    window_axis, extent = axes.index(outer), x.shape[outer]

    def span(first: int, last: int) -> tuple[int, int]:
        begin = first * window.strides[window_axis] - window.begin[window_axis]
        end = (last - 1) * window.strides[window_axis] - window.begin[window_axis] + window.extents[window_axis]
        begin = max(0, min(begin, extent))
        return slice_span(x, outer, begin, max(begin, min(end, extent)))

    return span
