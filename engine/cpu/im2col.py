"""The columns of a convolution, strip by strip, without an im2col of the whole input.

The columns ``[C kh kw, n]`` of a few output rows are gathered into scratch that stays in cache, multiplied by the
weights ``[M, C kh kw]``, and overwritten by the next strip. Padding is written into the columns: the input is never
copied.
"""

from __future__ import annotations

from math import prod
from types import EllipsisType

import numpy as np

from engine.cpu.threads import Do, Range, call
from engine.ops.window import Window

STRIP_BYTES = 5 << 20
"""Columns and sums of one strip. Longer strips leave the cache, shorter ones make short runs and small products."""

Index = tuple[slice | int | EllipsisType, ...]


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
        self._copies: dict[tuple[Range, int, int], tuple[list[Index], list[tuple[Index, Index]]]] = {}

    def gather(self, x: np.ndarray, strip: Range, scratch: np.ndarray, top: int = 0, do: Do = call) -> np.ndarray:
        """The columns ``[..., C kh kw (+ 1), n]`` float32 of a strip of ``x`` ``[..., C, H, W]``, in ``scratch``.

        ``top`` is the row of the whole input that row 0 of ``x`` is, for an ``x`` that holds only ``input_rows``.
        """
        count, width = strip[1] - strip[0], self.window.out[1]
        *images, channels, height, across = x.shape
        lines = channels * self.window.taps
        columns = scratch[: prod(images) * (lines + self.ones) * count * width].reshape(*images, -1, count * width)
        if self.ones:
            do(np.copyto, columns[..., lines:, :], 1)
        planes = columns[..., :lines, :].reshape(*images, channels, *self.window.kernel, count, width)
        key = strip, height, top
        if key not in self._copies:
            self._copies[key] = self._plan_copies(strip, height, across, top)
        zeros, copies = self._copies[key]
        for target in zeros:
            do(np.copyto, planes[target], 0)
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
