"""Kernels of one invocation an element: its position in the result, and how WGSL addresses tensors by positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, Span
from engine.gpu.program.numbers import Numbers
from engine.gpu.program.tensor import Tensor, span_of


@dataclass(frozen=True, slots=True)
class ElementGrid:
    """One invocation for each element of ``y``, in the order of memory, for ``parts/position.wgsl``.

    The rows of the dispatch are the positions of the outermost axis of more than one element. ``numbers`` are the
    uniforms of the dispatch.
    """

    y: Tensor
    numbers: Numbers = field(default_factory=Numbers)

    @property
    def axes(self) -> list[int]:
        """The axes of more than one element, the outermost first."""
        return [axis for axis in self.y.order() if self.y.shape[axis] > 1]

    @property
    def outer(self) -> int | None:
        """The axis whose positions are the rows; None where there is one element."""
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
        """The template parameters of ``parts/position.wgsl`` and ``parts/linear.wgsl``."""
        return {
            "inner": [(axis, self.extent(axis)) for axis in reversed(self.axes[1:])],
            "outer": self.outer,
            "row_items": self.numbers.integer("row_items", self.row_items),
            "invocations": INVOCATIONS,
        }

    def extent(self, axis: int) -> str:
        """The extent of y on ``axis``, as WGSL."""
        return self.numbers.integer(f"extent{axis}", self.y.shape[axis])

    def address(self, name: str, tensor: Tensor, positions: Sequence[str]) -> str:
        """The element of an operand at a position, as WGSL."""
        return f"{name}[{self.numbers.index(name, tensor.strides, positions)}]"

    def value_of(self, name: str, tensor: Tensor, positions: Sequence[str]) -> str:
        """``address`` as a value of the type that kernels compute in: float16 widens to f32."""
        item = self.address(name, tensor, positions)
        return f"f32({item})" if tensor.dtype == "f16" else item

    def clamped_index(self, item: str, name: str, extent: int) -> str:
        """An index from the data on an axis of ``extent``, clamped to it; negative ones count from the end.

        ``name`` is that of the uniform that holds the extent.
        """
        size = self.numbers.integer(name, extent)
        return f"clamp(select({item}, {item} + {size}, {item} < 0), 0, max({size} - 1, 0))"

    def grid(self, rows: int) -> int:
        """The workgroups of ``rows`` rows."""
        return -(-rows * self.row_items // INVOCATIONS)

    def dispatch(self, kernel: str, params: Mapping[str, Any], reads: Sequence[Operand], flops: int = 0) -> Dispatch:
        """The dispatch of a kernel that writes ``y``, with ``params`` beside those that every such kernel has.

        These are ``params()``, ``target``, the element of y that an invocation writes, and ``item``, its WGSL type.
        """
        return Dispatch(
            kernel=kernel,
            params={
                **self.params(),
                "target": self.address("y", self.y, self.positions),
                "item": self.y.dtype,
                **params,
            },
            reads=reads,
            writes=[self.target()],
            rows=self.rows,
            grid=self.grid,
            uniforms=self.numbers.uniforms,
            flops=flops,
        )

    def operand(self, name: str, tensor: Tensor, row_axis: int | None = None) -> Operand:
        """An operand of which row ``r`` touches position ``r`` of ``row_axis``, or where that is None all of it."""
        return Operand(name, tensor, None if row_axis is None else axis_span(tensor, row_axis))

    def target(self, name: str = "y") -> Operand:
        """The operand of ``y``, which the kernel writes."""
        return self.operand(name, self.y, self.outer)

    def mapped_operand(self, name: str, tensor: Tensor, axes: Sequence[int | None]) -> Operand:
        """An operand whose axis ``a`` has the position of y on axis ``axes[a]``, or any position where that is None."""
        row_axis = axes.index(self.outer) if self.outer is not None and self.outer in axes else None
        return self.operand(name, tensor, row_axis)


def axis_span(tensor: Tensor, axis: int) -> Span:
    """The span of an operand of which row ``r`` touches position ``r`` of ``axis``, if there is one."""

    def span(first: int, last: int) -> tuple[int, int]:
        return slice_span(tensor, axis, min(first, tensor.shape[axis]), min(last, tensor.shape[axis]))

    return span


def slice_span(tensor: Tensor, axis: int, first: int, last: int) -> tuple[int, int]:
    """The half-open range of elements of the slot that positions [first, last) of ``axis`` touch."""
    part = tensor.slice(axis, first, max(0, last - first))
    return span_of(part.offset, part.shape, part.strides)
