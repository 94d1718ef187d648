"""Depthwise convolution: each channel has a window of its own, so there is no matrix to multiply.

The columns of the window are gathered once, padded, as ``kw`` shifted copies of a few rows: in them every row of the
window is the same copy some rows further on, and one call of einsum scales and adds all taps, channel by channel, in
runs as long as a plane. A call of its own for each tap would pass over the sums twice as often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.threads import Pool, Range
from engine.ops.window import Window

STRIP_BYTES = 1 << 20
"""Shifted copies and sums of one block."""


class Depthwise:
    """A convolution of ``[C, H, W]`` with ``[C, 1, kh, kw]`` in C groups, any stride, dilation and padding, float32."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, images: int) -> None:
        self.w = np.tile(np.ascontiguousarray(w[:, 0].transpose(0, 2, 1), np.float32), (images, 1, 1))
        self.bias = None if epilogue.bias is None else np.tile(epilogue.bias, (images, 1))[:, :, None]
        self.epilogue, self.window, self.planes = epilogue, window, len(self.w)
        height, width = window.out
        row = window.kernel[1] * window.strides[0] * width
        # a block is a few rows of one plane, or a few planes
        fit = STRIP_BYTES // 4 // (row + width)
        self.rows = min(height, max(1, fit - window.extents[0]))
        self.max_planes = 1 if self.rows < height else max(1, fit // (height + window.extents[0]))
        self.max_planes = min(self.max_planes, self.planes)
        copies = window.kernel[1] * self._input_rows(self.rows) * width
        self.scratch = self.max_planes * max(copies, epilogue.registers * self.rows * width)
        # 0.15 ns for each tap, and for each number that is copied before
        taps = window.taps + window.kernel[1] * window.strides[0]
        self.nanoseconds = self.planes * height * width * (0.15 * taps + 0.1 + epilogue.nanoseconds)

    def _input_rows(self, rows: int) -> int:
        return (rows - 1) * self.window.strides[0] + self.window.extents[0]

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, C, *out]``; ``given`` as the epilogue has it."""
        x, y, *given = (array.reshape(-1, *array.shape[2:]) for array in (x, y, *given))

        def part(worker: int, block: tuple[Range, Range]) -> None:
            index = tuple(slice(*each) for each in block)
            target, scratch = y[index], pool.scratch(worker)
            copies = self._gather(x[index[0]], block[1], scratch)
            plane, column, line, item = copies.strides
            vertical, across = self.window.dilations[0] * line, self.window.strides[0] * line
            shape = (len(target), *self.window.kernel[::-1], *target.shape[1:])
            taps = np.lib.stride_tricks.as_strided(copies, shape, (plane, column, vertical, across, item))
            np.einsum("cxyhw,cxy->chw", taps, self.w[index[0]], out=target)
            if self.bias is not None:
                np.add(target, self.bias[index[0]], out=target)
            self.epilogue.finish(target, target, [array[index] for array in given], scratch)

        height = self.window.out[0]
        if self.max_planes > 1 or self.rows == height:
            planes = pool.ranges(self.planes, self.nanoseconds, self.max_planes)
            pool.each(part, [(each, (0, height)) for each in planes])
        else:
            rows = pool.ranges(height, 0, self.rows)
            pool.each(part, [((plane, plane + 1), each) for plane in range(self.planes) for each in rows])

    def _gather(self, x: np.ndarray, rows: Range, scratch: np.ndarray) -> np.ndarray:
        """The padded rows under some output rows of ``x`` ``[C, H, W]``, as ``[C, kw, rows, out]`` in scratch."""
        window, width = self.window, self.window.out[1]
        shape = (len(x), window.kernel[1], self._input_rows(rows[1] - rows[0]), width)
        copies = scratch[: len(x) * shape[1] * shape[2] * width].reshape(shape)
        first = rows[0] * window.strides[0] - window.begin[0]
        above = min(max(0, -first), shape[2])
        below = max(above, min(shape[2], x.shape[1] - first))
        copies[:, :, :above] = 0
        copies[:, :, below:] = 0
        for kx, (columns, from_columns) in enumerate(window.tap_ranges(1, x.shape[2])):
            inside = copies[:, kx, above:below]
            inside[..., : columns.start] = 0
            inside[..., columns.stop :] = 0
            inside[..., columns] = x[:, first + above : first + below, from_columns]
        return copies
