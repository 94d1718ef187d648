"""DynamicQuantizeLinear, ConvInteger, and both as one: integer results, by float32 arithmetic that is exact."""

from __future__ import annotations

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.exact_conv import ExactConvolution, largest_sums
from engine.cpu.exact_winograd import EXACT
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool
from engine.graph.ir import Node, Value
from engine.ops.conv import conv_window
from engine.ops.quantize import dynamic_parameters, requantize

INT32 = 1 << 31
"""int32 sums wrap from here on."""

PART = 1 << 16
"""Elements that are passed over twice while they are in the cache."""


def measure(x: np.ndarray, pool: Pool) -> Levels:
    """The levels that cover ``x``, float32."""
    flat = x.reshape(-1)
    limits = [np.float32(0)]

    def look(_: int, part: tuple[int, int]) -> None:
        for first in range(*part, PART):
            piece = flat[first : min(first + PART, part[1])]
            limits.extend((piece.min(), piece.max()))

    # about half a nanosecond for each element
    pool.each(look, pool.ranges(flat.size, flat.size / 2))
    # by NumPy: Python's own lose a NaN
    low, high = np.min(limits), np.max(limits)
    return Levels(*dynamic_parameters(low, high), finite=bool(np.isfinite(high - low)), limits=(low, high))


class Levels:
    """The 256 levels of DynamicQuantizeLinear, by scale and zero point, of numbers that all are ``finite`` or not.

    ``limits`` are those that the numbers lie within, where they are known.
    """

    def __init__(
        self,
        scale: np.ndarray,
        zero: np.ndarray,
        *,
        finite: bool,
        limits: tuple[np.float32, np.float32] | None = None,
    ) -> None:
        self.scale, self.zero = scale, zero
        # or there are infinities and NaN to turn into integers
        self._finite = bool(finite and scale > 0)
        self._begin, self._end = np.float32(0) - zero, np.float32(255) - zero
        self._clips = True
        if self._finite and limits is not None:
            # rounding is monotonic: if the limits need no clipping, nothing between them does
            low, high = (np.rint(limit / scale) for limit in limits)
            self._clips = not (self._begin <= low and high <= self._end)

    def widen(self, x: np.ndarray, out: np.ndarray) -> None:
        """Store in ``out`` the distances of the levels of float32 ``x`` from the zero point; ``out`` may be ``x``."""
        if not self._finite:
            out[...] = requantize(x / self.scale, self.zero, self.zero.dtype) - np.float32(self.zero)
            return
        np.divide(x, self.scale, out=out)
        np.rint(out, out=out)
        if self._clips:
            np.clip(out, self._begin, self._end, out=out)


class DynamicQuantizeKernel(KernelBase):
    """y, scale and zero point of float32 x (ONNX DynamicQuantizeLinear-11)."""

    def __init__(self, _: Node) -> None:
        """All that there is to know comes with the input."""

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x = present(inputs, 0).reshape(-1)
        levels = measure(x, pool)
        for target, value in zip(outputs[1:], (levels.scale, levels.zero), strict=False):
            if target is not None:
                target[...] = value
        if outputs[0] is None:
            return
        y = outputs[0].reshape(-1)

        def quantize(_: int, part: tuple[int, int]) -> None:
            for first in range(*part, PART):
                piece = slice(first, min(first + PART, part[1]))
                distances = np.empty_like(x[piece])
                levels.widen(x[piece], distances)
                distances += np.float32(levels.zero)
                np.copyto(y[piece], distances, casting="unsafe")

        # about a nanosecond for each element
        pool.each(quantize, pool.ranges(x.size, x.size))


class Distances:
    """8-bit integers, already widened, less their zero point."""

    def __init__(self, zero: np.ndarray | None) -> None:
        self._zero = np.float32(0 if zero is None else zero.reshape(-1)[0])

    def widen(self, x: np.ndarray, out: np.ndarray) -> None:
        """Subtract the zero point."""
        np.copyto(out, x)
        out -= self._zero


