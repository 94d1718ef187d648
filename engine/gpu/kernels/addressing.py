"""Kernels of one invocation an element: where each stands in the result, and how WGSL addresses tensors from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.gpu.dispatch import INVOCATIONS, Operand, Span
from engine.gpu.tensor import Tensor, span_of


@dataclass(frozen=True, slots=True)
class Walk:
    """All positions of ``y`` in the order in which it lies in memory, for ``parts/position.wgsl``.

    Rows, which the plan may cut, are the positions of the outermost axis of more than one element.
    """

    y: Tensor

    @property
    def axes(self) -> list[int]:
        """The axes of more than one element, the outermost first."""
        return [axis for axis in self.y.order() if self.y.shape[axis] > 1]

    @property
    def outer(self) -> int | None:
        """The axis that counts the rows; None where there is one element."""
        return self.axes[0] if self.axes else None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return min(1, self.y.size) if self.outer is None else self.y.shape[self.outer]

    @property
    def row_items(self) -> int:
        """Elements of a row."""
        return self.y.size // max(1, self.rows)

    @property
    def positions(self) -> list[str]:
        """The position of an invocation on each axis, as WGSL."""
        return [f"i{axis}" if extent > 1 else "0" for axis, extent in enumerate(self.y.shape)]

    def params(self) -> dict[str, Any]:
        """What ``parts/position.wgsl`` and ``parts/linear.wgsl`` are given."""
        return {
            "inner": [(axis, self.y.shape[axis]) for axis in reversed(self.axes[1:])],
            "outer": self.outer,
            "row_items": self.row_items,
            "invocations": INVOCATIONS,
        }

    def grid(self, rows: int) -> int:
        """The workgroups of that many rows."""
        return -(-rows * self.row_items // INVOCATIONS)

    def operand(self, name: str, tensor: Tensor, along: int | None = None) -> Operand:
        """An operand of which a row touches only its position on axis ``along``, or all of it."""
        return Operand(name, tensor, None if along is None else box_span(tensor, along))

    def target(self, name: str = "y") -> Operand:
        """The operand that is written."""
        return self.operand(name, self.y, self.outer)

    def shared(self, name: str, tensor: Tensor, axes: Sequence[int | None]) -> Operand:
        """An operand whose axis ``a`` moves with axis ``axes[a]`` of y, or where that is None with none of them."""
        along = axes.index(self.outer) if self.outer is not None and self.outer in axes else None
        return self.operand(name, tensor, along)


def box_span(tensor: Tensor, along: int) -> Span:
    """The span of an operand of which row ``r`` touches what stands at ``r`` of axis ``along``, if anything does."""

    def span(first: int, last: int) -> tuple[int, int]:
        return slab(tensor, along, min(first, tensor.shape[along]), min(last, tensor.shape[along]))

    return span


def slab(tensor: Tensor, axis: int, first: int, last: int) -> tuple[int, int]:
    """The elements of the slot that positions ``first`` to before ``last`` of ``axis`` touch."""
    part = tensor.slice(axis, first, max(0, last - first))
    return span_of(part.offset, part.shape, part.strides)


def address(name: str, tensor: Tensor, positions: Sequence[str]) -> str:
    """The element of an operand at a position, as WGSL."""
    terms = [f"params.base_{name}"]
    for position, stride in zip(positions, tensor.strides, strict=True):
        if stride and position != "0":
            factor = position if position.isalnum() else f"({position})"
            terms.append(factor if stride == 1 else f"{factor} * {stride}")
    return f"{name}[{' + '.join(terms)}]"


def value_of(name: str, tensor: Tensor, positions: Sequence[str]) -> str:
    """``address`` as a value of the type that kernels compute in: float16 widens to f32."""
    item = address(name, tensor, positions)
    return f"f32({item})" if tensor.dtype == "f16" else item


def clamped_index(item: str, extent: int) -> str:
    """An index of the data on an axis of ``extent``, negative ones counted from the back, kept within the axis."""
    return f"clamp(select({item}, {item} + {extent}, {item} < 0), 0, {max(extent - 1, 0)})"
