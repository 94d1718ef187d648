"""Winograd F(2x2, 5x5): 5x5 convolutions of stride 1 in 9 multiplications for 25.

Each tile of 2x2 outputs is made of the 6x6 inputs under it, at six points along either axis
(`engine.cpu.six_points`). Inputs are taken apart by the parity of their column, as in `engine.cpu.winograd`: then a
column tap of all tiles is one run, and the transforms some additions of long runs. The price is two columns of junk
tiles at the end of each row, never written out. The error is about 6e-6 of the largest output.

Layouts, for a strip of R tile rows and T tile columns, with C inputs, M outputs and S = R (T + 2):
  phases   [2, C, 2 R + 4, T + 2]   the padded inputs, by column parity
  rows     [6, 2, C, S]             row point, after B^T down
  v        [6, 6, C, S]             column point, row point, after B^T across
  u        [36, M, C]               the weights, transformed at load
  product  [6, 6, M, S]             u v
  half     [2, 6, M, S]             output column, row point, after A^T across
  tiles    [2, 2, M, S]             output column, output row

Many inputs go through a few at a time, and their products are added up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.cpu import blas
from engine.cpu.epilogue import Epilogue
from engine.cpu.kernel import run_strips
from engine.cpu.products import multiply, transform
from engine.cpu.six_points import POINTS, add_points, outputs_of, take, weights_of
from engine.cpu.threads import LONG_NS, Do, Pool, Range
from engine.ops.window import Window

SIZE = 2
"""Outputs of a tile along either axis."""

HALO = (POINTS - 1) // SIZE

STRIP_BYTES = 4 << 20
"""What is made of the inputs of one strip at a time; the products lie beside it."""

STRIP_TILES = 144
"""Tiles of one strip at least, or its matrix products become too narrow to be fast."""

FEWEST_CHANNELS = 32
"""Inputs that go through at a time at least, or adding up their products takes longer than multiplying."""

MOST_BYTES = 32 << 20
"""A strip's scratch: it has fewer rows of tiles, and layers whose row needs more go another way."""


def takes(window: Window, w: tuple[int, ...], group: int) -> bool:
    """Whether a layer of weights ``w`` is such a convolution, and worth the memory of its transforms."""
    plain = window.strides == (1, 1) and window.dilations == (1, 1) and group == 1
    padded = min(window.begin + window.end) >= 0
    enough_pixels = window.out[0] * window.out[1] >= 20 * 20
    return plain and padded and window.kernel == (5, 5) and enough_pixels and _row_bytes(window, w) <= MOST_BYTES


