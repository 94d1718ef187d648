"""The geometry that convolutions and poolings share: a window that slides over the spatial axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from engine.graph.ir import Node


@dataclass(frozen=True, slots=True)
class Window:
    """A resolved sliding window over ``len(kernel)`` spatial axes.

    ``begin`` and ``end`` are the padding before and after each axis (negative values crop), ``out`` the output extents.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def taps(self) -> int:
        """Positions in the window."""
        return prod(self.kernel)

    @property
    def extents(self) -> tuple[int, ...]:
        """Input span of the window on each axis, dilation included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def padded(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """The extents of an input of ``spatial`` with its padding, and as far again as the last window reaches."""
        reaches = zip(spatial, self.begin, self.end, self.out, self.strides, self.extents, strict=True)
        return tuple(
            max(before, 0) + max(size + after, (count - 1) * stride + extent - before)
            for size, before, after, count, stride, extent in reaches
        )

    def tap(self, padded: np.ndarray, offsets: tuple[int, ...]) -> np.ndarray:
        """View of ``padded`` ``[..., *spatial]``: for each output position, the input under one window position."""
        slices: tuple[Any, ...] = tuple(
            slice(offset * dilation, offset * dilation + (count - 1) * stride + 1, stride)
            for offset, dilation, count, stride in zip(offsets, self.dilations, self.out, self.strides, strict=True)
        )
        return padded[(..., *slices)]

    def tap_ranges(
        self, axis: int, extent: int, first: int = 0, count: int | None = None, top: int = 0
    ) -> Iterator[tuple[slice, slice]]:
        """For each window position along an axis: which outputs see input there, not padding, and which input.

        The outputs are ``count`` from ``first`` on, by default all, and counted from ``first``; the input has
        ``extent`` positions, of which 0 is ``top`` of the whole axis. Both slices are empty where no output sees any.
        """
        stride, count = self.strides[axis], self.out[axis] - first if count is None else count
        for tap in range(self.kernel[axis]):
            offset = first * stride + tap * self.dilations[axis] - self.begin[axis] - top
            start_output = min(count, max(0, -(offset // stride)))
            end_output = max(start_output, min(count, (extent - 1 - offset) // stride + 1))
            begin = offset + start_output * stride
            source = (
                slice(begin, begin + (end_output - start_output - 1) * stride + 1, stride)
                if end_output > start_output
                else slice(0, 0)
            )
            yield slice(start_output, end_output), source

    def input_rows(self, first: int, last: int, height: int) -> tuple[int, int]:
        """The range of input rows, of ``height``, that the output rows from ``first`` to before ``last`` read."""
        begin = first * self.strides[0] - self.begin[0]
        end = (last - 1) * self.strides[0] + self.extents[0] - self.begin[0]
        return max(0, min(begin, height)), max(0, min(end, height))

    def pad(self, x: np.ndarray, value: float = 0) -> np.ndarray:
        """``x`` ``[N, C, *spatial]`` padded with ``value``, and as far again as the last window reaches (ceil mode)."""
        widths = [(0, 0)] * (x.ndim - len(self.kernel))
        crop: list[slice] = [slice(None)] * len(widths)
        for axis, extent in enumerate(x.shape[len(widths) :]):
            reach = (self.out[axis] - 1) * self.strides[axis] + self.extents[axis] - self.begin[axis] - extent
            after = max(self.end[axis], reach)
            widths.append((max(self.begin[axis], 0), max(after, 0)))
            crop.append(slice(max(-self.begin[axis], 0), extent + min(after, 0)))
        return np.pad(x[tuple(crop)], widths, constant_values=value)

    def canvas(self, spatial: tuple[int, ...]) -> tuple[int, ...]:
        """The extents of what `fold` adds up: an image of ``spatial`` behind its padding, and all that taps reach."""
        reach = [(n - 1) * s + e for n, s, e in zip(self.out, self.strides, self.extents, strict=True)]
        return tuple(max(r, b + size) for r, b, size in zip(reach, self.begin, spatial, strict=True))

    def fold(self, columns: np.ndarray, spatial: tuple[int, ...]) -> np.ndarray:
        """The adjoint of gathering taps: each tap added where it would have been read, in an image of ``spatial``.

        ``columns`` is ``[..., *kernel, *out]``, the result ``[..., *spatial]``. What falls into the padding is dropped.
        """
        rank = len(self.kernel)
        lead = columns.shape[: columns.ndim - 2 * rank]
        canvas = np.zeros((*lead, *self.canvas(spatial)), columns.dtype)
        for offsets in np.ndindex(*self.kernel):
            self.tap(canvas, offsets)[...] += columns[(*(slice(None),) * len(lead), *offsets)]
        image: tuple[Any, ...] = tuple(slice(b, b + size) for b, size in zip(self.begin, spatial, strict=True))
        return canvas[(..., *image)]

    def counts(self, spatial: tuple[int, ...], include_pad: bool) -> np.ndarray:
        """How many of the window's positions lie on the input, or on input and padding, int64 ``[*out]``.

        Where ceil mode makes the last window reach past the padding, those positions never count.
        """
        total = np.ones((), np.int64)
        for axis, size in enumerate(spatial):
            starts = np.arange(self.out[axis]) * self.strides[axis] - self.begin[axis]
            positions = starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]
            low, high = (-self.begin[axis], size + self.end[axis]) if include_pad else (0, size)
            total = total[..., None] * ((positions >= low) & (positions < high)).sum(axis=1)
        return total


def resolve(node: Node, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """The window of a Conv or pooling node over the input extents ``spatial``.

    Reads ``strides``, ``dilations``, ``pads``, ``auto_pad``, ``ceil_mode`` (ONNX Conv-11, MaxPool-12, AveragePool-19).
    ValueError when the attributes do not fit the rank or the window does not fit the input.
    """
    rank = len(spatial)
    strides = tuple(node.attr("strides") or (1,) * rank)
    dilations = tuple(node.attr("dilations") or (1,) * rank)
    pads = tuple(node.attr("pads") or (0,) * 2 * rank)
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise ValueError(f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads} for {rank} axes")
    if min(kernel + strides + dilations, default=1) < 1:
        raise ValueError(f"kernel {kernel}, strides {strides} and dilations {dilations} must be positive")
    extents = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    auto_pad = node.attr("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        out = tuple(-(-extent // stride) for extent, stride in zip(spatial, strides, strict=True))
        totals = [
            max((count - 1) * stride + extent - size, 0)
            for count, stride, extent, size in zip(out, strides, extents, spatial, strict=True)
        ]
        small = tuple(total // 2 for total in totals)
        large = tuple(total - half for total, half in zip(totals, small, strict=True))
        begin, end = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        return Window(kernel, strides, dilations, begin=begin, end=end, out=out)
    if auto_pad not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad '{auto_pad}' is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    if auto_pad == "VALID":
        pads = (0,) * 2 * rank
    begin, end = pads[:rank], pads[rank:]
    # The pooling operators' text leaves ceil mode out for VALID; ONNX's shape inference and ONNX Runtime apply it.
    ceil = bool(node.attr("ceil_mode", 0))
    out = tuple(
        _count(size + before + after - extent, stride, ceil, size + before)
        for size, before, after, extent, stride in zip(spatial, begin, end, extents, strides, strict=True)
    )
    if min(out, default=1) < 1:
        raise ValueError(f"a window of {extents} does not fit into {spatial} with pads {pads}")
    return Window(kernel, strides, dilations, begin=begin, end=end, out=out)


def _count(room: int, stride: int, ceil: bool, start_limit: int) -> int:
    """Window positions along one axis; in ceil mode a window that would start in the end padding does not count."""
    if not ceil:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= start_limit else count
