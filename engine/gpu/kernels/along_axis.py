"""ArgMax, ArgMin, Hardmax, TopK, CumSum and CumProd: one axis, the line, for every position on the others."""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.dispatch import Dispatch
from engine.gpu.kernels.addressing import Walk, address, value_of
from engine.gpu.kernels.diagonal import one_hot
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.topk import k_of as wanted
from engine.ops.types import normalize_axis


@lowers("ArgMax", "ArgMin")
def lower_arg_extreme(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    keeps = bool(node.attr("keepdims", 1))
    order = x.order() if keeps else [along - (along > axis) for along in x.order() if along != axis]
    y = low.output(node, reads=[x], order=order)
    # the axis is there, of extent 1, whether or not the output keeps it
    kept = y.reshape(tuple(1 if along == axis else extent for along, extent in enumerate(x.shape)))
    assert kept is not None
    last = bool(node.attr("select_last_index", 0))
    arg_extreme(low, x, axis, kept, largest=node.op == "ArgMax", last=last)


def arg_extreme(low: Lowering, x: Tensor, axis: int, y: Tensor, *, largest: bool = True, last: bool = False) -> None:
    """Add the dispatch that writes the position of the extreme along ``axis`` to y, of extent 1 on it."""
    if not y.size:
        return
    walk = Walk(y)
    line = list(walk.positions)
    if x.rank:
        line[axis] = "k"
    low.dispatch(
        Dispatch(
            kernel="arg_extreme",
            params={
                **walk.params(),
                "extent": x.shape[axis] if x.rank else 1,
                "element": value_of("x", x, line),
                "target": address("y", y, walk.positions),
                "dtype": "f32" if x.dtype == "f16" else x.dtype,
                "largest": largest,
                "last": last,
                "nan_above": largest,
            },
            reads=[walk.operand("x", x, walk.outer)],
            writes=[walk.target()],
            rows=walk.rows,
            grid=walk.grid,
        )
    )


@lowers("Hardmax")
def lower_hardmax(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    if node.version >= 13:
        rows, axis = x, normalize_axis(node.attr("axis", -1), x.rank)
    else:
        lead = normalize_axis(node.attr("axis", 1), x.rank + 1)
        rows, axis = low.reshaped(x, (*x.shape[:lead], int(np.prod(x.shape[lead:])))), lead
    found = low.scratch((*rows.shape[:axis], 1, *rows.shape[axis + 1 :]), "i32", f"{node.output.name}:index")
    arg_extreme(low, rows, axis, found)
    index = low.reshaped(found, (*rows.shape[:axis], *rows.shape[axis + 1 :]))
    values = low.constant(np.array([0, 1], node.output.dtype), "hot")
    if rows.shape == x.shape:
        one_hot(low, index, values, axis, low.output(node, reads=[index, values]))
        return
    hot = low.scratch(rows.shape, low.storage(node.output.dtype, x.size), f"{node.output.name}:hot")
    one_hot(low, index, values, axis, hot)
    low.hand_on(node, low.reshaped(hot, x.shape))


@lowers("TopK")
def lower_top_k(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    axis, k = normalize_axis(node.attr("axis", -1), x.rank), wanted(node)
    largest = bool(node.attr("largest", 1))
    y = low.output(node, reads=[x], order=x.order())
    places = low.output(node, 1, reads=[x], order=x.order()) if any(node.outputs[1:]) else None
    if not y.size:
        return
    walk = Walk(x)
    # rows along the axis itself read and write all of it
    along = None if walk.outer == axis else walk.outer
    other, place = list(walk.positions), list(walk.positions)
    other[axis], place[axis] = "k", "place"
    writes = [walk.operand("y", y, along)]
    writes += [] if places is None else [walk.operand("places", places, along)]
    low.dispatch(
        Dispatch(
            kernel="top_k",
            params={
                **walk.params(),
                "extent": x.shape[axis],
                "k": k,
                "element": value_of("x", x, walk.positions),
                "other": value_of("x", x, other),
                "position": walk.positions[axis],
                "target": address("y", y, place),
                "indices": "" if places is None else address("places", places, place),
                "item": y.dtype,
                "dtype": "f32" if x.dtype == "f16" else x.dtype,
                "largest": largest,
                "nan_above": True,
            },
            reads=[walk.operand("x", x, along)],
            writes=writes,
            rows=walk.rows,
            grid=walk.grid,
        )
    )


@lowers("CumSum", "CumProd")
def lower_cumulative(node: Node, low: Lowering) -> None:
    x, given = low.input(node, 0), node.constant(1)
    if given is None:
        raise UnsupportedError(f"{node.label}: backend 'webgpu' needs the axis at load; bind it to a value")
    axis = normalize_axis(int(given.item()), x.rank)
    y = low.output(node, reads=[x], order=x.order())
    if not y.size:
        return
    walk = Walk(y.slice(axis, 0, 1) if x.rank else y)
    line = list(walk.positions)
    if x.rank:
        line[axis] = "k"
    neutral = "0" if node.op == "CumSum" else "1"
    low.dispatch(
        Dispatch(
            kernel="cumulative",
            params={
                **walk.params(),
                "extent": x.shape[axis] if x.rank else 1,
                "infix": "+" if node.op == "CumSum" else "*",
                "neutral": f"{'f32' if x.dtype == 'f16' else x.dtype}({neutral})",
                "exclusive": bool(node.attr("exclusive", 0)),
                "reverse": bool(node.attr("reverse", 0)),
                "element": value_of("x", x, line),
                "target": address("y", y, line),
                "item": y.dtype,
            },
            reads=[walk.operand("x", x, walk.outer)],
            writes=[walk.operand("y", y, walk.outer)],
            rows=walk.rows,
            grid=walk.grid,
            flops=y.size,
        )
    )
