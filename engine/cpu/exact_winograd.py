"""Winograd's 3x3 over integers, exactly: scaled transforms, sums that are known not to round, and one rounding.

With G4's rows times 4, 6, 6, 24, 24, 1 and G2 times 2 the transformed weights are integers, as the inputs are. float32
then holds each sum of ``product`` exactly as long as it stays below 2^24. The largest possible sum is far beyond that,
but by Cauchy and Schwarz no part of a sum is larger than the norm of the weights times that of the inputs, over the
channels. Norms of weights are known at load; those of the inputs are one more pass over ``v``, and small in practice.
Where they are not, the channels are cut into runs. These are added in ``half``, where most of a product has cancelled.

The outputs come out of A4^T, with the scales in it, as integers but for rounding. Seven roundings, a coefficient's
among them, change a sum by at most 7 x 2^-24 of what its terms come to. Where that is below 1/2, the nearest integer is
the exact sum; elsewhere A4^T is multiplied in float64.

Where tiles go down the columns alone (`engine.cpu.winograd_rows`), all this is simpler: the three taps across are added
before A4^T, and a norm for all three of them bounds their sum, too.

A strip whose inputs are too large for all that is left to the definition.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.products import multiply, transform
from engine.cpu.row_tiles import A4, G4, ROWS, RowTiles
from engine.cpu.threads import Range
from engine.cpu.winograd import G2, TAPS, Tiling, transform_weights
from engine.cpu.winograd_rows import StackedTiling, stacked_weights

EXACT = 1 << 24
"""float32 holds every integer up to this size: sums that stay below it are exact in any order."""

LARGEST_TERMS = EXACT // 15
"""Terms of an output that come to no more are summed in float32: seven roundings take less than 1/2 from them."""

MARGIN = 1 + 2**-9
"""Above what float32 rounds a norm down by: half a unit of the last place for each of up to 2^14 channels."""

LAST = EXACT * 5 // 8
"""How large the last two column taps may be, to leave room for ``half``."""

FEWEST_CHANNELS = 32
"""Channels of a run."""

PIECE = 1 << 13
"""Columns of ``half`` that are multiplied together in float64."""

_SCALES = np.array([4, 6, 6, 24, 24, 1])
_G4, _G2 = np.rint(G4 * _SCALES[:, None]), G2 * 2
_A4 = A4.astype(np.float64) / _SCALES


class _Exact(RowTiles):
    """What is done to integers alike, whichever the tiles are.

    ``v`` of a strip is multiplied in the first of ``cuts`` whose runs of channels are exact. Each run has a bound for
    its weights.
    """

    u: np.ndarray
    channels: int
    outputs: int
    rows: int
    scratch: int
    a4: np.ndarray
    """A4^T with all scales in it, float64."""

    def _cut(self, columns: int) -> None:
        """Make the ``cuts``; strips have at most so many ``columns`` for each output in what A4^T reads."""
        squares = np.square(self.u, dtype=np.float64)
        self.cuts: list[list[tuple[slice, np.ndarray]]] = []
        parts = 1
        while parts == 1 or self.channels >= parts * FEWEST_CHANNELS:
            edges = pairwise(self.channels * part // parts for part in range(parts + 1))
            runs = [slice(*edge) for edge in edges]
            self.cuts.append([(run, self._largest(np.sqrt(squares[..., run].sum(2))) * MARGIN) for run in runs])
            parts *= 2
        self._total_at = self.scratch
        self.scratch += self.outputs * columns if len(self.cuts) > 1 else 0

    def _largest(self, norms: np.ndarray) -> np.ndarray:
        """The bound of each tap, of the ``norms`` of its rows of weights ``[taps, rows]``."""
        return norms.max(1)

    def lines(self, strip: Range, shape: tuple[int, ...], scratch: np.ndarray) -> np.ndarray:
        """Where the rows of the input under a strip may lie, as ``sums`` reads them."""
        return self.rest(strip, scratch)[: prod(shape)].reshape(shape)

    def sums(self, lines: np.ndarray, strip: Range, scratch: np.ndarray, top: int) -> np.ndarray | None:
        """``tiles`` of a strip, of integers of at most 255, or None where they round.

        ``lines`` are the rows of the input from ``top`` on.
        """
        v = self.transform_inputs(lines, strip, scratch, top)
        product = self.product(strip, scratch)
        runs = self._exact_runs(v)
        half: np.ndarray | None = None
        bound = 0.0
        for run, last in runs:
            multiply(self.u[..., run], v[:, run], product)
            part = self.add_columns(product).reshape(-1, 6, product.shape[2] * self.outputs)
            terms = np.maximum(part.max(2), -part.min(2)).max(0)
            # the last two column taps are added last: had the sum of the others rounded, this one would be larger
            bound += float(terms.max())
            if bound >= EXACT or terms.max() >= EXACT - last:
                return None
            if len(runs) == 1:
                half = part
            elif half is None:
                half = scratch[self._total_at :][: part.size].reshape(part.shape)
                np.copyto(half, part)
            else:
                np.add(half, part, out=half)
                terms = np.maximum(half.max(2), -half.min(2)).max(0)
        return None if half is None else self._outputs(half, terms, self.tiles(strip, scratch))

    def _exact_runs(self, v: np.ndarray) -> list[tuple[slice, float]]:
        """The runs of channels whose products are exact, none where there are none; of each, how large the last two
        column taps may be."""
        for runs in self.cuts:
            bounds = [norms * np.sqrt(np.einsum("tcs,tcs->ts", v[:, run], v[:, run]).max(1)) for run, norms in runs]
            last = [self._last(bound) for bound in bounds]
            if max(bound.max() for bound in bounds) < EXACT and max(last) <= LAST:
                return [(run, most) for (run, _), most in zip(runs, last, strict=True)]
        return []

    def _last(self, bound: np.ndarray) -> float:
        """How large what is added last may be, where the sum of all may be larger than its parts."""
        raise NotImplementedError

    def _outputs(self, half: np.ndarray, terms: np.ndarray, tiles: np.ndarray) -> np.ndarray:
        """``tiles`` of exact ``half`` ``[..., 6, M S]``, whose row taps are no larger than ``terms`` ``[6]``."""
        flat = tiles.reshape(len(half), 4, -1)
        if (np.abs(self.a4) @ terms).max() <= LARGEST_TERMS:
            transform(self.a4.astype(np.float32), half, flat)
            return np.rint(tiles, out=tiles)
        for first in range(0, half.shape[2], PIECE):
            piece = self.a4 @ half[..., first : first + PIECE].astype(np.float64)
            np.copyto(flat[..., first : first + PIECE], np.rint(piece, out=piece), casting="same_kind")
        return tiles


class ExactWinograd(_Exact, Tiling):
    """The transforms of a convolution with integer weights ``w`` ``[M, C, 3, 3]``, float32, of at most 255."""

    a4 = _A4 / 2

    def __init__(self, w: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        super().__init__(transform_weights(w, _G4, _G2), epilogue, begin, out)
        self._cut(TAPS // 2 * self.rows * self.step)

    def _last(self, bound: np.ndarray) -> float:
        return float(bound[TAPS // 2 :].max())


class ExactRows(_Exact, StackedTiling):
    """As above, with the taps across stacked: of few outputs."""

    a4 = _A4

    def __init__(self, w: np.ndarray, epilogue: Epilogue, begin: tuple[int, ...], out: tuple[int, ...]) -> None:
        super().__init__(stacked_weights(w, _G4), epilogue, begin, out)
        self._cut(6 * self.rows * self.columns)

    def _regions(self, rows: int) -> tuple[int, int]:
        first, second = super()._regions(rows)
        return first, max(second, self.channels * (ROWS * rows + 2) * self.columns)

    def _largest(self, norms: np.ndarray) -> np.ndarray:
        return norms.reshape(len(norms), -1, self.outputs).sum(1).max(1)

    def _last(self, bound: np.ndarray) -> float:  # noqa: ARG002 (the bound is that of the whole sum)
        return 0.0