class Integers:
    """Sums that are stored as they are."""

    dtype = np.dtype(np.int32)

    def store(self, sums: np.ndarray, target: np.ndarray, scratch: np.ndarray) -> None:  # noqa: ARG002 (a Sink)
        """As they are, which is whole numbers."""
        if target is not sums:
            np.copyto(target, sums, casting="unsafe")


class Dequantized:
    """Sums times ``factor``, float32 ``[1]`` or ``[M]``, with the bias and the activation of ``epilogue``."""

    dtype = np.dtype(np.float32)

    def __init__(self, factor: np.ndarray, epilogue: Epilogue) -> None:
        self.factor, self.epilogue = factor.reshape(-1, 1), epilogue

    def store(self, sums: np.ndarray, target: np.ndarray, scratch: np.ndarray) -> None:
        """As float32."""
        np.multiply(sums, self.factor, out=sums)
        self.epilogue.add_bias(sums)
        self.epilogue.finish(sums, target, (), scratch)


def supports_conv_integer(node: Node) -> bool:
    """Whether the convolution has two spatial axes, one group, and known weights that one channel can sum exactly."""
    return _is_exact(node, node.optional_input(3))


def supports_dynamic_quantize_conv(node: Node) -> bool:
    """As above."""
    return _is_exact(node, node.optional_input(2))


def _is_exact(node: Node, zero: Value | None) -> bool:
    w = node.input(1)
    constant = w.is_constant and (zero is None or zero.is_constant)
    if not constant or len(w.shape) != 4 or node.attr("group", 1) != 1:
        return False
    largest = largest_sums(_distances(w, zero))
    return bool(largest.max(initial=0) < EXACT and largest.sum(1).max(initial=0) < INT32)


def _distances(w: Value, zero: Value | None) -> np.ndarray:
    """The weights ``[M, C, kh, kw]`` less their zero point, of the whole tensor or of each output channel, float32."""
    assert w.data is not None
    distances = w.data.astype(np.float32)
    if zero is not None and zero.data is not None:
        distances -= zero.data.astype(np.float32).reshape(-1, 1, 1, 1)
    return distances


class ConvIntegerKernel(KernelBase):
    """int32 sums of (x - x zero point)(w - w zero point) (ONNX ConvInteger-10)."""

    prepacked: tuple[int, ...] = (1, 3)

    def __init__(self, node: Node) -> None:
        x, w = node.input(0), node.input(1)
        distances = _distances(w, node.optional_input(3))
        window = conv_window(node, x.shape, w.shape)
        self.convolution = ExactConvolution(distances, Epilogue(node, bias=4), window, x.shape[3])
        self.scratch = self.convolution.scratch

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        source, sink = Distances(inputs[2] if len(inputs) > 2 else None), Integers()
        for x, y in zip(present(inputs, 0), present(outputs, 0), strict=True):
            self.convolution.run(x, y, pool, source, sink)


class DynamicQuantizeConvKernel(KernelBase):
    """The engine's DynamicQuantizeConv."""

    prepacked: tuple[int, ...] = (1, 2, 3, 4)

    def __init__(self, node: Node) -> None:
        x, w, w_scale = node.input(0), node.input(1), node.constant(3)
        assert w_scale is not None
        distances = _distances(w, node.optional_input(2))
        self.w_scale, self.epilogue = w_scale, Epilogue(node, bias=4)
        window = conv_window(node, x.shape, w.shape)
        self.convolution = ExactConvolution(distances, self.epilogue, window, x.shape[3])
        self.scratch = self.convolution.scratch

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        levels = measure(present(inputs, 0), pool)
        sink = Dequantized(levels.scale * self.w_scale, self.epilogue)
        for x, y in zip(present(inputs, 0), present(outputs, 0), strict=True):
            self.convolution.run(x, y, pool, levels, sink)
