"""Convolution as a matrix product over strips, without an im2col of the whole input.

The columns ``[C kh kw, n]`` of a few output rows are gathered into scratch that stays in cache, multiplied by the
weights ``[M, C kh kw]``, and overwritten by the next strip. Padding is written into the columns: the input is never
copied.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.ops.window import Window

STRIP_BYTES = 5 << 20
"""Columns gathered at a time. Longer strips leave the cache, shorter ones make short runs and small products."""

STRIPS = 4
"""A layer is cut into at least this many strips, so that two or three workers finish together."""


class Columns:
    """The strips of a two-dimensional convolution whose products take up to ``channels`` input channels each."""

    def __init__(self, window: Window, channels: int) -> None:
        self.window, self.channels = window, channels
        height, width = window.out
        row_bytes = 4 * channels * window.taps * width
        self.rows = max(1, min(STRIP_BYTES // row_bytes, -(-height // STRIPS)))
        self.elements = channels * window.taps * self.rows * width

    def strips(self) -> list[tuple[int, int]]:
        """The ranges of output rows that are computed together."""
        height = self.window.out[0]
        return [(first, min(first + self.rows, height)) for first in range(0, height, self.rows)]

    def input_rows(self, strip: tuple[int, int], height: int) -> tuple[int, int]:
        """The range of input rows, of ``height``, that a strip reads."""
        first = strip[0] * self.window.strides[0] - self.window.begin[0]
        last = (strip[1] - 1) * self.window.strides[0] + self.window.extents[0] - self.window.begin[0]
        return max(0, min(first, height)), max(0, min(last, height))

    def gather(self, x: np.ndarray, strip: tuple[int, int], scratch: np.ndarray, top: int = 0) -> np.ndarray:
        """The columns ``[C kh kw, n]`` float32 of a strip of ``x`` ``[C, H, W]``, in ``scratch``; C up to ``channels``.

        ``top`` is the row of the whole input that row 0 of ``x`` is, for an ``x`` that holds only ``input_rows``.
        """
        count, width = strip[1] - strip[0], self.window.out[1]
        columns = scratch[: len(x) * self.window.taps * count * width]
        planes = columns.reshape(len(x), *self.window.kernel, count, width)
        for ky, (rows, source_rows) in enumerate(self.seen(0, x.shape[1], strip[0], count, top)):
            for kx, (cols, source_cols) in enumerate(self.seen(1, x.shape[2], 0, width, 0)):
                plane = planes[:, ky, kx]
                plane[:, : rows.start] = 0
                plane[:, rows.stop :] = 0
                plane[:, rows, : cols.start] = 0
                plane[:, rows, cols.stop :] = 0
                plane[:, rows, cols] = x[:, source_rows, source_cols]
        return columns.reshape(-1, count * width)

    def seen(self, axis: int, extent: int, first: int, count: int, top: int) -> Iterator[tuple[slice, slice]]:
        """For each window position along an axis: which of ``count`` outputs see the input there, and what they see.

        The outputs are those from ``first`` on, the input has ``extent`` positions, of which 0 is ``top`` of the whole.
        """
        stride = self.window.strides[axis]
        for tap in range(self.window.kernel[axis]):
            start = first * stride + tap * self.window.dilations[axis] - self.window.begin[axis] - top
            low = min(count, max(0, -(start // stride)))
            high = max(low, min(count, (extent - 1 - start) // stride + 1))
            begin = start + low * stride
            yield slice(low, high), slice(begin, begin + (high - low - 1) * stride + 1, stride) if high > low else _NONE


_NONE = slice(0, 0)
