"""Scatter, ScatterElements and ScatterND: a copy of x in which elements are replaced, or met by updates.

Without a reduction each update claims its target by its number, and the last claim wins; then every element takes its
update or what x holds. With one, every element looks through the updates in their order. Both give one result on every
run, whatever indices repeat, and that of the reference. Indices outside of x are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.dispatch import Dispatch, Operand
from engine.gpu.kernels.addressing import Walk, address, value_of
from engine.gpu.kernels.elementwise import copy
from engine.gpu.kernels.expressions import wrapped
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.scatter import REDUCTIONS
from engine.ops.types import normalize_axis


@dataclass(frozen=True, slots=True)
class _Updates:
    """Updates of x, numbered by one axis of theirs; what differs between an axis of elements and slices of them.

    Attributes:
        indices: the tensor of indices.
        values: the tensor of updates.
        numbered: the axis of ``values`` and ``indices`` that counts the updates that one element may meet.
        targets: the axes of x that indices stand for.
        depth: the axis of ``indices`` that lists those of one target; None where there is one.
        kept: for each axis of ``values`` the axis of x that it runs along with; None for ``numbered``.
    """

    indices: Tensor
    values: Tensor
    numbered: int
    targets: Sequence[int]
    depth: int | None
    kept: Sequence[int | None]

    def index_positions(self, place: Sequence[str], number: str, step: int) -> list[str]:
        """Where in ``indices`` the index for the target axis ``step`` of an update stands; ``place`` is that in x."""
        if self.depth is not None:
            return [number, str(step)]
        return [number if axis == self.numbered else place[axis] for axis in range(self.indices.rank)]

    def value_positions(self, place: Sequence[str], number: str) -> list[str]:
        """Where in ``values`` an update stands."""
        return [number if axis is None else place[axis] for axis in self.kept]


@lowers("Scatter", "ScatterElements")
def lower_scatter_elements(node: Node, low: Lowering) -> None:
    x, indices, updates = (low.input(node, index) for index in range(3))
    axis = normalize_axis(node.attr("axis", 0), x.rank)
    kept = [None if along == axis else along for along in range(x.rank)]
    _scatter(node, low, x, _Updates(indices, updates, axis, [axis], None, kept))


@lowers("ScatterND")
def lower_scatter_nd(node: Node, low: Lowering) -> None:
    x, indices, updates = (low.input(node, index) for index in range(3))
    depth = indices.shape[-1]
    count = int(np.prod(indices.shape[:-1]))
    indices = low.reshaped(indices, (count, depth))
    updates = low.reshaped(updates, (count, *x.shape[depth:]))
    _scatter(node, low, x, _Updates(indices, updates, 0, range(depth), 1, [None, *range(depth, x.rank)]))


def _scatter(node: Node, low: Lowering, x: Tensor, updates: _Updates) -> None:
    reduction = node.attr("reduction", "none")
    if not updates.values.size:
        low.hand_on(node, x)
    elif reduction == "none":
        claimed = _claim(low, x, updates)
        y = low.output(node, reads=[x, claimed, updates.values], order=x.order())
        _choose(low, x, updates, claimed, y)
    elif reduction in REDUCTIONS:
        y = low.output(node, reads=[x, updates.indices, updates.values], order=x.order())
        _reduce(node, low, x, updates, y)
    else:
        raise UnsupportedError(f"{node.label}: reduction '{reduction}'")


def _claimable(x: Tensor, updates: _Updates) -> list[int]:
    """The axes of x that a claim tells apart: all of them for elements, those that indices stand for with slices."""
    return list(range(x.rank)) if updates.depth is None else list(updates.targets)


def _claim(low: Lowering, x: Tensor, updates: _Updates) -> Tensor:
    axes = _claimable(x, updates)
    claimed = low.scratch([x.shape[axis] for axis in axes], "u32", f"{low.node.output.name}:claimed")
    zero = low.constant(np.zeros((), np.uint32), "zero")
    copy(zero.broadcast_to(claimed.shape), claimed, low)
    named = updates.indices if updates.depth is None else updates.indices.slice(1, 0, 1)
    walk = Walk(named)
    number = walk.positions[updates.numbered]
    items = [
        address("indices", updates.indices, updates.index_positions(walk.positions, number, step))
        for step in range(len(updates.targets))
    ]
    targets = {axis: f"p{step}" for step, axis in enumerate(updates.targets)}
    along = None if updates.depth is not None or walk.outer == updates.numbered else walk.outer
    reads = [walk.operand("indices", updates.indices, walk.outer)] if items else []
    place = [targets.get(axis) or walk.positions[axis] for axis in axes]
    low.dispatch(
        Dispatch(
            kernel="scatter_claim",
            params={
                **walk.params(),
                "indices": [
                    {"item": item, "extent": x.shape[axis]} for item, axis in zip(items, updates.targets, strict=True)
                ],
                "target": address("claimed", claimed, place),
                "number": number,
            },
            reads=reads,
            writes=[Operand("claimed", claimed, walk.operand("claimed", claimed, along).span, atomic=True)],
            rows=walk.rows,
            grid=walk.grid,
        )
    )
    return claimed


def _choose(low: Lowering, x: Tensor, updates: _Updates, claimed: Tensor, y: Tensor) -> None:
    walk = Walk(y)
    axes = _claimable(x, updates)
    low.dispatch(
        Dispatch(
            kernel="scatter_choose",
            params={
                **walk.params(),
                "claim": address("claimed", claimed, [walk.positions[axis] for axis in axes]),
                "source": value_of("x", x, walk.positions),
                "update": value_of("updates", updates.values, updates.value_positions(walk.positions, "number")),
                "target": address("y", y, walk.positions),
                "item": y.dtype,
            },
            reads=[
                walk.operand("x", x, walk.outer),
                walk.shared("claimed", claimed, axes),
                walk.shared("updates", updates.values, updates.kept),
            ],
            writes=[walk.target()],
            rows=walk.rows,
            grid=walk.grid,
        )
    )


def _reduce(node: Node, low: Lowering, x: Tensor, updates: _Updates, y: Tensor) -> None:
    walk = Walk(y)
    dtype = "f32" if x.dtype == "f16" else x.dtype
    reduction = node.attr("reduction", "none")
    if node.output.dtype == np.bool_:
        # booleans are 0 and 1: their sum is their maximum, their product the minimum
        reduction = {"add": "max", "mul": "min"}.get(reduction, reduction)
    within = []
    if updates.depth is None:
        within = [
            f"{walk.positions[axis]} < {extent}"
            for axis, extent in enumerate(updates.indices.shape)
            if axis != updates.numbered and extent < x.shape[axis]
        ]
    indices: list[dict[str, Any]] = [
        {
            "item": address("indices", updates.indices, updates.index_positions(walk.positions, "k", step)),
            "position": walk.positions[axis],
            "extent": x.shape[axis],
        }
        for step, axis in enumerate(updates.targets)
    ]
    beside = updates.kept if updates.depth is None else [None, None]
    reads = [walk.shared("indices", updates.indices, beside)] if indices else []
    result = "value" if node.output.dtype == np.bool_ else wrapped("value", node.output.dtype)
    low.dispatch(
        Dispatch(
            kernel="scatter_reduce",
            params={
                **walk.params(),
                "reduction": reduction,
                "dtype": dtype,
                "count": updates.values.shape[updates.numbered],
                "within": " && ".join(within),
                "indices": indices,
                "source": value_of("x", x, walk.positions),
                "update": value_of("updates", updates.values, updates.value_positions(walk.positions, "k")),
                "result": result,
                "target": address("y", y, walk.positions),
                "item": y.dtype,
            },
            reads=[
                walk.operand("x", x, walk.outer),
                *reads,
                walk.shared("updates", updates.values, updates.kept),
            ],
            writes=[walk.target()],
            rows=walk.rows,
            grid=walk.grid,
            flops=y.size * updates.values.shape[updates.numbered],
        )
    )
