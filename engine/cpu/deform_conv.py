"""DeformConv: the columns of a strip of output positions, interpolated into scratch in the cache, times the weights.

The channels of each input pixel lie together, in a copy of the input with a border of zeros, so that a corner of an
interpolation is one run of memory. The four corners of PAIR positions times their weights, which stand along a
diagonal of blocks, are one small product each: BLAS takes a third less time for it than for one position.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.strided_copy import SKEW, skewed_copy
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.conv import conv_window
from engine.ops.window import Window

STRIP_BYTES = 1 << 23
"""Columns of one strip, which the product reads from the shared cache; it arranges all weights anew for each."""

CORNER_BYTES = 1 << 20
"""Bytes of corners that are gathered at a time, before weighting: shorter calls contend for the GIL."""

LONGEST = 4096
"""Positions of one strip, however short their columns."""

PAIR = 2
"""Positions that are interpolated by one product."""

BORDER = 2
"""Zeros along each axis, one on either side; beyond the far one lies the near one of the next row, or nothing."""

LARGEST = 1 << 24
"""Pixels that float32 can count."""

Take = Callable[[int, Range, np.ndarray, np.ndarray], None]
"""What takes the columns ``[positions, taps C]`` of a strip of an image, which it may overwrite, and scratch."""


def supports(node: Node) -> bool:
    """Whether all is float32 with two spatial axes, the weights known at load, and one offset for all channels."""
    x = node.input(0)
    plain = node.attr("group", 1) == 1 and node.attr("offset_group", 1) == 1
    constant = node.input(1).is_constant and (node.optional_input(3) is None or node.constant(3) is not None)
    fits = len(x.shape) == 4 and (x.shape[2] + BORDER) * (x.shape[3] + BORDER) < LARGEST
    return plain and constant and fits and all(value.dtype == np.float32 for value in node.used_inputs())


class DeformColumns:
    """The columns of inputs of shape ``x``, strip by strip: the input under each moved tap of some positions.

    ``outputs`` are those of the product that reads them, for which ``elements`` more of scratch are left each position.
    """

    def __init__(self, x: tuple[int, ...], window: Window, outputs: int, elements: int = 0) -> None:
        self.window = window
        self.size, self.channels, self.taps = x[2:], x[1], window.taps
        self.tap_at = np.indices(window.kernel).reshape(2, -1, 1) * np.reshape(window.dilations, (2, 1, 1))
        self.positions, line = window.out[0] * window.out[1], self.taps * self.channels
        self.strip = _round_to_pairs(min(self.positions, max(1, STRIP_BYTES // (4 * line)), LONGEST))
        pairs = max(1, CORNER_BYTES // (16 * PAIR * line))
        self.pairs_at_once = min(self.strip // PAIR, pairs)
        row = self.channels * (self.size[1] + SKEW)
        self.rows_at_once = max(1, CORNER_BYTES // (4 * row))
        self.own = max(self._parts(self.strip)[-1], self.rows_at_once * row)
        self.scratch = self.own + self.strip * elements
        # 90 GFLOP/s in the product, and 1 ns for each number of the columns
        self.nanoseconds = self.positions * line * (outputs * 2 / 90 + 1)

    def _parts(self, count: int) -> list[int]:
        """Ends in scratch of the indices, weights, columns, and corners or coordinates of ``count`` positions."""
        samples = self.taps * count
        indices = 4 * samples * np.dtype(np.intp).itemsize // 4
        corners = 4 * PAIR * min(self.pairs_at_once, count // PAIR) * self.taps * self.channels
        return list(accumulate([indices, 4 * PAIR * samples, samples * self.channels, max(corners, 4 * samples)]))

    def each(self, x: np.ndarray, offset: np.ndarray, masks: np.ndarray | None, pool: Pool, take: Take) -> None:
        """Hand the columns of each strip of each image to ``take``, in the threads of ``pool``."""
        height, width = self.size
        canvas = np.zeros((height + BORDER, width + BORDER, self.channels), np.float32)
        inner, pixels = canvas[1 : height + 1, 1 : width + 1], canvas.reshape(-1, self.channels)
        for image in range(len(x)):
            planes = x[image].transpose(1, 2, 0)
            offsets = offset[image].reshape(self.taps, 2, -1).swapaxes(0, 1)
            mask = None if masks is None else masks[image].reshape(self.taps, -1)

            def copy_rows(worker: int, rows: Range, planes: np.ndarray = planes) -> None:
                np.copyto(inner[slice(*rows)], skewed_copy(planes[slice(*rows)], pool.scratch(worker)))

            def take_strip(
                worker: int,
                strip: Range,
                image: int = image,
                offsets: np.ndarray = offsets,
                mask: np.ndarray | None = mask,
            ) -> None:
                scratch = pool.scratch(worker)
                columns = self._columns(pixels, offsets=offsets, mask=mask, strip=strip, scratch=scratch)
                take(image, strip, columns, scratch[self.own :])

            pool.each(copy_rows, pool.ranges(height, planes.size, self.rows_at_once))
            pool.each(take_strip, pool.ranges(self.positions, self.nanoseconds, self.strip))

    def _columns(
        self, pixels: np.ndarray, offsets: np.ndarray, mask: np.ndarray | None, strip: Range, scratch: np.ndarray
    ) -> np.ndarray:
        """The input under the moved taps of a strip of positions, ``[positions, taps C]``."""
        count = _round_to_pairs(strip[1] - strip[0])
        pairs, samples = count // PAIR, self.taps * count
        ends = self._parts(count)
        indices = scratch[: ends[0]].view(np.intp).reshape(pairs, self.taps, PAIR, 4)
        weights = scratch[ends[0] : ends[1]].reshape(pairs, self.taps, PAIR, 4 * PAIR)
        columns = scratch[ends[1] : ends[2]].reshape(pairs, PAIR, self.taps, self.channels)
        corners = scratch[ends[2] : ends[3]]
        numbers = corners[: 4 * samples].reshape(4, self.taps, count)
        self._interpolation(offsets, mask, strip, numbers=numbers, indices=indices, weights=weights)
        for first in range(0, pairs, self.pairs_at_once):
            block = slice(first, min(first + self.pairs_at_once, pairs))
            corner_pixels = indices[block].reshape(-1)
            corner_values = corners[: corner_pixels.size * self.channels].reshape(-1, self.channels)
            np.take(pixels, corner_pixels, axis=0, out=corner_values, mode="clip")
            by_pair = corner_values.reshape(-1, self.taps, 4 * PAIR, self.channels)
            np.matmul(weights[block], by_pair, out=columns[block].swapaxes(1, 2))
        return columns.reshape(count, -1)[: strip[1] - strip[0]]

    def _interpolation(
        self,
        offsets: np.ndarray,
        mask: np.ndarray | None,
        strip: Range,
        numbers: np.ndarray,
        indices: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """The pixels ``[pairs, taps, PAIR, 4]`` at the corners, and their weights ``[pairs, taps, PAIR, 4 PAIR]``.

        ``numbers`` is room for four arrays ``[taps, positions]``.
        """
        positions, floors, count = numbers[:2], numbers[2:], strip[1] - strip[0]
        starts = np.stack(np.divmod(np.arange(*strip), self.window.out[1]))
        starts = starts * np.reshape(self.window.strides, (2, 1)) - np.reshape(self.window.begin, (2, 1))
        positions[:, :, count:] = 0
        valid = positions[:, :, :count]
        np.add(starts[:, None], self.tap_at, out=valid, casting="unsafe")
        np.add(valid, offsets[:, :, slice(*strip)], out=valid)
        for axis, extent in enumerate(self.size):
            np.clip(positions[axis], np.float32(-1), np.float32(extent), out=positions[axis])
        np.floor(positions, out=floors)
        np.subtract(positions, floors, out=positions)
        (y, x), (base, other), line = positions, floors, self.size[1] + BORDER
        np.multiply(base, np.float32(line), out=base)
        np.add(base, other, out=base)
        np.add(base, np.float32(line + 1), out=base)
        np.copyto(indices[..., 0], _by_pair(base), casting="unsafe")
        for corner, step in enumerate((1, line, line + 1), 1):
            np.add(indices[..., 0], step, out=indices[..., corner])
        # the weights of the four corners, each in an array that is no longer read
        top, bottom_right = base, other
        top[:, count:] = 0
        top[:, :count] = 1 if mask is None else mask[:, slice(*strip)]
        np.multiply(y, top, out=y)
        np.subtract(top, y, out=top)
        np.multiply(y, x, out=bottom_right)
        np.subtract(y, bottom_right, out=y)
        np.multiply(top, x, out=x)
        np.subtract(top, x, out=top)
        weights.fill(0)
        for corner, weight in enumerate((top, x, y, bottom_right)):
            for place in range(PAIR):
                weights[:, :, place, 4 * place + corner] = _by_pair(weight)[..., place]


class DeformConvKernel(KernelBase):
    """A convolution in two dimensions whose taps are moved, image by image."""

    prepacked: tuple[int, ...] = (1, 3)

    def __init__(self, node: Node) -> None:
        x, w, bias = node.input(0), node.constant(1), node.constant(3)
        assert w is not None
        self.w, self.bias = by_column(w), None if bias is None else bias.reshape(-1, 1)
        self.columns = DeformColumns(x.shape, conv_window(node, x.shape, w.shape), len(w))
        self.scratch = self.columns.scratch

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        y = present(outputs, 0)

        def multiply(image: int, strip: Range, columns: np.ndarray, _: np.ndarray) -> None:
            sums = y[image].reshape(len(self.w), -1)[:, slice(*strip)]
            np.matmul(self.w, columns.T, out=sums)
            if self.bias is not None:
                np.add(sums, self.bias, out=sums)

        masks = inputs[4] if len(inputs) > 4 else None
        self.columns.each(present(inputs, 0), present(inputs, 2), masks, pool, multiply)


def by_column(w: np.ndarray) -> np.ndarray:
    """Weights ``[M, C, *kernel]`` as ``[M, taps C]``, as the columns have it."""
    return np.require(w.reshape(*w.shape[:2], -1).swapaxes(1, 2).reshape(len(w), -1), requirements=["C", "A"])


def _by_pair(numbers: np.ndarray) -> np.ndarray:
    """A view of ``[taps, positions]`` as ``[pairs, taps, PAIR]``."""
    return numbers.reshape(len(numbers), -1, PAIR).swapaxes(0, 1)


def _round_to_pairs(count: int) -> int:
    return -(-count // PAIR) * PAIR
