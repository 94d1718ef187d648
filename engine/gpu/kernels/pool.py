"""MaxPool, AveragePool, LpPool and LRN: a window that slides over some axes, its elements joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from engine.gpu.dispatch import Dispatch, Operand, Span
from engine.gpu.kernels.addressing import Walk, address, box_span, slab
from engine.gpu.kernels.elementwise import Tree, emit
from engine.gpu.kernels.expressions import functions_in, kind_of, literal
from engine.gpu.kernels.vec4 import ALIASES, in_items, item_operand, item_width, narrow, wide
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor, channels_last
from engine.graph.ir import Node
from engine.ops.pool import lowest, pool_window
from engine.ops.window import Window

MOST_UNROLLED = 16
"""Window positions up to which each has its own statement; the loads of them all are under way at once."""


@dataclass(frozen=True, slots=True)
class Join:
    """What becomes of the elements under a window.

    ``step`` makes the next ``total`` of ``total`` and the element ``v``, beginning with ``start``; ``result`` is an
    expression of the last total, and of ``count`` where that is asked for.
    """

    start: str
    step: str
    result: str = "total"


@lowers("MaxPool")
def lower_max_pool(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    kind = kind_of(node.output.dtype)
    join = Join(literal(lowest(node.output.dtype), kind), "larger(total, v)" if kind == "F" else "max(total, v)")
    order = channels_last(x.rank)
    y = low.output(node, order=order, reads=[x])
    places = low.output(node, 1, order=order, reads=[x]) if low.wanted(node, 1) else None
    column_major = bool(node.attr("storage_order", 0))
    pool(low, x, y, pool_window(node, x.shape), join, places=places, column_major=column_major)


@lowers("AveragePool")
def lower_average_pool(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    y = low.output(node, order=channels_last(x.rank), reads=[x])
    window, padded = pool_window(node, x.shape), bool(node.attr("count_include_pad", 0))
    pool(low, x, y, window, Join("F(0.0)", "total + v", "total / F(count)"), counted=True, count_padding=padded)


@lowers("LpPool")
def lower_lp_pool(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    y = low.output(node, order=channels_last(x.rank), reads=[x])
    p = node.attr("p", 2)
    pool(low, x, y, pool_window(node, x.shape), Join("F(0.0)", f"total + {power('v', p)}", root("total", p)))


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
def lower_lrn(node: Node, low: Lowering) -> None:
    x, size = low.input(node, 0), node.attr("size")
    y = low.output(node, order=x.order(), reads=[x])
    channels = x.shape[1]
    window = Window((size,), (1,), (1,), ((size - 1) // 2,), (size // 2,), (channels,))
    squares = low.scratch(x.shape, "f32", f"{node.output.name}:squares", y.order())
    pool(low, x, squares, window, Join("F(0.0)", "total + v * v"), axes=(1,))
    scale, bias = literal(node.attr("alpha", 1e-4) / size), literal(node.attr("bias", 1.0))
    divisor = f"power({bias} + {scale} * a1, {literal(node.attr('beta', 0.75))})"
    tree = Tree(lines=[f"let value = a0 / {divisor};"], result="value")
    emit(tree, [("a0", x, node.output.dtype), ("a1", squares, np.dtype(np.float32))], y, node.output.dtype, low)


def pool(
    low: Lowering,
    x: Tensor,
    y: Tensor,
    window: Window,
    join: Join,
    *,
    axes: Sequence[int] | None = None,
    counted: bool = False,
    count_padding: bool = False,
    places: Tensor | None = None,
    column_major: bool = False,
) -> None:
    """Add the dispatch that joins what of x lies under ``window``, which slides over ``axes`` (default: spatial ones).

    ``places``, of the shape of y, takes the index of each largest element in the flattened x, its spatial part counted
    with the first axis fastest if ``column_major``. ``counted`` counts the elements under the window, or, with
    ``count_padding``, elements and padding.
    """
    if not y.size:
        return
    if y.shape[0] > 1 and max(x.nbytes, y.nbytes) > low.binding_limit and places is None:
        # rows, by which ranges are cut, are whole images otherwise
        for image in range(y.shape[0]):
            one, other = x.slice(0, image, 1), y.slice(0, image, 1)
            pool(low, one, other, window, join, axes=axes, counted=counted, count_padding=count_padding)
        return
    axes = range(2, x.rank) if axes is None else axes
    width = 1 if places is not None or 1 in axes else item_width([x, y])
    items = in_items(x, width)
    walk = Walk(in_items(y, width))
    moves = [_move(walk, items, window, at, axis, count_padding) for at, axis in enumerate(axes)]
    unrolled = window.taps <= MOST_UNROLLED
    kind = ALIASES[x.dtype]

    def tap(offsets: dict[int, str]) -> dict[str, str]:
        positions = list(walk.positions)
        for axis, offset in offsets.items():
            positions[axis] = f"o{axis}{offset}"
        inside = [f"u32({positions[move['axis']]}) < {move['extent']}u" for move in moves if not move["whole"]]
        return {
            "inside": " && ".join(inside),
            "element": wide(address("x", items, positions), x.dtype),
            "place": _place(x, positions, column_major),
        }

    if unrolled:
        steps = [[f" + {tap * d}" if tap else "" for tap in range(k)] for k, d in _taps(window)]
    else:
        steps = [[f" + t{axis} * {d}"] for axis, (_, d) in zip(axes, _taps(window), strict=True)]
    planes = prod(x.shape[2:])
    writes = [item_operand("y", y, width, _along(walk, walk.y))]
    writes += [] if places is None else [Operand("places", places, _along(walk, places))]
    low.dispatch(
        Dispatch(
            kernel="pool",
            params={
                **walk.params(),
                "vec": width,
                "type": kind,
                "functions": functions_in([join.start, join.step, join.result, "" if places is None else "is_nan()"]),
                "moves": moves,
                "looped": not unrolled,
                "taps": [tap(dict(zip(axes, offsets, strict=True))) for offsets in product(*steps)],
                "start": join.start,
                "join": join.step,
                "counted": " * ".join(_count(move) for move in moves) if counted else "",
                "target": address("y", walk.y, walk.positions),
                "result": narrow(join.result, y.dtype, width),
                "arg": "" if places is None else address("places", places, walk.positions),
                "plane": f"({walk.positions[0]} * {x.shape[1]} + {walk.positions[1]}) * {planes}",
            },
            reads=[item_operand("x", x, width, _window_span(walk, items, window, list(axes)))],
            writes=writes,
            rows=walk.rows,
            grid=walk.grid,
            flops=y.size * window.taps,
        )
    )


def _taps(window: Window) -> list[tuple[int, int]]:
    """(positions, dilation) of each axis of the window."""
    return list(zip(window.kernel, window.dilations, strict=True))


def _move(walk: Walk, x: Tensor, window: Window, at: int, axis: int, count_padding: bool) -> dict[str, Any]:
    """What the kernel is told of an axis along which the window moves."""
    extent, begin = x.shape[axis], window.begin[at]
    reach = (window.out[at] - 1) * window.strides[at] + window.extents[at] - begin
    return {
        "axis": axis,
        "position": walk.positions[axis],
        "stride": window.strides[at],
        "begin": begin,
        "kernel": window.kernel[at],
        "dilation": window.dilations[at],
        "extent": extent,
        "whole": begin <= 0 and reach <= extent,
        "low": -begin if count_padding else 0,
        "high": extent + (window.end[at] if count_padding else 0),
    }


def _count(move: dict[str, Any]) -> str:
    """How many positions along an axis count."""
    return str(move["kernel"]) if move["whole"] else f"count{move['axis']}"


def _place(x: Tensor, positions: Sequence[str], column_major: bool) -> str:
    """The index of a position among the spatial ones, as WGSL."""
    axes = list(range(2, x.rank))
    terms, step = [], 1
    for axis in axes if column_major else reversed(axes):
        terms.append(f"({positions[axis]}) * {step}")
        step *= x.shape[axis]
    return " + ".join(terms)


def _along(walk: Walk, tensor: Tensor) -> Span | None:
    return None if walk.outer is None else box_span(tensor, walk.outer)


def _window_span(walk: Walk, x: Tensor, window: Window, axes: list[int]) -> Span | None:
    """What the windows of a range of rows touch of x."""
    outer = walk.outer
    if outer is None or outer not in axes:
        return _along(walk, x)
    at, extent = axes.index(outer), x.shape[outer]

    def span(first: int, last: int) -> tuple[int, int]:
        low = first * window.strides[at] - window.begin[at]
        high = (last - 1) * window.strides[at] - window.begin[at] + window.extents[at]
        low = max(0, min(low, extent))
        return slab(x, outer, low, max(low, min(high, extent)))

    return span
