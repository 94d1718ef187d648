"""Winograd F(4, 3) down the columns alone: 3x3 convolutions of few outputs in half of the multiplications.

The three taps across are outputs of their own: one product makes all three, and these are added where they belong, one
and two columns further on. That multiplies half as much again as tiles of 4x2 (`engine.cpu.winograd`), and is faster up
to some 48 outputs: the inputs need no transform across, are half as many numbers, and the product has three times the
rows, which BLAS multiplies up to twice as fast.

Layouts, for a strip of R tile rows of W output columns, with C inputs, M outputs and S = R (W + 2):
  rows     [6, C, S]       row point; padded columns
  u        [6, 3 M, C]     the weights, transformed at load, by column tap
  product  [6, 3, M, S]    u rows
  sums     [6, M, S]       over column taps, where those of the first tap lay; the last two of each row are junk
  tiles    [4, M, S]       output row: after A4^T down

The error is about 2e-6 of the largest output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.cpu import blas
from engine.cpu.epilogue import Epilogue
from engine.cpu.products import multiply, transform
from engine.cpu.row_tiles import A4, G4, ROWS, STRIP_TILES, RowTiles
from engine.cpu.six_points import POINTS, take
from engine.cpu.threads import Do, Range

TAPS = 3
"""Columns of a window."""

STRIP_BYTES = 5 << 20
"""All that is made of one strip. Shorter ones make short runs: the time of the narrowest layers doubles at 1 MiB."""


def winograd_rows_ns(window_rows: int, w: tuple[int, ...]) -> float:
    """What it takes for a pixel of ``window_rows`` output rows on one core; see `engine.cpu.conv.winograd_ns`."""
    tiles = -(-window_rows // ROWS) * ROWS / window_rows
    packing = 0 if blas.has_small_products() else 0.8 * w[1] + 0.5 * w[0]
    return tiles * (w[0] * w[1] * 9 / 100 + 2 * (w[0] + w[1]) + packing)


class WinogradRows(RowTiles):
    """Such a convolution in float32; ``w`` is ``[M, C, 3, 3]``, ``out`` the output's height and width."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        self.outputs, channels = w.shape[:2]
        self.epilogue, self.width = epilogue, out[1]
        super().__init__(channels, begin, out[0], out[1] + TAPS - 1)
        by_tap = G4.astype(np.float32) @ w.transpose(3, 0, 2, 1).astype(np.float32, copy=False)
        self.u = np.ascontiguousarray(by_tap.transpose(2, 0, 1, 3)).reshape(POINTS, -1, channels)
        fit = STRIP_BYTES // (4 * sum(self._regions(1)))
        self.rows = min(max(fit, -(-STRIP_TILES // self.columns)), self.tile_rows)
        self.scratch = sum(self._regions(self.rows))
        pixels = out[0] * out[1]
        self.nanoseconds = pixels * (winograd_rows_ns(out[0], w.shape) + self.outputs * epilogue.nanoseconds)

    def _regions(self, rows: int) -> tuple[int, int]:
        """Elements of the two regions of scratch for a strip of that many tile rows: each stage reads one of them."""
        c, m = self.channels * rows * self.columns, self.outputs * rows * self.columns
        return max(POINTS * c, ROWS * m), max(POINTS * TAPS, ROWS * self.epilogue.registers) * m

    def compute(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        s = (strip[1] - strip[0]) * self.columns
        size, _ = self._regions(strip[1] - strip[0])
        first, second = scratch[:size], scratch[size:]
        rows = self.transform_rows(x, strip, first, 0, do)
        product, _ = take(second, POINTS, TAPS, self.outputs * s)
        multiply(self.u, rows.reshape(POINTS, self.channels, s), product.reshape(POINTS, -1, s), do)
        sums = product[:, 0]
        for tap in range(1, TAPS):
            inner = sums[:, : 1 - TAPS]
            do(np.add, inner, product[:, tap, tap : tap + inner.shape[1]], inner)
        # A^T spreads what is added at point 1 to every output of the tile alike
        self.epilogue.add_bias(sums[1].reshape(self.outputs, s), do)
        tiles, _ = take(first, ROWS, self.outputs, strip[1] - strip[0], self.columns)
        transform(A4, sums, tiles.reshape(ROWS, -1), do)
        if not given:
            self.epilogue.finish(tiles, tiles, given, second, do)
        lines = slice(strip[0] * ROWS, strip[1] * ROWS)
        target = y[:, lines]
        self._store(tiles, target, do)
        if given:
            self.epilogue.finish(target, target, [array[:, lines] for array in given], scratch, do)

    def _store(self, tiles: np.ndarray, target: np.ndarray, do: Do) -> None:
        """Put ``tiles`` where they belong in ``target`` ``[M, rows, W]``."""
        whole, more = divmod(target.shape[1], ROWS)
        inner = tiles[..., : self.width]
        by_tile = target[:, : whole * ROWS].reshape(self.outputs, whole, ROWS, self.width)
        do(np.copyto, by_tile, inner[:, :, :whole].transpose(1, 2, 0, 3))
        if more:
            do(np.copyto, target[:, whole * ROWS :], inner[:more, :, whole].swapaxes(0, 1))
