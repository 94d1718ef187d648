"""Convolutions of integers, by float32 arithmetic that is exact: strip by strip, from any source into any sink."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from engine.cpu import kn2row
from engine.cpu.conv import columns_ns, kn2row_ns, winograd_ns, winograd_takes
from engine.cpu.epilogue import Epilogue
from engine.cpu.exact_winograd import EXACT, FEWEST_CHANNELS, ExactRows, ExactWinograd
from engine.cpu.im2col import Columns
from engine.cpu.row_tiles import ROWS
from engine.cpu.threads import Pool, Range
from engine.cpu.winograd_rows import winograd_rows_ns
from engine.ops.window import Window

FEWEST_STACKED = 16
"""Channels and outputs from which on tiles down the columns are faster than the definition."""

FARTHEST = 255
"""The largest distance of an 8-bit integer from its zero point."""


class Source(Protocol):
    """What makes integers of an input, a strip at a time."""

    def widen(self, x: np.ndarray, out: np.ndarray) -> None:
        """Store in ``out``, float32, the distances of ``x`` from the zero point; padding has the distance 0."""


class Sink(Protocol):
    """What takes the sums; ``dtype`` is int32, or float32 for those that it rounds."""

    dtype: np.dtype[Any]

    def store(self, sums: np.ndarray, target: np.ndarray, scratch: np.ndarray) -> None:
        """Store what becomes of ``sums`` ``[..., M, n]``, which it may overwrite, in ``target``, which may be it.

        ``scratch`` is what the epilogue needs.
        """


class ExactConvolution:
    """Sums of distances of inputs and of weights from their zero points, of one image.

    ``w`` are the latter, float32 ``[M, C, kh, kw]``, ``width`` is that of the input, ``epilogue`` what a sink does to
    the sums. A strip is widened, summed and stored while it is in the cache.
    """

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, width: int) -> None:
        self.window = window
        self.direct: Direct | ShiftedProducts
        shifts = window.strides == (1, 1) and kn2row_ns(window, w.shape, width) < columns_ns(window, w.shape)
        if shifts and len(exact_runs(w)) == 1:
            self.direct = ShiftedProducts(w, epilogue, window, width)
        else:
            self.direct = Direct(w, epilogue, window, width)
        self.winograd: ExactWinograd | ExactRows | None = None
        self.scratch, self.nanoseconds = self.direct.scratch, self.direct.nanoseconds
        if winograd_takes(window, w.shape, 1) and min(w.shape[:2]) >= FEWEST_STACKED:
            stacked = winograd_rows_ns(window.out[0], w.shape) < winograd_ns(window, w.shape)
            if stacked:
                self.winograd = ExactRows(w, epilogue, window.begin, window.out)
            elif min(w.shape[:2]) >= FEWEST_CHANNELS:
                self.winograd = ExactWinograd(w, epilogue, window.begin, window.out)
        if self.winograd is not None:
            self.scratch, self.nanoseconds = max(self.scratch, self.winograd.scratch), self.winograd.nanoseconds

    def run(self, x: np.ndarray, y: np.ndarray, pool: Pool, source: Source, sink: Sink) -> None:
        """``x`` ``[C, H, W]`` → ``y`` ``[M, *out]``."""
        winograd, height = self.winograd, self.window.out[0]

        def direct_strip(worker: int, strip: Range) -> None:
            self.direct.strip(x, y, strip, pool.scratch(worker), source, sink)

        if winograd is None:
            pool.each(direct_strip, pool.ranges(height, self.nanoseconds, self.direct.rows))
            return

        def winograd_strip(worker: int, strip: Range) -> None:
            scratch = pool.scratch(worker)
            rows = strip[0] * ROWS, min(strip[1] * ROWS, height)
            top, bottom = self.window.input_rows(*rows, x.shape[1])
            part = x[:, top:bottom]
            lines = winograd.lines(strip, part.shape, scratch)
            source.widen(part, lines)
            tiles = winograd.sums(lines, strip, scratch, top)
            if tiles is None:
                for first in range(*rows, self.direct.rows):
                    direct_strip(worker, (first, min(first + self.direct.rows, rows[1])))
                return
            sink.store(tiles, tiles, winograd.rest(strip, scratch))
            winograd.store(tiles, strip, y)

        pool.each(winograd_strip, pool.ranges(winograd.tile_rows, self.nanoseconds, winograd.rows))


class Direct:
    """The products of gathered columns and weights, for inputs ``width`` wide.

    The channels are cut into runs whose sums cannot reach 2^24: within a run the float32 product is exact. Several
    runs are added as int32.
    """

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, width: int) -> None:
        self.runs = exact_runs(w)
        self.weights = [w[:, run].reshape(len(w), -1).copy() for run in self.runs]
        longest = max(run.stop - run.start for run in self.runs)
        self.columns = Columns(window, longest, len(w))
        self.rows, self.outputs = self.columns.rows, len(w)
        lines = (self.rows - 1) * window.strides[0] + window.extents[0]
        self.lines = longest * lines * width
        sums = self.outputs * self.rows * window.out[1]
        self.scratch = self.lines + self.columns.elements + (2 + epilogue.registers) * sums
        self.nanoseconds = window.out[0] * window.out[1] * w[0].size * (len(w) * 2 / 100 + 0.1)

    def strip(
        self, x: np.ndarray, y: np.ndarray, strip: Range, scratch: np.ndarray, source: Source, sink: Sink
    ) -> None:
        """The output rows of a strip."""
        window = self.columns.window
        top, bottom = window.input_rows(*strip, x.shape[1])
        target = y.reshape(len(y), -1)[:, strip[0] * window.out[1] : strip[1] * window.out[1]]
        rest = scratch[self.lines + self.columns.elements :]
        sums = rest[: target.size].reshape(target.shape)
        total = rest[target.size : 2 * target.size].view(np.int32).reshape(target.shape)
        rest = rest[2 * target.size :]
        for run, weight in zip(self.runs, self.weights, strict=True):
            part = x[run, top:bottom]
            lines = scratch[: part.size].reshape(part.shape)
            source.widen(part, lines)
            np.matmul(weight, self.columns.gather(lines, strip, scratch[self.lines :], top), out=sums)
            if len(self.runs) == 1:
                sink.store(sums, target, rest)
                return
            if run.start == 0:
                np.copyto(total, sums, casting="unsafe")
            else:
                np.add(total, sums, out=total, casting="unsafe")
        if sink.dtype == total.dtype:
            sink.store(total, target, rest)
        else:
            np.copyto(sums, total)
            sink.store(sums, target, rest)


class ShiftedProducts:
    """kn2row (engine/cpu/kn2row.py) of weights whose largest possible sum stays below 2^24: so does each part of it."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, width: int) -> None:
        self.w, self.window, self.outputs = kn2row.weights_by_tap(w), window, len(w)
        halo = window.extents[0] - 1
        self.rows = min(max(1, kn2row.strip_rows(window, len(w), width)), window.out[0])
        self.lines = w.shape[1] * (self.rows + halo) * width
        self.products = len(self.w) * (self.rows + halo) * width
        sums = len(w) * self.rows * window.out[1]
        self.scratch = self.lines + self.products + (1 + epilogue.registers) * sums
        self.nanoseconds = window.out[0] * window.out[1] * kn2row_ns(window, w.shape, width)

    def strip(
        self, x: np.ndarray, y: np.ndarray, strip: Range, scratch: np.ndarray, source: Source, sink: Sink
    ) -> None:
        """The output rows of a strip."""
        window = self.window
        top, bottom = window.input_rows(*strip, x.shape[1])
        part = x[:, top:bottom]
        lines = scratch[: part.size].reshape(part.shape)
        source.widen(part, lines)
        count = (bottom - top) * x.shape[2]
        product = scratch[self.lines :][: len(self.w) * count].reshape(len(self.w), count)
        np.matmul(self.w, lines.reshape(len(x), count), out=product)
        target, rest = y[:, strip[0] : strip[1]], scratch[self.lines + self.products :]
        sums = rest[: target.size].reshape(target.shape)
        sums[...] = 0
        by_tap = product.reshape(*window.kernel, self.outputs, bottom - top, x.shape[2])
        kn2row.add_shifted(by_tap, sums, window, strip, top)
        flat = self.outputs, target.shape[1] * target.shape[2]
        sink.store(sums.reshape(flat), target.reshape(flat), rest[target.size :])


def largest_sums(w: np.ndarray) -> np.ndarray:
    """The largest possible sum over a window, ``[M, C]`` float64, for inputs up to 255 from their zero point."""
    return np.abs(w).sum(axis=(2, 3), dtype=np.float64) * FARTHEST


def exact_runs(w: np.ndarray) -> list[slice]:
    """Input channels of ``w`` ``[M, C, kh, kw]`` in runs whose largest possible sum stays below 2^24."""
    largest = largest_sums(w)
    runs, start, sums = [], 0, np.zeros(len(w))
    for channel in range(w.shape[1]):
        if channel > start and (sums + largest[:, channel]).max() >= EXACT:
            runs.append(slice(start, channel))
            start, sums = channel, np.zeros(len(w))
        sums = sums + largest[:, channel]
    return [*runs, slice(start, w.shape[1])]
