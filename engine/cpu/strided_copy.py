"""Transpose, Pad, Slice, Split, Expand and Gather of one slice: copies of views, split into blocks for the workers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.arguments import ints, static_ints
from engine.ops.concat import split_extents
from engine.ops.pad import pad_widths
from engine.ops.slicing import node_ranges
from engine.ops.transpose import permutation
from engine.ops.types import normalize_axis

STRIP_BYTES = 1 << 19
"""One block: the cache lines that a transposed read touches stay until all of each has been used."""

PAGE = 4096
"""Bytes; lines whose stride is a multiple of this compete for the same few cache sets."""

SKEW = 16
"""Elements between the lines of a block in scratch, so that their stride is no multiple of a page."""

Copy = tuple[np.ndarray, Any]
"""A part of an output, and the array or number that goes there."""


def pads_with_constant(node: Node) -> bool:
    """Whether a Pad writes one value around its input, not elements of it."""
    return str(node.attr("mode", "constant")) == "constant"


def gathers_one_slice(node: Node) -> bool:
    """Whether a Gather takes one slice, whose index is known at load."""
    index, shape = node.constant(1), node.input(0).shape
    extent = shape[normalize_axis(node.attr("axis", 0), len(shape))]
    return index is not None and index.ndim == 0 and -extent <= int(index) < extent


class StridedCopyKernel(KernelBase):
    """Copies strided views of the input into the outputs, without arithmetic."""

    static = True

    def __init__(self, node: Node) -> None:
        self.node = node
        self.nanoseconds = sum(value.type.size for value in node.used_outputs()) * 0.5
        self.across = self._conflicting_lines()
        self.scratch = STRIP_BYTES // 4 + SKEW * self.across if self.across else 0

    def _conflicting_lines(self) -> int:
        """The lines that a transposition reads across, where they compete for the same cache sets; else 0."""
        x = self.node.input(0)
        if self.node.op != "Transpose" or x.dtype != np.float32 or len(x.shape) < 2:
            return 0
        axis = permutation(self.node, len(x.shape))[-1]
        line_stride = prod(x.shape[axis + 1 :]) * x.dtype.itemsize
        conflict = line_stride % PAGE == 0 and 8 < x.shape[axis] <= STRIP_BYTES // PAGE
        return x.shape[axis] if conflict else 0

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        copies = _copies(self.node, inputs, outputs)
        blocks = [block for target, source in copies for block in _blocks(target, source, keep_last=self.across > 0)]

        def copy(worker: int, part: Range) -> None:
            for target, source in blocks[slice(*part)]:
                np.copyto(target, skewed_copy(source, pool.scratch(worker)) if self.across else source)

        pool.each(copy, pool.ranges(len(blocks), self.nanoseconds))


def _copies(node: Node, inputs: Tensors, outputs: Tensors) -> list[Copy]:
    x = present(inputs, 0)
    if node.op == "Split":
        axis, extents = split_extents(node, x.shape, ints(node.constant(1)))
        starts = np.cumsum((0, *extents))
        parts = zip(outputs, starts, extents, strict=False)
        return [(y, _narrow(x, axis, int(start), extent)) for y, start, extent in parts if y is not None]
    y = present(outputs, 0)
    if node.op == "Transpose":
        return [(y, x.transpose(permutation(node, x.ndim)))]
    if node.op == "Slice":
        return [(y, x[node_ranges(node, x.shape)])]
    if node.op == "Expand":
        return [(y, np.broadcast_to(x, y.shape))]
    if node.op == "Gather":
        index = node.constant(1)
        assert index is not None
        return [(y, np.moveaxis(x, node.attr("axis", 0), 0)[int(index), ...])]  # of a vector, too, a view
    return _pad_copies(node, x, y, inputs[2] if len(inputs) > 2 else None)


def _pad_copies(node: Node, x: np.ndarray, y: np.ndarray, fill: np.ndarray | None) -> list[Copy]:
    """The input within the output, and the value on either side of it, axis after axis."""
    pads, value = tuple(node.attr("pads", ())), node.attr("value", 0.0)
    if node.version >= 11:
        pads, value = static_ints(node, 1), np.zeros((), y.dtype) if fill is None else fill.reshape(())
    widths = pad_widths(x.ndim, pads, ints(node.constant(3)))
    copies: list[Copy] = []
    for axis, (before, after) in enumerate(widths):
        extent = x.shape[axis] + min(before, 0) + min(after, 0)
        start = max(before, 0)
        copies.append((_narrow(y, axis, 0, start), value))
        copies.append((_narrow(y, axis, start + extent, max(after, 0)), value))
        x, y = _narrow(x, axis, max(-before, 0), extent), _narrow(y, axis, start, extent)
    return [(target, source) for target, source in [*copies, (y, x)] if target.size]


def _narrow(x: np.ndarray, axis: int, start: int, extent: int) -> np.ndarray:
    return x[(slice(None),) * axis + (slice(start, start + extent),)]


def _blocks(target: np.ndarray, source: Any, *, keep_last: bool) -> Iterator[Copy]:
    """A copy cut into blocks of at most STRIP_BYTES, through the last axis only where it may be."""
    if target.nbytes <= STRIP_BYTES:
        yield target, source
        return
    axis = _block_axis(target, source, keep_last)
    half = target.shape[axis] // 2
    for start, extent in ((0, half), (half, target.shape[axis] - half)):
        part = _narrow(source, axis, start, extent) if isinstance(source, np.ndarray) and source.ndim else source
        yield from _blocks(_narrow(target, axis, start, extent), part, keep_last=keep_last)


def _block_axis(target: np.ndarray, source: Any, keep_last: bool) -> int:
    """The outermost axis; of a transposition, the longest but the one that it moved away from the end."""
    axes = [axis for axis, extent in enumerate(target.shape) if extent > 1]
    if not isinstance(source, np.ndarray) or source.ndim == 0:
        return axes[0]
    innermost = min(axes, key=lambda axis: abs(source.strides[axis]))
    whole_axis = target.ndim - 1 if keep_last else innermost
    if innermost == axes[-1] and not keep_last:
        return axes[0]
    return max((axis for axis in axes if axis != whole_axis), key=lambda axis: target.shape[axis])


def skewed_copy(x: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """A copy of ``x`` in scratch in which the stride of the last axis is no multiple of a page."""
    lines = np.moveaxis(x, -1, 0)
    width = prod(lines.shape[1:])
    skewed = scratch[: len(lines) * (width + SKEW)].reshape(len(lines), -1)[:, :width].reshape(lines.shape)
    np.copyto(skewed, lines)
    return np.moveaxis(skewed, 0, -1)
