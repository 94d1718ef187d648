"""Depthwise convolution as products of small Toeplitz matrices, a few output rows of a plane at a time.

The rows are ``[rows, lines * kw]`` times the input lines under them: the matrix holds the weights of each row, shifted
by what its window is shifted, and zeros. The lines are copied ``kw`` times, shifted, a line's copies beside
each other, so that the lines under the next rows are a view of the same copies, and one call of matmul computes a block
of planes.

Where all rows of a plane fit into one matrix, lines of padding are left out of it, and a plane's lines lie beside each
other in each of the ``kw`` copies, which are long runs then. The bias is a last column of the matrix.

Where BLAS would pack both operands, each row is a product of its own, a vector times a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from engine.cpu import blas
from engine.cpu.epilogue import Epilogue
from engine.cpu.im2col import SHORT, padded, span
from engine.cpu.products import transform
from engine.cpu.threads import Do, Pool, Range
from engine.ops.window import Window

STRIP_BYTES = 3 << 20
"""Copies and sums of one block. Blocks that stay in the second-level cache make calls so short that threads collide."""

ROWS = 4
"""Output rows of one matrix: more multiply more zeros, fewer read each line more often."""

LONG_ROW = 32
"""Columns from which on a row is worth a product of its own."""


def takes(window: Window) -> bool:
    """Whether this is faster than passes for each tap.

    They read mostly padding where a plane has few rows, and copy each phase of the rows apart where a stride goes down.
    Without small products a row at a time is multiplied, which takes long enough rows, and no zeros between the taps.
    """
    if blas.has_small_products() or window.strides[0] > 1 or window.out[0] < 2 * ROWS:
        return True
    return window.dilations[0] == 1 and window.out[1] >= LONG_ROW


class Toeplitz:
    """A convolution of ``[C, H, W]`` with ``[C, 1, kh, kw]`` in C groups, any stride, dilation and padding, float32."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, x: tuple[int, ...]) -> None:
        self.epilogue, self.window, self.planes = epilogue, window, x[0] * x[1]
        height, width = window.out
        self.rows = min(height, max(ROWS, window.dilations[0]))
        if not blas.has_small_products():
            # rows are multiplied one by one, so that zeros for several of them only cost
            self.rows = height if x[2] <= window.extents[0] else 1
        elif height < 2 * self.rows:
            self.rows = height
        # what the rows of one matrix read, from the first line on; of a whole plane, lines of the input alone
        self.lines = (self.rows - 1) * window.strides[0] + window.extents[0]
        self.is_whole = self.rows == height
        if self.is_whole:
            self.lines = max(1, min(self.lines - window.begin[0], x[2]))
        matrices = self._matrices(w[:, 0].astype(np.float32))
        self.ones = self.is_whole and epilogue.bias is not None
        if epilogue.bias is not None and self.ones:
            matrices = np.concatenate([matrices, np.broadcast_to(epilogue.bias[:, :, None], (len(w), height, 1))], 2)
        self.w = np.tile(matrices, (x[0], 1, 1))
        self.bias = None if epilogue.bias is None or self.ones else np.tile(epilogue.bias, (x[0], 1))

        self.columns = list(window.tap_ranges(1, x[3]))

        # a block is some planes, or some rows of one
        padded_width = span(window, 1, width)
        self.pitch = padded_width if self.is_whole and window.strides[1] == 1 else width
        line, sums = window.kernel[1] * self.pitch, (1 + epilogue.registers) * width
        each, fit = window.strides[0] * line + sums, STRIP_BYTES // 4
        self.block_rows = min(height, max(1, (fit - self.lines * line) // (each * self.rows)) * self.rows)
        plane = self._lines_of(self.block_rows) * line + self.ones * self.pitch
        self.max_planes = 1
        if self.block_rows == height:
            self.max_planes = min(self.planes, max(1, fit // (plane + height * sums)))
        short = self.max_planes * self._lines_of(self.block_rows) * padded_width
        if not self.is_whole:
            short = min(SHORT, short)
        self.scratch = max(
            self.max_planes * plane + short, self.max_planes * epilogue.registers * self.block_rows * width
        )
        # 0.25 ns for each number that is copied before
        multiply = self.w.shape[2] * (0.04 if blas.has_small_products() else 0.08)
        copy = 0.25 * window.kernel[1] * self._lines_of(height) / height
        self.nanoseconds = self.planes * height * width * (multiply + copy + epilogue.nanoseconds)

    def _matrices(self, w: np.ndarray) -> np.ndarray:
        """The Toeplitz matrices ``[C, rows, lines * kw]`` of ``w`` ``[C, kh, kw]``, of whole planes ``kw * lines``."""
        channels, taps, across = w.shape
        matrices = np.zeros((channels, self.rows, self.lines, across), np.float32)
        first = self.window.begin[0] if self.is_whole else 0
        for row in range(self.rows):
            for tap in range(taps):
                line = row * self.window.strides[0] + tap * self.window.dilations[0] - first
                if 0 <= line < self.lines:
                    matrices[:, row, line] = w[:, tap]
        if self.is_whole:
            matrices = matrices.swapaxes(2, 3)
        return matrices.reshape(channels, self.rows, -1)

    def _lines_of(self, rows: int) -> int:
        """Lines that so many output rows read."""
        return (rows - self.rows) * self.window.strides[0] + self.lines

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, C, *out]``; ``given`` as the epilogue has it."""
        x, y, *given = (pool.reshaped(array, -1, *array.shape[2:]) for array in (x, y, *given))

        def part(do: Do, worker: int, block: tuple[Range, Range]) -> None:
            planes, rows = (slice(*each) for each in block)
            target, scratch = y[planes, rows], pool.scratch(worker)
            if self.is_whole:
                transform(self.w[planes], self._gather_whole(do, x[planes], scratch), target, do)
            else:
                self._multiply(do, self._gather(do, x[planes], block[1], scratch), self.w[planes], target)
            if self.bias is not None:
                do(np.add, target, self.bias[planes, :, None], target)
            self.epilogue.finish(target, target, [array[planes, rows] for array in given], scratch, do)

        height = self.window.out[0]
        if self.block_rows == height:
            planes = pool.ranges(self.planes, self.nanoseconds, self.max_planes)
            pool.each_by_calls(part, [(each, (0, height)) for each in planes])
        else:
            starts = range(0, height, self.block_rows)
            strips = [(start, min(start + self.block_rows, height)) for start in starts]
            pool.each_by_calls(part, [((plane, plane + 1), strip) for plane in range(self.planes) for strip in strips])

    def _gather_whole(self, do: Do, x: np.ndarray, scratch: np.ndarray) -> np.ndarray:
        """What one matrix multiplies of ``x`` ``[C, H, W]``, in scratch: ``[C, kw * lines (+ 1), columns]``."""
        window, width = self.window, self.window.out[1]
        count = window.kernel[1] * self.lines
        shape = len(x), count + self.ones, self.pitch
        columns = scratch[: prod(shape)].reshape(shape)
        if self.ones:
            do(columns[:, count:].fill, 1)
        left = -window.begin[1]
        inputs = (0, self.lines), (left, left + span(window, 1, width))
        lines = padded(x, *inputs, scratch[columns.size :], do)
        plane, line, item = lines.strides
        tap, column = window.dilations[1] * item, window.strides[1] * item
        copies = columns[:, :count].reshape(len(x), window.kernel[1], -1)
        if column == item and line == self.pitch * item:
            # a line's last taps and the next one's first lie beside each other, as the columns of the copies do
            run = (self.lines - 1) * self.pitch + width
            source = np.lib.stride_tricks.as_strided(
                lines, (len(x), window.kernel[1], run), (plane, tap, item), writeable=False
            )
            do(np.copyto, copies[..., :run], source)
        else:
            copies = copies.reshape(*copies.shape[:2], self.lines, self.pitch)[..., :width]
            source = np.lib.stride_tricks.as_strided(lines, copies.shape, (plane, tap, line, column), writeable=False)
            do(np.copyto, copies, source)
        return columns[..., :width]

    def _gather(self, do: Do, x: np.ndarray, rows: Range, scratch: np.ndarray) -> np.ndarray:
        """The lines under some output rows of ``x`` ``[C, H, W]``, in scratch: ``[C, lines, kw, columns]``."""
        window, height, count = self.window, x.shape[1], self._lines_of(rows[1] - rows[0])
        across, width = window.kernel[1], window.out[1]
        copies = scratch[: len(x) * count * across * width].reshape(len(x), count, across, width)
        first, left = rows[0] * window.strides[0] - window.begin[0], -window.begin[1]
        if len(x) * count * span(window, 1, width) <= SHORT:
            inputs = (first, first + count), (left, left + span(window, 1, width))
            lines = padded(x, *inputs, scratch[copies.size :], do)
            plane, line, item = lines.strides
            strides = plane, line, window.dilations[1] * item, window.strides[1] * item
            do(np.copyto, copies, np.lib.stride_tricks.as_strided(lines, copies.shape, strides, writeable=False))
            return copies
        above = min(count, max(0, -first))
        below = max(above, min(count, height - first))
        if above:
            do(copies[:, :above].fill, 0)
        if below < count:
            do(copies[:, below:].fill, 0)
        if below > above:
            for kx, (columns, from_columns) in enumerate(self.columns):
                inside = copies[:, above:below, kx]
                if columns.start:
                    do(inside[..., : columns.start].fill, 0)
                if columns.stop < width:
                    do(inside[..., columns.stop :].fill, 0)
                if columns.stop > columns.start:
                    do(np.copyto, inside[..., columns], x[:, first + above : first + below, from_columns])
        return copies

    def _multiply(self, do: Do, copies: np.ndarray, w: np.ndarray, target: np.ndarray) -> None:
        """``target`` ``[C, rows, columns]`` = the matrices ``w`` times the lines under each of their rows."""
        planes, height, width = target.shape
        count, rest = divmod(height, self.rows)
        plane, line, tap, item = copies.strides
        step = self.rows * self.window.strides[0]
        if count:
            shape, strides = (planes, count, w.shape[2], width), (plane, step * line, tap, item)
            lines = np.ndarray(shape, np.float32, copies, strides=strides)
            sums = target[:, : height - rest].reshape(planes, count, self.rows, width)
            transform(w[:, None], lines, sums, do)
        if rest:
            lines = copies[:, count * step :].reshape(planes, -1, width)
            transform(w[:, :rest, : lines.shape[1]], lines, target[:, height - rest :], do)
