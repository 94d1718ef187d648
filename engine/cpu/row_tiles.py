"""What Winograd's algorithms for 3x3 windows have in common: F(4, 3) down the columns (Lavin and Gray, 2015).

The transform is a product of a 6x6 matrix with the six rows of the input under a row of tiles, where they lie; of tiles
on the padding, with the rows and the taps that are not. It writes once what 17 additions would read and write many
times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.kernel import run_strips
from engine.cpu.products import transform
from engine.cpu.six_points import POINTS, outputs_of, take
from engine.cpu.threads import Do, Pool, Range, call

ROWS = 4
"""Outputs of a tile down."""

STRIP_TILES = 128
"""Tiles of one strip at least, or its matrix products become too narrow to be fast."""

G4 = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_B4 = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
A4 = outputs_of(ROWS)


class RowTiles:
    """Rows of tiles of a 3x3 convolution of ``[C, H, W]`` with stride and dilation 1, any padding.

    ``begin`` is the padding above and to the left, ``height`` that of the output, ``columns`` those of the padded input
    as the transform writes it. ``rows`` is the most rows of tiles of a strip.
    """

    rows: int
    scratch: int
    nanoseconds: float
    epilogue: Epilogue

    def __init__(self, channels: int, begin: tuple[int, ...], height: int, columns: int) -> None:
        self.channels, self.begin, self.columns = channels, begin, columns
        self.tile_rows = -(-height // ROWS)

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, M, *out]``; ``given`` as the epilogue has it."""
        strips = pool.ranges(self.tile_rows, self.nanoseconds, self.rows)
        run_strips(self.compute, x, y, given=given, strips=strips, pool=pool)

    def compute(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        """The outputs ``y`` ``[M, *out]`` of a strip of rows of tiles of an image ``x`` ``[C, H, W]``."""
        raise NotImplementedError

    def transform_inputs(
        self, x: np.ndarray, strip: Range, scratch: np.ndarray, top: int = 0, do: Do = call
    ) -> np.ndarray:
        """What the weights multiply ``[taps, C, S]``; ``top`` is the input row of row 0 of ``x``, of `rest`."""
        raise NotImplementedError

    def product(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """Where the product ``[taps, ..., S]`` lies."""
        raise NotImplementedError

    def add_columns(self, product: np.ndarray, do: Do = call) -> np.ndarray:
        """What A4^T reads, ``[..., 6, M S]``, where the first of the product lay."""
        raise NotImplementedError

    def tiles(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """Where the outputs lie, ``[..., 4, M, S]``."""
        raise NotImplementedError

    def rest(self, strip: Range, scratch: np.ndarray) -> np.ndarray:
        """What of the scratch is free once there are ``tiles``."""
        raise NotImplementedError

    def store(self, tiles: np.ndarray, strip: Range, y: np.ndarray, do: Do = call) -> None:
        """Put ``tiles`` where they belong in ``y`` ``[M, H, W]``, as its type."""
        raise NotImplementedError

    def finish(
        self,
        do: Do,
        tiles: np.ndarray,
        y: np.ndarray,
        given: Sequence[np.ndarray],
        *,
        strip: Range,
        scratch: np.ndarray,
    ) -> None:
        """Store ``tiles`` ``[..., 4, M, R, columns]`` in ``y`` ``[M, H, W]``, through the chain of the epilogue.

        That is done in the tiles, which are in cache, or in ``y`` where other arrays of its shape are part of it.
        """
        if not given:
            self.epilogue.finish(tiles, tiles, given, self.rest(strip, scratch), do)
        self.store(tiles, strip, y, do)
        if given:
            lines = slice(strip[0] * ROWS, strip[1] * ROWS)
            target = y[:, lines]
            self.epilogue.finish(target, target, [array[:, lines] for array in given], scratch, do)

    def transform_rows(self, x: np.ndarray, strip: Range, region: np.ndarray, top: int, do: Do) -> np.ndarray:
        """The inputs of a strip ``[6, C, R, columns]``, in ``region``; ``top`` is the input row of row 0 of ``x``."""
        rows, _ = take(region, POINTS, self.channels, strip[1] - strip[0], self.columns)
        begin = self.begin[1]
        width = min(x.shape[2], self.columns - begin)
        do(rows[..., :begin].fill, 0)
        do(rows[..., begin + width :].fill, 0)
        plane, line, item = x.strides
        for tiles, taps in self._inner_taps(strip, top, x.shape[1]):
            target = rows[:, :, tiles.start - strip[0] : tiles.stop - strip[0], begin : begin + width]
            if not taps:
                do(target.fill, 0)
                continue
            source = x[:, tiles.start * ROWS - self.begin[0] + taps.start - top :]
            shape = self.channels, len(tiles), len(taps), width
            under = np.lib.stride_tricks.as_strided(source, shape, (plane, ROWS * line, line, item))
            transform(_B4[:, taps.start : taps.stop], under, target.transpose(1, 2, 0, 3), do)
        return rows

    def _inner_taps(self, strip: Range, top: int, height: int) -> Iterator[tuple[range, range]]:
        """Runs of tile rows that have the same row taps on the ``height`` input rows from ``top`` on, and these taps.

        The others are on padding.
        """

        def taps(tile: int) -> range:
            above = top + self.begin[0] - tile * ROWS
            return range(max(0, above), max(0, above, min(POINTS, above + height)))

        for inner, tiles in groupby(range(*strip), taps):
            first, *others = tiles
            yield range(first, first + 1 + len(others)), inner


def put(target: np.ndarray, values: np.ndarray) -> None:
    """Copy as the target's type."""
    np.copyto(target, values, casting="unsafe")
