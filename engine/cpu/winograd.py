"""Winograd F(4x2, 3x3): 3x3 convolutions of stride 1 with a third of the multiplications (Lavin and Gray, 2015).

Each tile of 4 rows and 2 columns of outputs is ``A4^T [(G4 g G2^T) . (B4^T d B2)] A2`` of the 6x4 inputs ``d`` under
it; over all tiles and channels the element-wise product in brackets is 24 matrix products. F(4, 3) across rows saves
half of the multiplications, F(2, 3) across columns a third of the rest by additions alone. Square F(4x4) tiles would
save more and were slower below 256 channels: what they gain in products they lose in transforms and larger weights.

The transforms are NumPy additions, and what decides their speed is the length of the runs they work on. So the input is
laid out by phase: plane (i, j) holds the padded pixels (4r + i, 2t + j) of every channel. Rows 4 and 5 of a tile are
phases 0 and 1 of the tile below, columns 2 and 3 those of the tile to the right: the same planes one tile further on,
so that every addition runs over long contiguous memory. The price is a column of junk tiles at the end of each row,
never written out.

Layouts, for a strip of R tile rows and T tile columns, with C inputs, M outputs and S = R (T + 1):
  phases   [4, 2, C, R + 1, T + 1]   row phase, column phase: the gathered input
  left     [6, 2, C, S]              row tap, column phase: after B4^T over rows
  v        [4, 6, C, S]              column tap, row tap: after B2^T over columns
  u        [24, M, C]                the weights, transformed at load
  product  [4, 6, M, S]              u v
  half     [2, 6, M, S]              output column, row tap: after A2^T over columns
  tiles    [4, 2, M, S]              output row, output column

Two regions of scratch are enough, since each stage reads what the one before wrote; ``temps`` holds the three lines
that a transform needs beside its output. The error is about 3e-6 of the largest output.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.threads import Pool

ROWS, COLUMNS = 4, 2
"""Outputs of one tile."""

TAPS = (ROWS + 2) * (COLUMNS + 2)

STRIP_BYTES = 8 << 20
"""Transformed inputs and products of one strip: large enough for long runs, small enough for the shared cache."""

STRIP_TILES = 128
"""Tiles of one strip at least, or its matrix products become too narrow to be fast."""

STRIPS = 4
"""A layer is cut into at least this many strips where it has the rows, so that the workers finish together."""

_G4 = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_G2 = np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]])


def transform_weights(w: np.ndarray) -> np.ndarray:
    """``G4 g G2^T`` of weights ``[M, C, 3, 3]``, as ``u`` ``[24, M, C]`` float32, column tap first."""
    both = np.einsum("by,ax->baxy", _G2, _G4).reshape(TAPS, 9).astype(np.float32)
    return (both @ w.reshape(-1, 9).T.astype(np.float32, copy=False)).reshape(TAPS, *w.shape[:2])


class Winograd:
    """A 3x3 convolution of ``[C, H, W]`` with stride and dilation 1, any padding, in float32.

    ``w`` is ``[M, C, 3, 3]``, ``begin`` the padding above and to the left, ``out`` the output's height and width.
    """

    def __init__(self, w: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        self.u, self.epilogue, self.begin = transform_weights(w), epilogue, begin
        self.outputs, self.channels = w.shape[:2]
        self.tile_rows, self.step = -(-out[0] // ROWS), -(-out[1] // COLUMNS) + 1
        fit = STRIP_BYTES // (4 * TAPS * self.step * (self.channels + self.outputs))
        self.rows = min(max(fit, -(-STRIP_TILES // self.step)), -(-self.tile_rows // STRIPS))
        self.scratch = sum(self._regions(self.rows))

    def _regions(self, rows: int) -> tuple[int, int, int]:
        """Elements of the two regions and of the temporaries for a strip of that many tile rows."""
        c, m, s = self.channels, self.outputs, rows * self.step
        return max(8 * c * (s + self.step), 24 * c * s, 12 * m * s), max(12 * c * s + 1, 24 * m * s), 6 * max(c, m) * s

    def run(self, x: np.ndarray, y: np.ndarray, pool: Pool) -> None:
        """``x`` float32 ``[C, H, W]`` → ``y`` float32 ``[M, *out]``."""
        strips = [(row, min(row + self.rows, self.tile_rows)) for row in range(0, self.tile_rows, self.rows)]
        pool.each(lambda worker, strip: self._strip(x, y, strip, pool.scratch(worker)), strips)

    def _strip(self, x: np.ndarray, y: np.ndarray, strip: tuple[int, int], scratch: np.ndarray) -> None:
        c, m, step, rows = self.channels, self.outputs, self.step, strip[1] - strip[0]
        s = rows * step
        sizes = self._regions(rows)
        first, second, temps = np.split(scratch[: sum(sizes)], np.cumsum(sizes)[:2])

        phases = _shaped(first, 4, 2, c, s + step)
        self._gather(x, phases.reshape(4, 2, c, rows + 1, step), strip[0] * ROWS)
        left = _shaped(second, 6, 2, c * s)
        lines = [phases[i, :, :, :s] for i in range(4)] + [phases[i, :, :, step:] for i in range(2)]
        _input_rows(lines, left.reshape(6, 2, c, s), _shaped(temps, 3, 2, c, s))

        second[left.size] = 0  # what the last junk tile takes in from beyond the end
        right = np.lib.stride_tricks.as_strided(second[1:], left.shape, left.strides)
        v = _shaped(first, 4, 6, c * s)
        _input_columns([left[:, 0], left[:, 1], right[:, 0], right[:, 1]], v)

        product = _shaped(second, 4, 6, m * s)
        np.matmul(self.u, v.reshape(TAPS, c, s), out=product.reshape(TAPS, m, s))
        # A^T spreads what is added at tap (1, 1) to every output of the tile alike
        self.epilogue.add_bias(product[1, 1].reshape(m, s))
        half = _shaped(first, 2, 6, m * s)
        _output_columns(product, half)
        tiles = _shaped(second, 4, 2, m * s)
        _output_rows([half[:, a] for a in range(6)], tiles, _shaped(temps, 3, 2, m * s))
        self._scatter(tiles.reshape(4, 2, m, rows, step), y, strip[0] * ROWS)

    def _gather(self, x: np.ndarray, phases: np.ndarray, top: int) -> None:
        """The zero-padded pixels of the strip from output row ``top`` on, by row phase and column phase."""
        for i in range(ROWS):
            rows, from_rows = _inside(top + i - self.begin[0], ROWS, phases.shape[3], x.shape[1])
            for j in range(COLUMNS):
                columns, from_columns = _inside(j - self.begin[1], COLUMNS, phases.shape[4], x.shape[2])
                plane = phases[i, j]
                plane[:, : rows.start] = 0
                plane[:, rows.stop :] = 0
                plane[:, rows, : columns.start] = 0
                plane[:, rows, columns.stop :] = 0
                plane[:, rows, columns] = x[:, from_rows, from_columns]

    def _scatter(self, tiles: np.ndarray, y: np.ndarray, top: int) -> None:
        """The activation of each output phase, to its rows and columns of ``y``."""
        for i in range(ROWS):
            for j in range(COLUMNS):
                target = y[:, top + i : top + ROWS * tiles.shape[3] : ROWS, j::COLUMNS]
                self.epilogue.activate(tiles[i, j, :, : target.shape[1], : target.shape[2]], target)


def _shaped(region: np.ndarray, *shape: int) -> np.ndarray:
    """The start of ``region`` in that shape."""
    return region[: prod(shape)].reshape(shape)


def _inside(first: int, stride: int, count: int, extent: int) -> tuple[slice, slice]:
    """Of ``count`` positions ``first``, ``first + stride``, ...: those within ``extent``, and where they lie in it."""
    low = min(count, max(0, -(first // stride)))
    high = max(low, min(count, (extent - 1 - first) // stride + 1))
    begin = first + low * stride
    return slice(low, high), slice(begin, begin + (high - low - 1) * stride + 1, stride) if high > low else slice(0, 0)


def _input_rows(d: Sequence[np.ndarray], out: np.ndarray, temps: np.ndarray) -> None:
    """``B4^T``: the six lines ``d`` into the six of ``out``, in 17 passes; ``temps`` is three lines long."""
    a, b, c = temps
    four = np.float32(4)
    np.subtract(d[4], d[2], out=a)
    np.subtract(d[3], d[1], out=b)
    np.add(b, b, out=b)
    np.add(a, b, out=out[3])
    np.subtract(a, b, out=out[4])
    np.subtract(d[0], d[2], out=c)
    np.multiply(c, four, out=c)
    np.add(c, a, out=out[0])
    np.add(b, b, out=b)
    np.subtract(d[5], d[3], out=c)
    np.subtract(c, b, out=out[5])
    np.multiply(d[2], four, out=a)
    np.subtract(d[4], a, out=a)
    np.multiply(d[1], four, out=b)
    np.subtract(d[3], b, out=b)
    np.add(a, b, out=out[1])
    np.subtract(a, b, out=out[2])


def _input_columns(d: Sequence[np.ndarray], out: np.ndarray) -> None:
    """``B2^T``: the four lines ``d`` into the four of ``out``."""
    np.subtract(d[0], d[2], out=out[0])
    np.add(d[1], d[2], out=out[1])
    np.subtract(d[2], d[1], out=out[2])
    np.subtract(d[1], d[3], out=out[3])


def _output_columns(m: np.ndarray, out: np.ndarray) -> None:
    """``A2^T``: the four lines ``m`` into the two of ``out``."""
    np.add(m[0], m[1], out=out[0])
    np.add(out[0], m[2], out=out[0])
    np.subtract(m[1], m[2], out=out[1])
    np.subtract(out[1], m[3], out=out[1])


def _output_rows(m: Sequence[np.ndarray], out: np.ndarray, temps: np.ndarray) -> None:
    """``A4^T``: the six lines ``m`` into the four of ``out``, in 13 passes; ``temps`` is three lines long."""
    a, b, c = temps
    four = np.float32(4)
    np.add(m[1], m[2], out=a)
    np.add(m[3], m[4], out=b)
    np.add(m[0], a, out=c)
    np.add(c, b, out=out[0])
    np.multiply(b, four, out=b)
    np.add(a, b, out=out[2])
    np.subtract(m[1], m[2], out=a)
    np.subtract(m[3], m[4], out=b)
    np.add(b, b, out=b)
    np.add(a, b, out=out[1])
    np.multiply(b, four, out=b)
    np.add(a, m[5], out=a)
    np.add(a, b, out=out[3])
