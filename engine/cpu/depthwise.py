"""Depthwise convolution: each channel has a window of its own, so there is no matrix to multiply.

The columns of the window are gathered once, padded, as ``kw`` shifted copies of a few rows. In them the taps of a
column lie one row apart and an output reads runs as long as a plane, so that one call of einsum scales and adds all
taps, channel by channel: calls of their own would pass over the sums twice for each tap. With a vertical stride that
holds for the rows of each phase (row modulo stride) alone, which are copied apart, summed apart, and added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.threads import Do, Pool, Range
from engine.ops.window import Window

STRIP_BYTES = 2 << 20
"""Shifted copies and sums of one block."""


class Depthwise:
    """A convolution of ``[C, H, W]`` with ``[C, 1, kh, kw]`` in C groups, any stride, dilation and padding, float32."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, images: int) -> None:
        w = np.tile(w[:, 0].transpose(0, 2, 1).astype(np.float32), (images, 1, 1))
        self.bias = None if epilogue.bias is None else np.tile(epilogue.bias, (images, 1))
        self.epilogue, self.window, self.planes = epilogue, window, len(w)
        self.phases = _phases(w, window)
        height, width = window.out
        copied = window.kernel[1] * len(self.phases) * width
        sums = (1 + epilogue.registers + (len(self.phases) > 1)) * width
        # a block is some rows of one plane, or some planes
        fit, halo = STRIP_BYTES // 4, window.extents[0] // window.strides[0]
        self.rows = min(height, max(1, (fit - halo * copied) // (copied + sums)))
        self.max_planes = 1
        if self.rows == height:
            self.max_planes = min(self.planes, max(1, fit // (height * (copied + sums) + halo * copied)))
        self.scratch = self.max_planes * ((self.rows + halo) * copied + self.rows * sums)
        # 0.15 ns for each tap, and for each number that is copied before
        taps = window.taps + window.kernel[1] * len(self.phases) + 1
        self.nanoseconds = self.planes * height * width * (0.15 * taps + epilogue.nanoseconds)

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, C, *out]``; ``given`` as the epilogue has it."""
        x, y, *given = (pool.reshaped(array, -1, *array.shape[2:]) for array in (x, y, *given))

        def part(do: Do, worker: int, block: tuple[Range, Range]) -> None:
            index = slice(*block[0]), slice(*block[1])
            target = y[index]
            sums = target.reshape(len(target), -1)
            rest = pool.scratch(worker)
            products, rest = rest[: sums.size].reshape(sums.shape), rest[sums.size :]
            for number, phase in enumerate(self.phases):
                taps = self._gather(do, x[index[0]], block[1], phase, rest)
                do(_add_taps, taps, phase.w[index[0]], products if number else sums)
                if number:
                    do(np.add, sums, products, sums)
            if self.bias is not None:
                do(np.add, sums, self.bias[index[0]], sums)
            self.epilogue.finish(target, target, [array[index] for array in given], rest, do)

        height = self.window.out[0]
        if self.rows == height:
            planes = pool.ranges(self.planes, self.nanoseconds, self.max_planes)
            pool.each_by_calls(part, [(each, (0, height)) for each in planes])
        else:
            strips = pool.ranges(height, 0, self.rows)
            pool.each_by_calls(part, [((plane, plane + 1), strip) for plane in range(self.planes) for strip in strips])

    def _gather(self, do: Do, x: np.ndarray, rows: Range, phase: _Phase, scratch: np.ndarray) -> np.ndarray:
        """What the taps of a phase see under some output rows of ``x`` ``[C, H, W]``: ``[C, kw, taps, n]`` in scratch.

        The taps of a column are views of the same copy.
        """
        window, (height, width) = self.window, x.shape[1:]
        stride, across, count = window.strides[0], window.out[1], rows[1] - rows[0]
        lines = count + (phase.taps - 1) * phase.step
        copies = scratch[: len(x) * window.kernel[1] * lines * across].reshape(len(x), -1, lines, across)
        first = rows[0] * stride + phase.row - window.begin[0]
        above = min(lines, max(0, -(first // stride)))
        below = max(above, min(lines, (height - 1 - first) // stride + 1))
        do(copies[:, :, :above].fill, 0)
        do(copies[:, :, below:].fill, 0)
        start = first + above * stride
        from_rows = slice(start, start + (below - above) * stride, stride)
        for kx, (columns, from_columns) in enumerate(window.tap_ranges(1, width)):
            inside = copies[:, kx, above:below]
            do(inside[..., : columns.start].fill, 0)
            do(inside[..., columns.stop :].fill, 0)
            if below > above:
                do(np.copyto, inside[..., columns], x[:, from_rows, from_columns])
        plane, column, line, item = copies.strides
        shape = (len(x), window.kernel[1], phase.taps, count * across)
        return np.lib.stride_tricks.as_strided(copies, shape, (plane, column, phase.step * line, item))


def _add_taps(taps: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """``out`` ``[C, n]`` = the taps ``[C, kw, kh, n]``, each times its weight."""
    np.einsum("cxyn,cxy->cn", taps, w, out=out)


@dataclass(frozen=True, slots=True)
class _Phase:
    """Taps of a column that read rows of one phase, from tap to tap ``step`` such rows apart, the first one ``row``.

    ``w`` is ``[C, kw, taps]``.
    """

    w: np.ndarray
    row: int
    step: int

    @property
    def taps(self) -> int:
        return self.w.shape[2]


def _phases(w: np.ndarray, window: Window) -> list[_Phase]:
    """The taps of ``w`` ``[C, kw, kh]`` by the phase of the row that they read."""
    stride, dilation = window.strides[0], window.dilations[0]
    period = stride // gcd(stride, dilation)
    return [
        _Phase(np.ascontiguousarray(w[:, :, tap::period]), tap * dilation, period * dilation // stride)
        for tap in range(min(period, window.kernel[0]))
    ]
