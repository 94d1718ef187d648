"""A dispatch: a template and its parameters, the operands that it reads and writes, and its geometry.

A dispatch computes ``rows`` rows of its result; each kernel defines what a row is. Where a tensor is larger than the
adapter lets a shader bind, the plan cuts the rows into half-open ranges, and each operand says which elements a range
touches. Kernels read the range, and where in its binding each operand begins, from the uniform ``params``
(parts/params.wgsl).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.compiled.model import Grid
from engine.gpu.program.tensor import ITEM_BYTES, Tensor, span_of

Span = Callable[[int, int], tuple[int, int]]
"""A half-open range of rows → the half-open range of elements of the slot that these rows touch."""

INVOCATIONS = 256
"""Invocations of a workgroup in kernels that need no other number."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One tensor of a dispatch, under the name that the template has for it.

    ``vec`` elements are one item of the WGSL array (1, 2 or 4, or 8 of float16 as the bits of four words; the offset
    of the tensor is a multiple of it). ``span``
    is None where any row may touch any element: a range of rows then binds the whole tensor. ``atomic`` makes the
    elements of an integer operand atomic.
    """

    name: str
    tensor: Tensor
    span: Span | None = None
    vec: int = 1
    atomic: bool = False

    @property
    def item(self) -> str:
        """The WGSL type of an item."""
        scalar = self.tensor.dtype
        if self.atomic:
            return f"atomic<{scalar}>"
        if self.vec == 8:
            return "vec4<u32>"
        if scalar == "u8":
            assert self.vec == 4, self.name
            return "u32"
        return scalar if self.vec == 1 else f"vec{self.vec}<{scalar}>"

    def element_range(self, first: int, last: int) -> tuple[int, int]:
        """The elements of the slot that rows [first, last) touch, as a half-open range, widened to whole items."""
        begin, end = self.tensor.span() if self.span is None else self.span(first, last)
        return begin // self.vec * self.vec, -(-end // self.vec) * self.vec

    @property
    def element_bytes(self) -> int:
        """Bytes of one element."""
        return ITEM_BYTES[self.tensor.dtype]


@dataclass(slots=True)
class Dispatch:
    """One call of a kernel.

    ``uniforms`` are its own i32 parameters, by name, after those of every kernel. ``grid`` maps a number of rows to
    the workgroups: x, y and z, or one number where the kernel counts them along x and then y, as parts/linear.wgsl
    does; the plan folds that. ``flops`` counts multiplications and additions, for reports. ``trusted`` says that the
    kernel stays within its own bounds.
    """

    kernel: str
    params: Mapping[str, Any]
    reads: Sequence[Operand]
    writes: Sequence[Operand]
    rows: int
    grid: Callable[[int], int | Grid]
    uniforms: Mapping[str, int] = field(default_factory=dict)
    flops: int = 0
    trusted: bool = True
    op: str = ""
    node: str = ""

    @property
    def label(self) -> str:
        """The name of the dispatch in messages: its node, or where it has none its first output, and its kernel."""
        subject = f"{self.op} '{self.node}'" if self.op else f"'{self.writes[0].tensor.slot.label}'"
        return f"{subject} (kernel {self.kernel})"

    @property
    def operands(self) -> list[Operand]:
        """Reads, then writes: the order of the bindings behind the uniform."""
        return [*self.reads, *self.writes]


def linear_grid(items_per_row: int, per_workgroup: int = INVOCATIONS) -> Callable[[int], int]:
    """A grid of one invocation an item, for kernels that compute their index by parts/linear.wgsl."""

    def grid(rows: int) -> int:
        return -(-rows * items_per_row // per_workgroup)

    return grid


def fold_grid(workgroups: int, longest: int) -> Grid:
    """``workgroups`` workgroups, or a few more, along x and then y; at most ``longest`` along x."""
    lines = -(-max(1, workgroups) // longest)
    return -(-max(1, workgroups) // lines), lines, 1


def affine_span(tensor: Tensor, row_stride: int, extents: Sequence[int], strides: Sequence[int]) -> Span:
    """The span of an operand of which row ``r`` touches a box of ``extents`` at ``offset + r * row_stride``."""

    def span(first: int, last: int) -> tuple[int, int]:
        return span_of(tensor.offset + first * row_stride, (max(0, last - first), *extents), (row_stride, *strides))

    return span
