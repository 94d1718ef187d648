"""The columns of a convolution, strip by strip, without an im2col of the whole input.

The columns ``[C kh kw, n]`` of a few output rows are gathered into scratch that stays in cache, multiplied by the
weights ``[M, C kh kw]``, and overwritten by the next strip. A short strip of the input is padded first, and one call
copies all taps; of a long one each tap is copied by itself, and padding is written into the columns.
"""

from __future__ import annotations

from math import prod
from types import EllipsisType

import numpy as np

from engine.cpu.threads import Do, Range, call
from engine.ops.window import Window

STRIP_BYTES = 5 << 20
"""Columns and sums of one strip. Longer strips leave the cache, shorter ones make short runs and small products."""

SHORT = 1 << 16
"""Numbers up to which a padded copy costs less than the calls that it spares: each takes some 7 µs on two threads."""

Index = tuple[slice | int | EllipsisType, ...]


def span(window: Window, axis: int, outputs: int) -> int:
    """Inputs along an axis, padding among them, from the first to the last that so many outputs read."""
    return (outputs - 1) * window.strides[axis] + window.extents[axis]


def padded(x: np.ndarray, rows: Range, columns: Range, scratch: np.ndarray, do: Do = call) -> np.ndarray:
    """``x`` ``[..., C, H, W]`` from row to row and from column to column, with zeros outside of it.

    A view of ``x`` where all of it is inside, else a copy in ``scratch``.
    """
    height, width = x.shape[-2:]
    if min(rows[0], columns[0]) >= 0 and rows[1] <= height and columns[1] <= width:
        return x[..., slice(*rows), slice(*columns)]
    shape = *x.shape[:-2], rows[1] - rows[0], columns[1] - columns[0]
    copy = scratch[: prod(shape)].reshape(shape)
    do(copy.fill, 0)
    inside = x[..., max(0, rows[0]) : max(0, rows[1]), max(0, columns[0]) : max(0, columns[1])]
    above, before = max(0, -rows[0]), max(0, -columns[0])
    if inside.size:
        do(np.copyto, copy[..., above : above + inside.shape[-2], before : before + inside.shape[-1]], inside)
    return copy


def taps_of(window: Window, lines: np.ndarray) -> np.ndarray:
    """The taps ``[..., C, kh, kw, rows, columns]`` that outputs see of the ``lines`` that `padded` gives: a view."""
    (dy, dx), (sy, sx) = window.dilations, window.strides
    *outer, line, item = lines.strides
    count = (lines.shape[-2] - window.extents[0]) // sy + 1
    shape = *lines.shape[:-2], *window.kernel, count, window.out[1]
    return np.lib.stride_tricks.as_strided(
        lines, shape, (*outer, dy * line, dx * item, sy * line, sx * item), writeable=False
    )


class Columns:
    """The strips of a two-dimensional convolution of ``outputs`` output and, at a time, ``channels`` input channels.

    ``rows`` is the most output rows that a strip may have, ``elements`` the scratch that its columns need. With
    ``ones`` a last row of ones is part of the columns, for a bias that is a last column of the weights.
    """

    def __init__(self, window: Window, channels: int, outputs: int, *, ones: bool = False) -> None:
        self.window, self.ones = window, ones
        height, width = window.out
        lines = channels * window.taps + ones
        # the sums are passed over again by the activation, which counts them double
        self.rows_that_fit = max(1, STRIP_BYTES // (4 * (lines + 2 * outputs) * width))
        self.rows = min(self.rows_that_fit, height)
        self.elements = lines * self.rows * width
        # one copy is padded first where it is short, and a small part of the columns
        self.padded = channels * span(window, 0, self.rows) * span(window, 1, width)
        if self.padded > min(SHORT, self.elements // 2):
            self.padded = 0
        self.elements += self.padded
        self._copies: dict[tuple[Range, int, int], tuple[list[Index], list[tuple[Index, Index]]]] = {}

    def gather(self, x: np.ndarray, strip: Range, scratch: np.ndarray, top: int = 0, do: Do = call) -> np.ndarray:
        """The columns ``[..., C kh kw (+ 1), n]`` float32 of a strip of ``x`` ``[..., C, H, W]``, in ``scratch``.

        ``top`` is the row of the whole input that row 0 of ``x`` is, for an ``x`` that holds only ``input_rows``.
        """
        count, width = strip[1] - strip[0], self.window.out[1]
        *images, channels, height, x_width = x.shape
        lines = channels * self.window.taps
        columns = scratch[: prod(images) * (lines + self.ones) * count * width].reshape(*images, -1, count * width)
        if self.ones:
            do(columns[..., lines:, :].fill, 1)
        planes = columns[..., :lines, :].reshape(*images, channels, *self.window.kernel, count, width)
        if self.padded:
            window = self.window
            first, left = strip[0] * window.strides[0] - window.begin[0] - top, -window.begin[1]
            rows, across = (first, first + span(window, 0, count)), (left, left + span(window, 1, width))
            lines = padded(x, rows, across, scratch[columns.size :], do)
            do(np.copyto, planes, taps_of(window, lines))
            return columns
        key = strip, height, top
        if key not in self._copies:
            self._copies[key] = self._plan_copies(strip, height, x_width, top)
        zeros, copies = self._copies[key]
        for target in zeros:
            do(planes[target].fill, 0)
        for target, source in copies:
            do(np.copyto, planes[target], x[source])
        return columns

    def _plan_copies(
        self, strip: Range, height: int, width: int, top: int
    ) -> tuple[list[Index], list[tuple[Index, Index]]]:
        """Which parts of the columns ``[..., kh, kw, rows, columns]`` are padding, and which copy which input."""
        count, across, every = strip[1] - strip[0], self.window.out[1], slice(None)
        zeros: list[Index] = []
        copies: list[tuple[Index, Index]] = []
        for ky, (rows, from_rows) in enumerate(self.window.tap_ranges(0, height, first=strip[0], count=count, top=top)):
            for kx, (columns, from_columns) in enumerate(self.window.tap_ranges(1, width)):
                tap = ..., ky, kx
                for edge in (slice(0, rows.start), slice(rows.stop, count)):
                    if edge.stop > edge.start:
                        zeros.append((*tap, edge, every))
                for edge in (slice(0, columns.start), slice(columns.stop, across)):
                    if edge.stop > edge.start:
                        zeros.append((*tap, rows, edge))
                if rows.stop > rows.start and columns.stop > columns.start:
                    copies.append(((*tap, rows, columns), (..., from_rows, from_columns)))
        return zeros, copies