def _row_bytes(window: Window, w: tuple[int, ...]) -> int:
    """Scratch of one row of tiles at least, as `Winograd5x5` cuts it."""
    inputs = (POINTS**2 + 4 * POINTS) * min(w[1], FEWEST_CHANNELS)
    products = 2 * POINTS**2 * w[0]
    return 4 * (inputs + products) * (-(-window.out[1] // SIZE) + HALO)


def winograd_5x5_ns(w: tuple[int, ...]) -> float:
    """What it takes for an output pixel on one core; see `engine.cpu.conv.winograd_ns`."""
    packing = 0 if blas.has_small_products() else 5.7 * w[1] + 1.2 * w[0]
    return w[0] * w[1] * 9 * 2 / 100 + 5 * w[1] + 4 * w[0] + packing


class Winograd5x5:
    """Such a convolution in float32; ``w`` is ``[M, C, 5, 5]``."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window) -> None:
        self.epilogue, self.begin = epilogue, window.begin
        g = weights_of(5)
        # column point first
        u = np.einsum("ay,bx,mcyx->bamc", g, g, w.astype(np.float32, copy=False), optimize=True)
        self.u = np.ascontiguousarray(u.reshape(POINTS**2, *w.shape[:2]), np.float32)
        self.a = outputs_of(SIZE)
        self.outputs, self.channels = w.shape[:2]
        self.tile_rows, self.tiles = (-(-extent // SIZE) for extent in window.out)
        self.step = self.tiles + HALO
        fit = STRIP_BYTES // (4 * self._input_elements(1, self.channels))
        most_rows = max(1, MOST_BYTES // _row_bytes(window, w.shape))
        self.rows = min(max(fit, -(-STRIP_TILES // self.step)), most_rows, self.tile_rows)
        most = max(FEWEST_CHANNELS, STRIP_BYTES // (4 * self._input_elements(self.rows, 1)))
        self.most = -(-self.channels // -(-self.channels // most))
        self.scratch = self._input_elements(self.rows, self.most) + self._output_elements(self.rows)
        pixels = window.out[0] * window.out[1]
        self.nanoseconds = pixels * (winograd_5x5_ns(w.shape) + self.outputs * epilogue.nanoseconds)

    def _input_elements(self, rows: int, channels: int) -> int:
        """Scratch of v, and of what it is made from, for some channels of a strip."""
        return (POINTS**2 + 4 * POINTS) * channels * rows * self.step + 8

    def _output_elements(self, rows: int) -> int:
        """Scratch of the products: of all channels so far, and of some."""
        block = self.outputs * rows * self.step
        sums = POINTS**2 * block * (2 if self.most < self.channels else 1)
        return max(sums, POINTS**2 * block + (12 + 4 * (1 + self.epilogue.registers)) * block)

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, M, *out]``; ``given`` as the epilogue has it."""
        # each strip reads all of u
        strips = pool.ranges(self.tile_rows, min(self.nanoseconds, LONG_NS), self.rows)
        run_strips(self._strip, x, y, given=given, strips=strips, pool=pool)

    def _strip(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        s = (strip[1] - strip[0]) * self.step
        sums, rest = take(scratch, POINTS**2, self.outputs, s)
        for first in range(0, self.channels, self.most):
            channels = slice(first, min(first + self.most, self.channels))
            product, inputs = (sums, rest) if first == 0 else take(rest, *sums.shape)
            v = self._transform_inputs(do, x[channels], strip, inputs)
            multiply(self.u[:, :, channels], v, product, do)
            if first:
                do(np.add, sums, product, sums)
        # A^T spreads what is added at (1, 1) to every output of the tile alike
        self.epilogue.add_bias(sums[POINTS + 1], do)
        half, rest = take(rest, SIZE, POINTS, self.outputs * s)
        transform(self.a, sums.reshape(POINTS, -1), half.reshape(SIZE, -1), do)
        tiles, rest = take(rest, SIZE, SIZE, self.outputs, strip[1] - strip[0], self.step)
        transform(self.a, half, tiles.reshape(SIZE, SIZE, -1), do)
        lines = slice(strip[0] * SIZE, strip[1] * SIZE)
        target = y[:, lines]
        if not given:
            self.epilogue.finish(tiles, tiles, given, rest, do)
        for column in range(SIZE):
            for row in range(SIZE):
                pixels = target[:, row::SIZE, column::SIZE]
                do(np.copyto, pixels, tiles[column, row, :, : pixels.shape[1], : pixels.shape[2]])
        if given:
            self.epilogue.finish(target, target, [array[:, lines] for array in given], scratch, do)

    def _transform_inputs(self, do: Do, x: np.ndarray, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """``v`` ``[36, C, S]`` of a strip of some channels ``x``."""
        channels, rows = len(x), strip[1] - strip[0]
        s = rows * self.step
        v, scratch = take(scratch, POINTS, POINTS, channels * s)
        # the phases lie where v will
        phases, _ = take(v.reshape(-1), SIZE, channels, SIZE * rows + 4, self.step)
        self._split(do, x, strip, phases)
        by_row, rest = take(scratch, POINTS, SIZE, channels, rows, self.step)
        pair, _ = take(rest[8:], 2, SIZE, channels, rows, self.step)
        taps = [phases[:, :, tap::SIZE][:, :, :rows] for tap in range(POINTS)]
        add_points(do, taps, by_row, pair[0], pair[1])
        # what the last junk tiles take in from beyond the end
        do(rest[:8].fill, 0)
        plane, size = channels * s, by_row.itemsize
        shape, strides = (POINTS, plane), (SIZE * plane * size, size)
        columns = [
            np.ndarray(shape, np.float32, scratch, (tap % SIZE * plane + tap // SIZE) * size, strides)
            for tap in range(POINTS)
        ]
        pair, _ = take(rest[8:], 2, POINTS, plane)
        add_points(do, columns, v, pair[0], pair[1])
        return v.reshape(POINTS**2, channels, s)

    def _split(self, do: Do, x: np.ndarray, strip: Range, phases: np.ndarray) -> None:
        """``phases`` of the lines under a strip of ``x`` ``[C, H, W]``."""
        height, width = x.shape[1:]
        first = strip[0] * SIZE - self.begin[0]
        above = min(phases.shape[2], max(0, -first))
        below = max(above, min(phases.shape[2], height - first))
        do(phases[:, :, :above].fill, 0)
        do(phases[:, :, below:].fill, 0)
        for parity in range(SIZE):
            # the columns parity, parity + 2, ... of the padded input; those before 0 and from width on are padding
            start = parity - self.begin[1]
            before = min(self.step, max(0, -(start // SIZE)))
            end = max(before, min(self.step, -(-(width - start) // SIZE)))
            inside = phases[parity, :, above:below]
            do(inside[..., :before].fill, 0)
            do(inside[..., end:].fill, 0)
            source = x[:, first + above : first + below, start + before * SIZE :: SIZE]
            do(np.copyto, inside[..., before:end], source[..., : end - before])
