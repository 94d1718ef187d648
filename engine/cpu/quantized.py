"""DynamicQuantizeLinear and ConvInteger: integer results, by float32 arithmetic that is exact."""

from __future__ import annotations

from functools import partial

import numpy as np

from engine.cpu.im2col import Columns
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool
from engine.graph.ir import Node
from engine.ops.conv import conv_window
from engine.ops.quantize import dynamic_parameters, requantize

EXACT = 1 << 24
"""float32 holds every integer up to this size: sums that stay below it are exact in any order."""


class DynamicQuantizeKernel(KernelBase):
    """y, scale and zero point of float32 x (ONNX DynamicQuantizeLinear-11)."""

    def __init__(self, _: Node) -> None:
        """All that there is to know comes with the input."""

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x = present(inputs, 0).reshape(-1)
        ranges = pool.ranges(x.size, x.size)  # about a nanosecond for each element
        limits = [np.float32(0)]

        def measure(_: int, part: tuple[int, int]) -> None:
            limits.extend((x[slice(*part)].min(), x[slice(*part)].max()))

        pool.each(measure, ranges)
        low, high = min(limits), max(limits)
        scale, zero = dynamic_parameters(low, high)
        for target, value in zip(outputs[1:], (scale, zero), strict=False):
            if target is not None:
                target[...] = value
        if outputs[0] is None:
            return
        y = outputs[0].reshape(-1)
        regular = 0 < scale < np.inf  # or there are infinities and NaN to turn into integers

        def quantize(_: int, part: tuple[int, int]) -> None:
            levels = x[slice(*part)] / scale
            if not regular:
                np.copyto(y[slice(*part)], requantize(levels, zero, y.dtype))
                return
            np.rint(levels, out=levels)
            levels += np.float32(zero)
            np.clip(levels, 0, 255, out=levels)
            np.copyto(y[slice(*part)], levels, casting="unsafe")

        pool.each(quantize, ranges)


def supports_conv_integer(node: Node) -> bool:
    """Whether the convolution has two spatial axes, one group, and known weights that one channel can sum exactly."""
    w, zero = node.input(1), node.optional_input(3)
    constant = w.is_constant and (zero is None or zero.is_constant)
    fits = constant and len(w.shape) == 4 and node.attr("group", 1) == 1
    return fits and bool(_largest_sums(_weight_distances(node)).max(initial=0) < EXACT)


class ConvIntegerKernel(KernelBase):
    """int32 sums of (x - x zero point)(w - w zero point) (ONNX ConvInteger-10).

    The channels are cut into runs whose sums cannot reach 2^24: within a run the float32 product is exact.
    """

    prepacked: tuple[int, ...] = (1, 3)

    def __init__(self, node: Node) -> None:
        x, w = node.input(0), _weight_distances(node)
        window = conv_window(node, x.shape, w.shape)
        self.runs = _exact_runs(w)
        self.weights = [w[:, run].reshape(len(w), -1).copy() for run in self.runs]
        self.columns = Columns(window, max(run.stop - run.start for run in self.runs), len(w))
        lines = (self.columns.rows - 1) * window.strides[0] + window.extents[0]
        self.lines = max(run.stop - run.start for run in self.runs) * lines * x.shape[3]
        self.scratch = self.columns.elements + self.lines
        self.nanoseconds = window.out[0] * window.out[1] * w[0].size * (len(w) * 2 / 100 + 0.1)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        zero = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.zeros((), np.float32)
        offset = float(zero.reshape(-1)[0])
        for x, y in zip(present(inputs, 0), present(outputs, 0), strict=True):
            work = partial(self._strip, x, y, pool, offset)
            pool.each(work, pool.ranges(y.shape[1], self.nanoseconds, self.columns.rows))

    def _strip(
        self, x: np.ndarray, y: np.ndarray, pool: Pool, offset: float, worker: int, strip: tuple[int, int]
    ) -> None:
        scratch = pool.scratch(worker)
        top, bottom = self.columns.window.input_rows(*strip, x.shape[1])
        target = y.reshape(len(y), -1)[:, strip[0] * y.shape[2] : strip[1] * y.shape[2]]
        for run, weight in zip(self.runs, self.weights, strict=True):
            source = x[run, top:bottom]
            lines = scratch[: source.size].reshape(source.shape)
            np.copyto(lines, source)
            lines -= np.float32(offset)
            columns = self.columns.gather(lines, strip, scratch[self.lines :], top)
            sums = weight @ columns
            if run.start == 0:
                np.copyto(target, sums, casting="unsafe")
            else:
                target += sums.astype(np.int32)


def _weight_distances(node: Node) -> np.ndarray:
    """The weights ``[M, C, kh, kw]`` less their zero point, of the whole tensor or of each output channel, float32."""
    w, zero = node.constant(1), node.constant(3)
    assert w is not None
    distances = w.astype(np.float32)
    if zero is not None:
        distances -= zero.astype(np.float32).reshape(-1, 1, 1, 1)
    return distances


def _largest_sums(w: np.ndarray) -> np.ndarray:
    """The largest possible sum over a window, ``[M, C]`` float64, for inputs up to 255 from their zero point."""
    return np.abs(w).sum(axis=(2, 3), dtype=np.float64) * 255


def _exact_runs(w: np.ndarray) -> list[slice]:
    """Input channels of ``w`` ``[M, C, kh, kw]`` in runs whose largest possible sum stays below 2^24."""
    largest = _largest_sums(w)
    runs, start, sums = [], 0, np.zeros(len(w))
    for channel in range(w.shape[1]):
        if channel > start and (sums + largest[:, channel]).max() >= EXACT:
            runs.append(slice(start, channel))
            start, sums = channel, np.zeros(len(w))
        sums = sums + largest[:, channel]
    return [*runs, slice(start, w.shape[1])]
