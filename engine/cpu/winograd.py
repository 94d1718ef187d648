"""Winograd F(4x2, 3x3): 3x3 convolutions of stride 1 with a third of the multiplications (Lavin and Gray, 2015).

Each tile of 4 rows and 2 columns of outputs is ``A4^T [(G4 g G2^T) . (B4^T d B2)] A2`` of the 6x4 inputs ``d`` under
it; over all tiles and channels the element-wise product in brackets is 24 matrix products. F(4, 3) across rows saves
half of the multiplications, F(2, 3) across columns a third of the rest by additions alone. Square F(4x4) tiles would
save more and were slower below 256 channels: what they gain in products they lose in transforms and larger weights.

The transforms are passes over memory, and what decides their speed is how few they are and how long the runs. Across
rows the transform is a product of a 6x6 matrix with the six rows of the input under a row of tiles, where they lie;
of tiles on the padding, with the rows and the taps that are not. The results are taken apart by column phase. Across
columns, taps 2 and 3 of a tile are phases 0 and 1 of the tile to its right, the same planes one element further on, and
four additions do it. The price is a column of junk tiles at the end of each row, never written out.

Layouts, for a strip of R tile rows and T tile columns, with C inputs, M outputs and S = R (T + 1):
  rows     [6, C, R, 2 (T + 1)]      row tap, after B4^T over rows; padded columns
  left     [6, 2, C, S]              the same by column phase
  v        [4, 6, C, S]              column tap, row tap: after B2^T over columns
  u        [24, M, C]                the weights, transformed at load
  product  [4, 6, M, S]              u v
  half     [2, 6, M, S]              output column, row tap: after A2^T over columns, in place
  tiles    [2, 4, M, S]              output column, output row: after A4^T over rows

Two regions of scratch are enough, since each stage reads what the one before wrote. What stands behind the sums is
computed in the tiles, while they are one run of memory, unless it reads other images. The error is about 3e-6 of the
largest output.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.products import multiply, transform
from engine.cpu.row_tiles import A4, G4, ROWS, STRIP_TILES, RowTiles, put
from engine.cpu.threads import Do, Range, call

COLUMNS = 2
"""Outputs of one tile across; down there are ROWS."""

TAPS = (ROWS + 2) * (COLUMNS + 2)

STRIP_BYTES = 4 << 20
"""Transformed inputs and products of one strip: large enough for long runs, small enough for the shared cache."""

G2 = np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]])


def transform_weights(w: np.ndarray, g4: np.ndarray = G4, g2: np.ndarray = G2) -> np.ndarray:
    """``G4 g G2^T`` of weights ``[M, C, 3, 3]``, as ``u`` ``[24, M, C]`` float32, column tap first."""
    both = (g2[:, None, None, :] * g4[:, :, None]).reshape(TAPS, 9).astype(np.float32)
    return (both @ w.reshape(-1, 9).T.astype(np.float32, copy=False)).reshape(TAPS, *w.shape[:2])


def row_bytes(channels: int, width: int) -> int:
    """Transformed inputs and products of one row of tiles, for ``channels`` inputs and outputs in all."""
    return 4 * TAPS * (-(-width // COLUMNS) + 1) * channels


class Tiling(RowTiles):
    """The strips of a 3x3 convolution of ``[C, H, W]`` with stride and dilation 1, any padding, and their transforms.

    ``u`` are the transformed weights, ``begin`` the padding above and to the left, ``out`` the output's height and
    width. What the chain of the ``epilogue`` needs is part of the scratch.
    """

    def __init__(self, u: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        self.outputs, channels = u.shape[1:]
        self.u, self.epilogue, self.step = u, epilogue, -(-out[1] // COLUMNS) + 1
        super().__init__(channels, begin, out[0], COLUMNS * self.step)
        fit = STRIP_BYTES // row_bytes(self.channels + self.outputs, out[1])
        self.rows = min(max(fit, -(-STRIP_TILES // self.step)), self.tile_rows)
        # 150 GFLOP/s in the products, 0.1 ns for each of the passes over an input or output pixel
        pixels = self.tile_rows * ROWS * out[1]
        self.nanoseconds = pixels * (self.channels * self.outputs * 6 / 150 + 1.1 * self.channels + 0.8 * self.outputs)
        self.nanoseconds += pixels * self.outputs * epilogue.nanoseconds
        self.scratch = sum(self._regions(self.rows))

    def _regions(self, rows: int) -> tuple[int, int]:
        """Elements of the two regions of scratch for a strip of that many tile rows."""
        c, m, s = self.channels, self.outputs, rows * self.step
        lines = c * (ROWS * rows + 2) * COLUMNS * self.step
        block = ROWS * COLUMNS * m * s
        registers = self.epilogue.registers
        return max(24 * c * s, max(1, registers) * block), max(lines, 12 * c * s + 1, 24 * m * s, registers * block)

    def transform_inputs(
        self, x: np.ndarray, strip: Range, scratch: np.ndarray, top: int = 0, do: Do = call
    ) -> np.ndarray:
        """``v`` of a strip, ``[24, C, S]``; ``top`` is the input row that row 0 of ``x`` is.

        ``x`` may lie in the second region.
        """
        c, s = self.channels, (strip[1] - strip[0]) * self.step
        first, second = self._halves(strip, scratch)
        rows = self.transform_rows(x, strip, first, top, do)
        left = _view(second, 6, 2, c * s)
        do(np.copyto, left, rows.reshape(6, c * s, 2).swapaxes(1, 2))
        do(second[left.size : left.size + 1].fill, 0)  # what the last junk tile takes in from beyond the end
        right = np.lib.stride_tricks.as_strided(second[1:], left.shape, left.strides)
        v = _view(first, 4, 6, c * s)
        do(np.subtract, left[:, 0], right[:, 0], v[0])
        do(np.add, left[:, 1], right[:, 0], v[1])
        do(np.subtract, right[:, 0], left[:, 1], v[2])
        do(np.subtract, left[:, 1], right[:, 1], v[3])
        return v.reshape(TAPS, c, s)

    def product(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """Where ``product`` lies, ``[24, M, S]``."""
        _, second = self._halves(strip, scratch)
        return _view(second, TAPS, self.outputs, (strip[1] - strip[0]) * self.step)

    def add_columns(self, product: np.ndarray, do: Do = call) -> np.ndarray:
        """``half`` ``[2, 6, M S]``, where the first half of the product lay."""
        taps = product.reshape(4, 6, -1)
        do(np.add, taps[0], taps[1], taps[0])
        do(np.add, taps[0], taps[2], taps[0])
        do(np.subtract, taps[1], taps[2], taps[1])
        do(np.subtract, taps[1], taps[3], taps[1])
        return taps[:2]

    def tiles(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """Where ``tiles`` lie, ``[2, 4, M, S]``."""
        return _view(scratch, COLUMNS, ROWS, self.outputs, (strip[1] - strip[0]) * self.step)

    def rest(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """What of the scratch is free once there are ``tiles``."""
        return self._halves(strip, scratch)[1]

    def store(self, tiles: np.ndarray, strip: Range, y: np.ndarray, do: Do = call) -> None:
        """Put ``tiles`` where they belong in ``y`` ``[M, H, W]``, as its type."""
        first, last = strip[0] * ROWS, min(strip[1] * ROWS, y.shape[1])
        whole, more = divmod(last - first, ROWS)
        rows = y[:, first : last - more].reshape(len(y), whole, ROWS, y.shape[2])
        for j in range(COLUMNS):
            by_row = tiles[j].reshape(ROWS, len(y), -1, self.step)[..., : -(-(y.shape[2] - j) // COLUMNS)]
            do(put, rows[..., j::COLUMNS], by_row[:, :, :whole].transpose(1, 2, 0, 3))
            if more:
                others = by_row[:more, :, whole].swapaxes(0, 1)
                do(put, y[:, last - more : last, j::COLUMNS], others)

    def _halves(self, strip: Range, scratch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The two regions of scratch."""
        size, _ = self._regions(strip[1] - strip[0])
        return scratch[:size], scratch[size:]


class Winograd(Tiling):
    """Such a convolution in float32; ``w`` is ``[M, C, 3, 3]``."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        super().__init__(transform_weights(w), epilogue, begin, out)

    def compute(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        v = self.transform_inputs(x, strip, scratch, do=do)
        product, tiles = self.product(strip, scratch), self.tiles(strip, scratch)
        multiply(self.u, v, product, do)
        # A^T spreads what is added at column tap 1 and row tap 1 to every output of the tile alike
        self.epilogue.add_bias(product[7], do)
        transform(A4, self.add_columns(product, do), tiles.reshape(2, 4, -1), do)
        by_row = tiles.reshape(2, 4, self.outputs, -1, self.step)
        self.finish(do, by_row, y, given, strip=strip, scratch=scratch)


def _view(region: np.ndarray, *shape: int) -> np.ndarray:
    """The start of ``region`` in that shape."""
    return region[: prod(shape)].reshape(shape)
