"""kn2row: the matrix product first, the window afterwards (Vasudevan, Anderson and Gregg, 2017).

The weights of every window position multiply the input where it lies, one product ``[kh kw M, C] [C, n]``; each
position's result is then added to the output with its shift. Against im2col that moves ``kh kw M`` numbers a pixel
instead of ``kh kw C``, and turns few output channels into many rows: the way for layers with far fewer outputs than
inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.kernel import run_strips
from engine.cpu.threads import Do, Pool, Range, call
from engine.ops.window import Window

STRIP_BYTES = 5 << 20
"""Products held at a time."""


def strip_rows(window: Window, outputs: int, width: int) -> int:
    """Output rows whose products, with those of the rows around them, fit into STRIP_BYTES; not below 0."""
    return max(0, STRIP_BYTES // (4 * window.taps * outputs * width) - (window.extents[0] - 1))


def weights_by_tap(w: np.ndarray) -> np.ndarray:
    """Weights ``[M, C, kh, kw]`` as ``[kh kw M, C]`` float32."""
    return np.ascontiguousarray(w.transpose(2, 3, 0, 1).reshape(-1, w.shape[1]), np.float32)


def add_shifted(product: np.ndarray, target: np.ndarray, window: Window, strip: Range, top: int, do: Do = call) -> None:
    """Add each position's ``product`` ``[kh, kw, M, rows, W]``, of input rows from ``top`` on, to the strip's outputs.

    ``target`` is ``[M, rows, columns]``.
    """
    row_ranges = window.tap_ranges(0, product.shape[3], first=strip[0], count=target.shape[1], top=top)
    for ky, (rows, from_rows) in enumerate(row_ranges):
        for kx, (columns, from_columns) in enumerate(window.tap_ranges(1, product.shape[4])):
            part = target[:, rows, columns]
            do(np.add, part, product[ky, kx][:, from_rows, from_columns], part)


class Kn2row:
    """A convolution of ``[C, H, W]`` with stride 1 and one group, any dilation and padding, in float32."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, width: int) -> None:
        self.w = weights_by_tap(w)
        self.epilogue, self.window = epilogue, window
        halo = window.extents[0] - 1
        self.rows = min(max(1, strip_rows(window, len(w), width)), window.out[0])
        # 150 GFLOP/s in the products, 0.15 ns for each number that is added to the output
        each = len(self.w) * (w.shape[1] * 2 / 150 + 0.15) + len(w) * epilogue.nanoseconds
        self.nanoseconds = window.out[0] * width * each
        self.scratch = max(
            len(self.w) * (self.rows + halo) * width, epilogue.registers * len(w) * self.rows * window.out[1]
        )

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, M, *out]``; ``given`` as the epilogue has it."""
        strips = pool.ranges(self.window.out[0], self.nanoseconds, self.rows)
        run_strips(self._strip, x, y, given=given, strips=strips, pool=pool)

    def _strip(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        top, bottom = self.window.input_rows(*strip, x.shape[1])
        width, count = x.shape[2], (bottom - top) * x.shape[2]
        product = scratch[: len(self.w) * count].reshape(len(self.w), count)
        do(np.matmul, self.w, x.reshape(len(x), -1)[:, top * width : bottom * width], product)
        target = y[:, strip[0] : strip[1]]
        do(np.copyto, target, 0 if self.epilogue.bias is None else self.epilogue.bias[:, :, None])
        by_tap = product.reshape(*self.window.kernel, len(y), bottom - top, width)
        add_shifted(by_tap, target, self.window, strip, top, do)
        self.epilogue.finish(target, target, [array[:, strip[0] : strip[1]] for array in given], scratch, do)
