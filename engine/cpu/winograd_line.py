"""Winograd F(4, 3) and F(2, 5): convolutions along one axis, in 6 multiplications for 12 or 10.

As in `engine.cpu.winograd`, at the same six points, so that the transform of the inputs is the same for both: each tile
of 4 or 2 outputs is made of the six inputs under it. Inputs are taken apart by their place modulo the tile; then a tap
of all tiles is one run, and the transform some additions of runs. The error is about 3e-6 of the largest output.

Layouts, for T tiles of S outputs, with C inputs and M outputs:
  phases   [S, C, T + 5 // S]   the padded inputs
  v        [6, C, T]            after B^T
  u        [6, M, C]            the weights, transformed at load
  product  [6, M, T]            u v
  tiles    [S, M, T]            after A^T
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.cpu import blas
from engine.cpu.epilogue import Epilogue
from engine.cpu.kernel import run_strips
from engine.cpu.products import multiply, transform
from engine.cpu.six_points import POINTS, add_points, outputs_of, take, tile_size, weights_of
from engine.cpu.threads import Do, Pool, Range
from engine.ops.window import Window

STRIP_BYTES = 5 << 20
"""All that is made of one strip."""

FEWEST = 64
"""Outputs along the axis; fewer make narrow products."""


def line_axis(window: Window, x: tuple[int, ...]) -> int | None:
    """The axis of ``x`` ``[N, C, H, W]`` that such a convolution goes along; None where it is another one."""
    if window.strides != (1, 1) or window.dilations != (1, 1) or min(window.begin + window.end) < 0:
        return None
    for axis in (0, 1):
        other = 1 - axis
        flat = window.kernel[other] == x[2 + other] == window.out[other] == 1
        if flat and window.kernel[axis] in (3, 5) and window.out[axis] >= FEWEST:
            return axis
    return None


def line_ns(w: tuple[int, ...]) -> float:
    """What it takes for an output on one core; see `engine.cpu.conv.winograd_ns`."""
    size = tile_size(max(w[2:]))
    packing = 0 if blas.has_small_products() else 1.9 * w[1] + 0.4 * w[0]
    return (w[0] * w[1] * POINTS * 2 / 100 + (3 * w[1] + 2.4 * w[0] + 2 * packing)) / size


class WinogradLine:
    """A convolution of ``[N, C, H, W]``, of which H or W is 1, along the other axis; ``w`` is ``[M, C, kh, kw]``."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, axis: int) -> None:
        self.epilogue = epilogue
        self.u = np.ascontiguousarray(np.moveaxis(w.reshape(*w.shape[:2], -1) @ weights_of(window.taps).T, 2, 0))
        self.outputs, self.channels = self.u.shape[1:]
        self.size, self.begin, self.count = tile_size(window.kernel[axis]), window.begin[axis], window.out[axis]
        self.a = outputs_of(self.size)
        self.tiles = -(-self.count // self.size)
        self.halo = (POINTS - 1) // self.size
        fit = STRIP_BYTES // 4 - self.size * self.channels * self.halo
        self.most = min(self.tiles, max(1, fit // sum(self._regions(1))))
        self.scratch = sum(self._regions(self.most)) + self.size * self.channels * self.halo
        self.nanoseconds = self.count * (line_ns(w.shape) + self.outputs * epilogue.nanoseconds)

    def _regions(self, tiles: int) -> tuple[int, int, int]:
        """Elements of v, of what it is made from, and of the products with what is made from them."""
        c, m = self.channels * tiles, self.outputs * tiles
        return POINTS * c, (self.size + 4) * c, POINTS * m + self.size * max(1, self.epilogue.registers + 1) * m

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, M, *out]``; ``given`` as the epilogue has it."""
        x, y, *given = (pool.reshaped(array, *array.shape[:2], -1) for array in (x, y, *given))
        strips = pool.ranges(self.tiles, self.nanoseconds, self.most)
        run_strips(self._strip, x, y, given=given, strips=strips, pool=pool)

    def _strip(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        tiles, columns = strip[1] - strip[0], slice(strip[0] * self.size, strip[1] * self.size)
        v, rest = take(scratch, POINTS, self.channels, tiles)
        self._transform_inputs(do, x, strip, v, rest)
        product, rest = take(rest, POINTS, self.outputs, tiles)
        multiply(self.u, v, product, do)
        # A^T spreads what is added at 1 to every output of the tile alike
        self.epilogue.add_bias(product[1], do)
        results, rest = take(rest, self.size, self.outputs, tiles)
        transform(self.a, product.reshape(POINTS, -1), results.reshape(self.size, -1), do)
        target = y[:, columns]
        if not given:
            by_row = results[:, :, None]
            self.epilogue.finish(by_row, by_row, given, rest, do)
        for place in range(self.size):
            line = target[:, place :: self.size]
            do(np.copyto, line, results[place, :, : line.shape[1]])
        if given:
            at = target[:, None]
            self.epilogue.finish(at, at, [array[:, None, columns] for array in given], scratch, do)

    def _transform_inputs(self, do: Do, x: np.ndarray, strip: Range, v: np.ndarray, scratch: np.ndarray) -> None:
        """``v`` of a strip of ``x`` ``[C, L]``."""
        tiles, length = v.shape[2], x.shape[1]
        phases, rest = take(scratch, self.size, self.channels, tiles + self.halo)
        for place in range(self.size):
            # the inputs first, first + size, ...; those before 0 and from length on are padding
            first = strip[0] * self.size + place - self.begin
            before = min(tiles + self.halo, max(0, -(first // self.size)))
            end = max(before, min(tiles + self.halo, -(-(length - first) // self.size)))
            do(phases[place, :, :before].fill, 0)
            do(phases[place, :, end:].fill, 0)
            inside = x[:, first + before * self.size :: self.size][:, : end - before]
            do(np.copyto, phases[place, :, before:end], inside)
        d = [phases[tap % self.size, :, tap // self.size :][:, :tiles] for tap in range(POINTS)]
        (even, odd), _ = take(rest, 2, self.channels, tiles)
        add_points(do, d, v, even, odd)
