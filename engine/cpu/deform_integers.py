"""DeformQuantization and DeformConvInteger: the columns of strips, looked at once and multiplied at a second time.

Products are exact, as those of exact_conv.py: the columns are cut into runs whose float32 sums cannot reach 2^24.
"""

from __future__ import annotations

import numpy as np

from engine.cpu.deform_conv import LARGEST, DeformColumns, by_column
from engine.cpu.exact_winograd import EXACT
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.quantized import Levels
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.conv import conv_window
from engine.ops.deform_conv_integer import column_window
from engine.ops.quantize import dynamic_parameters

FARTHEST = 255
"""The largest distance of an 8-bit integer from its zero point."""


def supports_quantization(node: Node) -> bool:
    """Whether there are two spatial axes, of an image that float32 can count."""
    x = node.input(0).shape
    return len(x) == 4 and (x[2] + 2) * (x[3] + 2) < LARGEST


def supports_integers(node: Node) -> bool:
    """The same, with weights that are known at load."""
    zero = node.optional_input(3)
    return supports_quantization(node) and node.input(1).is_constant and (zero is None or zero.is_constant)


class DeformQuantizationKernel(KernelBase):
    """The scale and zero point of the columns."""

    def __init__(self, node: Node) -> None:
        self.columns = DeformColumns(node.input(0).shape, column_window(node), 0)
        self.scratch = self.columns.scratch

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        limits = [np.float32(0)]

        def look(_: int, __: Range, columns: np.ndarray, ___: np.ndarray) -> None:
            limits.extend((columns.min(), columns.max()))

        masks = inputs[2] if len(inputs) > 2 else None
        self.columns.each(present(inputs, 0), present(inputs, 1), masks, pool, look)
        # by NumPy: Python's own lose a NaN
        present(outputs, 0)[...] = dynamic_parameters(np.min(limits), np.max(limits))


class DeformConvIntegerKernel(KernelBase):
    """The int32 sums of the columns as bytes."""

    prepacked: tuple[int, ...] = (1, 3)

    def __init__(self, node: Node) -> None:
        x, w, zero = node.input(0), node.constant(1), node.constant(3)
        assert w is not None
        distances = w.astype(np.float32)
        if zero is not None:
            distances -= zero.astype(np.float32).reshape(-1, 1, 1, 1)
        self.w = by_column(distances)
        self.ends = _exact_ends(self.w)
        self.columns = DeformColumns(x.shape, conv_window(node, x.shape, w.shape), len(w), elements=len(w))
        self.scratch = self.columns.scratch

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        (scale, zero), y = present(inputs, 2), present(outputs, 0)
        # a NaN leaves a scale of 1 and a zero point of 0, and an infinity an infinite scale
        finite = bool(np.isfinite(scale)) and (scale, zero) != (1, 0)
        levels = Levels(np.asarray(scale), np.asarray(zero, np.uint8), finite=finite)

        def multiply(image: int, strip: Range, columns: np.ndarray, scratch: np.ndarray) -> None:
            target = y[image].reshape(len(self.w), -1)[:, slice(*strip)]
            sums = scratch[: target.size].reshape(target.shape)
            levels.widen(columns, columns)
            first = 0
            for end in self.ends:
                np.matmul(self.w[:, first:end], columns[:, first:end].T, out=sums)
                if first:
                    np.add(target, sums, out=target, casting="unsafe")
                else:
                    np.copyto(target, sums, casting="unsafe")
                first = end

        masks = inputs[5] if len(inputs) > 5 else None
        self.columns.each(present(inputs, 0), present(inputs, 4), masks, pool, multiply)


def _exact_ends(w: np.ndarray) -> list[int]:
    """Where runs of the columns of ``w`` ``[M, K]`` end over which no sum can reach 2^24."""
    ends: list[int] = []
    sums = np.zeros(len(w), np.float32)
    for k, largest in enumerate(np.abs(w.T) * np.float32(FARTHEST)):
        if (sums + largest).max(initial=0) >= EXACT:
            ends.append(k)
            sums = np.zeros_like(sums)
        sums = sums + largest
    return [*ends, w.shape[1]]
