"""Resize and Upsample, axis by axis, as products with a banded matrix cut into blocks.

Along one axis each output is a weighted sum of a few neighbouring inputs. A block of outputs depends on a short run of
inputs, so its weights form a small dense matrix, and BLAS does the gathering, the strides and the sum at once, for
every mode and scale. Selections (nearest) are copied, not multiplied.
"""

from __future__ import annotations

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool
from engine.graph.ir import Node
from engine.ops.resize import AxisTaps, resize_taps, upsample_taps

BLOCK = 48
"""Outputs of one block: wide enough for BLAS, narrow enough that few of its weights are zero."""


def taps_of(node: Node) -> list[tuple[int, AxisTaps]]:
    """(axis, table) for each axis that the node changes."""
    shape = node.input(0).shape
    if node.op == "Upsample":
        return list(upsample_taps(node, shape, node.constant(1)))
    return list(resize_taps(node, shape, node.constant(1), node.constant(2), node.constant(3)))


def supports(node: Node) -> bool:
    """Whether the node resamples float32 without extrapolating."""
    return node.input(0).dtype == np.float32 and not any(table.outside.any() for _, table in taps_of(node))


class ResizeKernel(KernelBase):
    """Separable resampling of float32 tensors of any rank."""

    def __init__(self, node: Node) -> None:
        # the axis that shrinks most goes first, the one that grows most last
        by_growth = sorted(taps_of(node), key=lambda step: len(step[1].indices) / node.input(0).shape[step[0]])
        self.axes = [_Axis(axis, table) for axis, table in by_growth]
        self.first = min((axis for axis, _ in by_growth), default=0)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x, y = present(inputs, 0), present(outputs, 0)
        leading = int(np.prod(x.shape[: self.first]))
        x, y = x.reshape(leading, *x.shape[self.first :]), y.reshape(leading, *y.shape[self.first :])

        def part(_: int, rows: tuple[int, int]) -> None:
            source = x[slice(*rows)]
            for step, axis in enumerate(self.axes):
                at = axis.axis - self.first + 1
                shape = (*source.shape[:at], axis.count, *source.shape[at + 1 :])
                last = step == len(self.axes) - 1
                target = y[slice(*rows)] if last else np.empty(shape, np.float32)
                axis.apply(source, target, at)
                source = target

        pool.each(part, pool.ranges(leading, y.size))


class _Axis:
    """One axis of a resize: a list of positions to copy, or blocks of (outputs, inputs, weights)."""

    def __init__(self, axis: int, table: AxisTaps) -> None:
        self.axis, self.count = axis, len(table.indices)
        self.selection = table.indices[:, 0] if table.is_selection else None
        self.blocks = []
        for first in range(0, self.count, BLOCK):
            indices, weights = table.indices[first : first + BLOCK], table.weights[first : first + BLOCK]
            low, high = int(indices.min()), int(indices.max()) + 1
            matrix = np.zeros((len(indices), high - low), np.float64)
            np.add.at(matrix, (np.arange(len(indices))[:, None], indices - low), weights)
            outs = slice(first, first + len(indices))
            self.blocks.append((outs, slice(low, high), matrix.astype(np.float32)))

    def apply(self, x: np.ndarray, y: np.ndarray, axis: int) -> None:
        """Resample ``x`` along ``axis`` into ``y``."""
        if self.selection is not None:
            np.take(x, self.selection, axis, out=y, mode="clip")
            return
        trailing = int(np.prod(x.shape[axis + 1 :]))
        x = x.reshape(-1, x.shape[axis], trailing)
        y = y.reshape(-1, y.shape[axis], trailing)
        for outs, ins, weights in self.blocks:
            if trailing == 1:
                np.matmul(x[:, ins, 0], weights.T, out=y[:, outs, 0])
            else:
                np.matmul(weights, x[:, ins], out=y[:, outs])
