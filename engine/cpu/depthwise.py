"""Depthwise convolution: each channel has a window of its own, so there is no matrix to multiply.

Every window position scales the whole input of a few channels and adds it, shifted, to their output.
"""

from __future__ import annotations

from math import prod

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.threads import Pool, Range
from engine.ops.window import Window

PART_BYTES = 1 << 20
"""Bytes of output of the channels of one block, which stays in cache from tap to tap."""


class Depthwise:
    """A convolution of ``[C, H, W]`` with ``[C, 1, kh, kw]`` in C groups, any stride, dilation and padding, float32."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window) -> None:
        self.w = np.ascontiguousarray(w[:, 0].transpose(1, 2, 0), np.float32)[..., None, None]
        self.epilogue, self.window = epilogue, window
        self.channels, self.plane = len(w), prod(window.out)
        self.max_channels = min(max(1, PART_BYTES // (4 * self.plane)), self.channels)
        self.scratch = self.max_channels * self.plane
        # 0.3 ns for each number that is scaled and added
        self.nanoseconds = self.channels * self.plane * window.taps * 0.3

    def run(self, x: np.ndarray, y: np.ndarray, pool: Pool) -> None:
        """``x`` float32 ``[C, H, W]`` → ``y`` float32 ``[C, *out]``."""

        def part(worker: int, channels: Range) -> None:
            source, target = x[slice(*channels)], y[slice(*channels)]
            products = pool.scratch(worker)[: target.size].reshape(target.shape)
            bias = self.epilogue.bias
            target[...] = 0 if bias is None else bias[slice(*channels), :, None]
            for ky, (rows, from_rows) in enumerate(self.window.tap_ranges(0, x.shape[1])):
                for kx, (columns, from_columns) in enumerate(self.window.tap_ranges(1, x.shape[2])):
                    term, region = products[:, rows, columns], target[:, rows, columns]
                    np.multiply(source[:, from_rows, from_columns], self.w[ky, kx, slice(*channels)], out=term)
                    np.add(region, term, out=region)
            self.epilogue.activate(target, target)

        pool.each(part, pool.ranges(self.channels, self.nanoseconds, self.max_channels))
