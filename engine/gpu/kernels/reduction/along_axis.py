"""ArgMax, ArgMin, Hardmax, TopK, CumSum and CumProd: along one axis, for every position on the others."""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.kernels.indexing.diagonal import one_hot
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.dispatch import Dispatch
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.topk import k_of
from engine.ops.types import normalize_axis


@lowers("ArgMax", "ArgMin")
def lower_arg_extreme(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    keepdims = bool(node.attr("keepdims", 1))
    order = x.order() if keepdims else [other - (other > axis) for other in x.order() if other != axis]
    y = lowering.output(node, reads=[x], order=order)
    # the kernel writes a tensor that has the axis, of extent 1, whether or not the output has it
    y_with_axis = y.view(tuple(1 if other == axis else extent for other, extent in enumerate(x.shape)))
    last = bool(node.attr("select_last_index", 0))
    arg_extreme(lowering, x, axis, y_with_axis, largest=node.op == "ArgMax", last=last)


def arg_extreme(
    lowering: Lowering, x: Tensor, axis: int, y: Tensor, *, largest: bool = True, last: bool = False
) -> None:
    """Add the dispatch that writes the position of the extreme along ``axis`` to y, whose extent on it is 1."""
    if not y.size:
        return
    elements = ElementGrid(y)
    element_positions = list(elements.positions)
    if x.rank:
        element_positions[axis] = "k"
    lowering.dispatch(
        elements.dispatch(
            "arg_extreme",
            params={
                "extent": elements.numbers.integer("length", x.shape[axis] if x.rank else 1),
                "element": elements.value_of("x", x, element_positions),
                "dtype": "f32" if x.dtype == "f16" else x.dtype,
                "largest": largest,
                "last": last,
                "nan_above": largest,
            },
            reads=[elements.operand("x", x, elements.outer)],
        )
    )


@lowers("Hardmax")
def lower_hardmax(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    if node.version >= 13:
        rows, axis = x, normalize_axis(node.attr("axis", -1), x.rank)
    else:
        lead = normalize_axis(node.attr("axis", 1), x.rank + 1)
        rows, axis = lowering.reshape(x, (*x.shape[:lead], int(np.prod(x.shape[lead:])))), lead
    argmax = lowering.scratch((*rows.shape[:axis], 1, *rows.shape[axis + 1 :]), "i32", f"{node.output.name}:index")
    arg_extreme(lowering, rows, axis, argmax)
    index = lowering.reshape(argmax, (*rows.shape[:axis], *rows.shape[axis + 1 :]))
    values = lowering.constant(np.array([0, 1], node.output.dtype), "hot")
    if rows.shape == x.shape:
        one_hot(lowering, index, values, axis=axis, y=lowering.output(node, reads=[index, values]))
        return
    y = lowering.scratch(rows.shape, lowering.storage(node.output.dtype), f"{node.output.name}:hot")
    one_hot(lowering, index, values, axis=axis, y=y)
    lowering.alias(node, lowering.reshape(y, x.shape))


@lowers("TopK")
def lower_top_k(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    axis, k = normalize_axis(node.attr("axis", -1), x.rank), k_of(node)
    largest = bool(node.attr("largest", 1))
    y = lowering.output(node, reads=[x], order=x.order())
    indices = lowering.output(node, 1, reads=[x], order=x.order()) if any(node.outputs[1:]) else None
    if not y.size:
        return
    elements = ElementGrid(x)
    # where the rows lie along the axis itself, each reads and writes all of it
    row_axis = None if elements.outer == axis else elements.outer
    other_positions, target_positions = list(elements.positions), list(elements.positions)
    other_positions[axis], target_positions[axis] = "k", "place"
    writes = [elements.operand("y", y, row_axis)]
    writes += [] if indices is None else [elements.operand("places", indices, row_axis)]
    lowering.dispatch(
        Dispatch(
            kernel="top_k",
            params={
                **elements.params(),
                "extent": elements.numbers.integer("length", x.shape[axis]),
                "k": elements.numbers.integer("k", k),
                "element": elements.value_of("x", x, elements.positions),
                "other": elements.value_of("x", x, other_positions),
                "position": elements.positions[axis],
                "target": elements.address("y", y, target_positions),
                "indices": "" if indices is None else elements.address("places", indices, target_positions),
                "item": y.dtype,
                "dtype": "f32" if x.dtype == "f16" else x.dtype,
                "largest": largest,
                "nan_above": True,
            },
            reads=[elements.operand("x", x, row_axis)],
            writes=writes,
            rows=elements.rows,
            grid=elements.grid,
            uniforms=elements.numbers.uniforms,
        )
    )


@lowers("CumSum", "CumProd")
def lower_cumulative(node: Node, lowering: Lowering) -> None:
    x, axis_array = lowering.input(node, 0), node.constant(1)
    if axis_array is None:
        raise UnsupportedError(f"{node.label}: backend 'webgpu' needs the axis at load; bind it to a value")
    axis = normalize_axis(int(axis_array.item()), x.rank)
    y = lowering.output(node, reads=[x], order=x.order())
    if not y.size:
        return
    elements = ElementGrid(y.slice(axis, 0, 1) if x.rank else y)
    element_positions = list(elements.positions)
    if x.rank:
        element_positions[axis] = "k"
    neutral = "0" if node.op == "CumSum" else "1"
    lowering.dispatch(
        Dispatch(
            kernel="cumulative",
            params={
                **elements.params(),
                "extent": elements.numbers.integer("length", x.shape[axis] if x.rank else 1),
                "infix": "+" if node.op == "CumSum" else "*",
                "neutral": f"{'f32' if x.dtype == 'f16' else x.dtype}({neutral})",
                "exclusive": bool(node.attr("exclusive", 0)),
                "reverse": bool(node.attr("reverse", 0)),
                "element": elements.value_of("x", x, element_positions),
                "target": elements.address("y", y, element_positions),
                "item": y.dtype,
            },
            reads=[elements.operand("x", x, elements.outer)],
            writes=[elements.operand("y", y, elements.outer)],
            rows=elements.rows,
            grid=elements.grid,
            uniforms=elements.numbers.uniforms,
            flops=y.size,
        )
    )
