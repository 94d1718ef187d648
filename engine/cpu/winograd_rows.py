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
from engine.cpu.row_tiles import A4, G4, ROWS, STRIP_TILES, RowTiles, put
from engine.cpu.six_points import POINTS, take
from engine.cpu.threads import Do, Range, call

TAPS = 3
"""Columns of a window."""

STRIP_BYTES = 5 << 20
"""All that is made of one strip. Shorter ones make short runs: the time of the narrowest layers doubles at 1 MiB."""


def winograd_rows_ns(window_rows: int, w: tuple[int, ...]) -> float:
    """What it takes for a pixel of ``window_rows`` output rows on one core; see `engine.cpu.conv.winograd_ns`."""
    tiles = -(-window_rows // ROWS) * ROWS / window_rows
    packing = 0 if blas.has_small_products() else 0.8 * w[1] + 0.5 * w[0]
    return tiles * (w[0] * w[1] * 9 / 100 + 2 * (w[0] + w[1]) + packing)


def stacked_weights(w: np.ndarray, g4: np.ndarray = G4) -> np.ndarray:
    """``u`` ``[6, 3 M, C]`` float32 of weights ``w`` ``[M, C, 3, 3]``."""
    by_tap = g4.astype(np.float32) @ w.transpose(3, 0, 2, 1).astype(np.float32, copy=False)
    return np.ascontiguousarray(by_tap.transpose(2, 0, 1, 3)).reshape(POINTS, -1, w.shape[1])


class StackedTiling(RowTiles):
    """The strips of such a convolution of ``[C, H, W]``, and their transforms; ``u`` are the transformed weights.

    ``out`` is the output's height and width. What the chain of the ``epilogue`` needs is part of the scratch.
    """

    def __init__(self, u: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        self.u, self.epilogue, self.width = u, epilogue, out[1]
        self.outputs, channels = u.shape[1] // TAPS, u.shape[2]
        super().__init__(channels, begin, out[0], out[1] + TAPS - 1)
        fit = STRIP_BYTES // (4 * sum(self._regions(1)))
        self.rows = min(max(fit, -(-STRIP_TILES // self.columns)), self.tile_rows)
        self.scratch = sum(self._regions(self.rows))
        each = winograd_rows_ns(out[0], (self.outputs, channels)) + self.outputs * epilogue.nanoseconds
        self.nanoseconds = out[0] * out[1] * each

    def _regions(self, rows: int) -> tuple[int, int]:
        """Elements of the two regions of scratch for a strip of that many tile rows: each stage reads one of them."""
        c, m = self.channels * rows * self.columns, self.outputs * rows * self.columns
        return max(POINTS * c, ROWS * m), max(POINTS * TAPS, ROWS * self.epilogue.registers) * m

    def transform_inputs(
        self, x: np.ndarray, strip: Range, scratch: np.ndarray, top: int = 0, do: Do = call
    ) -> np.ndarray:
        """``rows`` of a strip; ``top`` is the input row of row 0 of ``x``, which may lie in the second region."""
        return self.transform_rows(x, strip, scratch, top, do).reshape(POINTS, self.channels, -1)

    def product(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """Where ``product`` lies, ``[6, 3 M, S]``."""
        place, _ = take(self.rest(strip, scratch), *self.u.shape[:2], (strip[1] - strip[0]) * self.columns)
        return place

    def add_columns(self, product: np.ndarray, do: Do = call) -> np.ndarray:
        """``sums`` ``[6, M S]``, where those of the first tap lay."""
        taps = product.reshape(POINTS, TAPS, -1)
        sums = taps[:, 0]
        for tap in range(1, TAPS):
            inner = sums[:, : 1 - TAPS]
            do(np.add, inner, taps[:, tap, tap : tap + inner.shape[1]], inner)
        return sums

    def tiles(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """Where ``tiles`` lie, ``[4, M, S]``."""
        place, _ = take(scratch, ROWS, self.outputs, (strip[1] - strip[0]) * self.columns)
        return place

    def rest(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """The second region, which is free once there are ``tiles``."""
        return scratch[self._regions(strip[1] - strip[0])[0] :]

    def store(self, tiles: np.ndarray, strip: Range, y: np.ndarray, do: Do = call) -> None:
        """Put ``tiles`` where they belong in ``y`` ``[M, H, W]``, as its type."""
        target = y[:, strip[0] * ROWS : strip[1] * ROWS]
        whole, more = divmod(target.shape[1], ROWS)
        inner = tiles.reshape(ROWS, self.outputs, -1, self.columns)[..., : self.width]
        by_tile = target[:, : whole * ROWS].reshape(self.outputs, whole, ROWS, self.width)
        do(put, by_tile, inner[:, :, :whole].transpose(1, 2, 0, 3))
        if more:
            do(put, target[:, whole * ROWS :], inner[:more, :, whole].swapaxes(0, 1))


class WinogradRows(StackedTiling):
    """Such a convolution in float32; ``w`` is ``[M, C, 3, 3]``."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        super().__init__(stacked_weights(w), epilogue, begin, out)

    def compute(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        product, tiles = self.product(strip, scratch), self.tiles(strip, scratch)
        multiply(self.u, self.transform_inputs(x, strip, scratch, do=do), product, do)
        sums = self.add_columns(product, do)
        # A^T spreads what is added at point 1 to every output of the tile alike
        self.epilogue.add_bias(sums[1].reshape(self.outputs, -1), do)
        transform(A4, sums, tiles.reshape(ROWS, -1), do)
        by_row = tiles.reshape(ROWS, self.outputs, -1, self.columns)
        self.finish(do, by_row, y, given, strip=strip, scratch=scratch)
