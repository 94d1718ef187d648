"""Scatter, ScatterElements and ScatterND: a copy of x in which updates replace elements, or are combined with them.

Without a reduction each update claims its target by its number, and the last claim wins; then every element is its
update or the element of x. With a reduction every element applies its updates in their order. Both have the result of
the reference, the same on every run, whatever indices repeat. Indices outside of x are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.dispatch import Dispatch, Operand
from engine.gpu.program.expressions import wrap
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.scatter import REDUCTIONS
from engine.ops.types import normalize_axis


@dataclass(frozen=True, slots=True)
class _Updates:
    """Updates of x, of elements along one axis or of slices, numbered along one axis.

    Attributes:
        indices: the tensor of indices.
        values: the tensor of updates.
        update_axis: the axis of ``values`` and ``indices`` that numbers the updates that one element may have.
        target_axes: the axes of x that indices address.
        depth: the axis of ``indices`` that lists the indices of one target; None where a target has one index.
        value_axes: for each axis of ``values`` the axis of x with the same position; None for ``update_axis``.
    """

    indices: Tensor
    values: Tensor
    update_axis: int
    target_axes: Sequence[int]
    depth: int | None
    value_axes: Sequence[int | None]

    def index_positions(self, positions: Sequence[str], number: str, step: int) -> list[str]:
        """The position in ``indices`` of the index on target axis ``step`` of update ``number``, from that in x."""
        if self.depth is not None:
            return [number, str(step)]
        return [number if axis == self.update_axis else positions[axis] for axis in range(self.indices.rank)]

    def value_positions(self, positions: Sequence[str], number: str) -> list[str]:
        """The position in ``values`` of update ``number``, from that in x."""
        return [number if axis is None else positions[axis] for axis in self.value_axes]


@lowers("Scatter", "ScatterElements")
def lower_scatter_elements(node: Node, lowering: Lowering) -> None:
    x, indices, updates = (lowering.input(node, index) for index in range(3))
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    value_axes = [None if other == axis else other for other in range(x.rank)]
    _scatter(
        node,
        lowering,
        x,
        _Updates(indices, updates, update_axis=axis, target_axes=[axis], depth=None, value_axes=value_axes),
    )


@lowers("ScatterND")
def lower_scatter_nd(node: Node, lowering: Lowering) -> None:
    x, indices, updates = (lowering.input(node, index) for index in range(3))
    depth = indices.shape[-1]
    count = int(np.prod(indices.shape[:-1]))
    indices = lowering.reshape(indices, (count, depth))
    updates = lowering.reshape(updates, (count, *x.shape[depth:]))
    _scatter(
        node,
        lowering,
        x,
        _Updates(
            indices, updates, update_axis=0, target_axes=range(depth), depth=1, value_axes=[None, *range(depth, x.rank)]
        ),
    )


def _scatter(node: Node, lowering: Lowering, x: Tensor, updates: _Updates) -> None:
    reduction = node.attr("reduction", "none")
    if not updates.values.size:
        lowering.alias(node, x)
    elif reduction == "none":
        claims = _claim(lowering, x, updates)
        y = lowering.output(node, reads=[x, claims, updates.values], order=x.order())
        _choose(lowering, x, updates, claims=claims, y=y)
    elif reduction in REDUCTIONS:
        y = lowering.output(node, reads=[x, updates.indices, updates.values], order=x.order())
        _reduce(node, lowering, x, updates=updates, y=y)
    else:
        raise UnsupportedError(f"{node.label}: reduction '{reduction}'")


def _claim_axes(x: Tensor, updates: _Updates) -> list[int]:
    """The axes of x that claims have: all of them for elements, the target axes for slices."""
    return list(range(x.rank)) if updates.depth is None else list(updates.target_axes)


def _claim(lowering: Lowering, x: Tensor, updates: _Updates) -> Tensor:
    axes = _claim_axes(x, updates)
    claims = lowering.scratch([x.shape[axis] for axis in axes], "u32", f"{lowering.node.output.name}:claimed")
    zero = lowering.constant(np.zeros((), np.uint32), "zero")
    lowering.copy(zero.broadcast_to(claims.shape), claims)
    index_view = updates.indices if updates.depth is None else updates.indices.slice(1, 0, 1)
    elements = ElementGrid(index_view)
    number = elements.positions[updates.update_axis]
    items = [
        elements.address("indices", updates.indices, updates.index_positions(elements.positions, number, step))
        for step in range(len(updates.target_axes))
    ]
    target_positions = {axis: f"p{step}" for step, axis in enumerate(updates.target_axes)}
    row_axis = None if updates.depth is not None or elements.outer == updates.update_axis else elements.outer
    reads = [elements.operand("indices", updates.indices, elements.outer)] if items else []
    claim_positions = [target_positions.get(axis) or elements.positions[axis] for axis in axes]
    lowering.dispatch(
        Dispatch(
            kernel="scatter_claim",
            params={
                **elements.params(),
                "indices": [
                    {"item": item, "extent": elements.numbers.integer(f"x_extent{axis}", x.shape[axis])}
                    for item, axis in zip(items, updates.target_axes, strict=True)
                ],
                "target": elements.address("claimed", claims, claim_positions),
                "number": number,
            },
            reads=reads,
            writes=[Operand("claimed", claims, elements.operand("claimed", claims, row_axis).span, atomic=True)],
            rows=elements.rows,
            grid=elements.grid,
            uniforms=elements.numbers.uniforms,
        )
    )
    return claims


def _choose(lowering: Lowering, x: Tensor, updates: _Updates, claims: Tensor, y: Tensor) -> None:
    elements = ElementGrid(y)
    axes = _claim_axes(x, updates)
    lowering.dispatch(
        elements.dispatch(
            "scatter_choose",
            params={
                "claim": elements.address("claimed", claims, [elements.positions[axis] for axis in axes]),
                "source": elements.value_of("x", x, elements.positions),
                "update": elements.value_of(
                    "updates", updates.values, updates.value_positions(elements.positions, "number")
                ),
            },
            reads=[
                elements.operand("x", x, elements.outer),
                elements.mapped_operand("claimed", claims, axes),
                elements.mapped_operand("updates", updates.values, updates.value_axes),
            ],
        )
    )


def _reduce(node: Node, lowering: Lowering, x: Tensor, updates: _Updates, y: Tensor) -> None:
    elements = ElementGrid(y)
    dtype = "f32" if x.dtype == "f16" else x.dtype
    reduction = node.attr("reduction", "none")
    if node.output.dtype == np.bool_:
        # booleans are 0 and 1: their sum is their maximum, their product their minimum
        reduction = {"add": "max", "mul": "min"}.get(reduction, reduction)
    within = []
    if updates.depth is None:
        within = [
            f"{elements.positions[axis]} < {elements.numbers.integer(f'updates_extent{axis}', extent)}"
            for axis, extent in enumerate(updates.indices.shape)
            if axis != updates.update_axis and extent < x.shape[axis]
        ]
    indices: list[dict[str, Any]] = [
        {
            "item": elements.address(
                "indices", updates.indices, updates.index_positions(elements.positions, "k", step)
            ),
            "position": elements.positions[axis],
            "extent": elements.extent(axis),
        }
        for step, axis in enumerate(updates.target_axes)
    ]
    index_axes = updates.value_axes if updates.depth is None else [None, None]
    reads = [elements.mapped_operand("indices", updates.indices, index_axes)] if indices else []
    result = "value" if node.output.dtype == np.bool_ else wrap("value", node.output.dtype)
    lowering.dispatch(
        elements.dispatch(
            "scatter_reduce",
            params={
                "reduction": reduction,
                "dtype": dtype,
                "count": elements.numbers.integer("updates_count", updates.values.shape[updates.update_axis]),
                "within": " && ".join(within),
                "indices": indices,
                "source": elements.value_of("x", x, elements.positions),
                "update": elements.value_of(
                    "updates", updates.values, updates.value_positions(elements.positions, "k")
                ),
                "result": result,
            },
            reads=[
                elements.operand("x", x, elements.outer),
                *reads,
                elements.mapped_operand("updates", updates.values, updates.value_axes),
            ],
            flops=y.size * updates.values.shape[updates.update_axis],
        )
    )
