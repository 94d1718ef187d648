"""MatMulInteger on the float32 product, exactly: integers are widened a strip at a time, in runs that cannot round."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.cpu.exact_winograd import EXACT
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.matmul import GFLOPS
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.integer_products import place

STRIP_BYTES = 4 << 20
"""Widened integers and sums of one product: both factors are read many times from it."""

COLUMNS = 512
"""Columns of B that are widened together."""

FARTHEST = 255
"""The largest distance of an 8-bit integer from its zero point."""

STEP = 32
"""Steps along k that are weighed together; their sum is exact whatever they hold."""


def supports(node: Node) -> bool:
    """Whether A is a matrix or a stack of them, and B one matrix."""
    return len(node.input(0).shape) >= 2 and len(node.input(1).shape) == 2


class MatMulIntegerKernel(KernelBase):
    """int32 sums of (a - a zero point)(b - b zero point) (ONNX MatMulInteger-10).

    The k axis is cut into runs whose sums cannot reach 2^24: within a run the float32 product is exact.
    """

    def __init__(self, node: Node) -> None:
        a, b = node.input(0), node.input(1)
        self.rows, self.k, self.n = prod(a.shape[:-1]), a.shape[-1], b.shape[1]
        self.runs = _exact_runs(node)
        self.longest = max((run.stop - run.start for run in self.runs), default=0)
        self.columns = min(self.n, COLUMNS)
        elements = STRIP_BYTES // 4 - self.longest * self.columns
        self.strip = min(max(self.rows, 1), max(64, elements // max(1, self.longest + self.columns)))
        self.scratch = self.longest * self.columns + self.strip * (self.longest + self.columns)
        self.nanoseconds = self.rows * self.n * self.k * 2 / GFLOPS

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        a, b, y = present(inputs, 0), present(inputs, 1), present(outputs, 0)
        a_zero, b_zero = (_zero(inputs, index, axis, side) for index, axis, side in ((2, -2, a), (3, -1, b)))
        a, y = a.reshape(self.rows, self.k), y.reshape(self.rows, self.n)
        if not self.runs:
            y[...] = 0
            return

        def part(worker: int, rows: Range) -> None:
            scratch = pool.scratch(worker)
            for first in range(0, self.n, self.columns):
                columns = slice(first, min(first + self.columns, self.n))
                for run in self.runs:
                    right, rest = _widen_part(scratch, b[run, columns], b_zero, (slice(None), columns))
                    left, rest = _widen_part(rest, a[slice(*rows), run], a_zero, (slice(*rows), slice(None)))
                    sums = rest[: len(left) * right.shape[1]].reshape(len(left), -1)
                    np.matmul(left, right, out=sums)
                    target = y[slice(*rows), columns]
                    if run.start == 0:
                        np.copyto(target, sums, casting="unsafe")
                    else:
                        np.add(target, sums, out=target, casting="unsafe")

        pool.each(part, pool.ranges(self.rows, self.nanoseconds, self.strip))


def _zero(inputs: Tensors, index: int, axis: int, factor: np.ndarray) -> np.ndarray | None:
    """The zero point of ``factor`` as float32: of each of its rows ``[rows, 1]``, or of each of its columns ``[N]``."""
    zero_point = inputs[index] if len(inputs) > index else None
    if zero_point is None:
        return None
    shape = (*factor.shape[:-1], 1) if axis == -2 else (1, factor.shape[-1])
    return np.broadcast_to(place(zero_point, axis, factor.ndim), shape).astype(np.float32).reshape(-1, shape[-1])


def _widen_part(
    scratch: np.ndarray, part: np.ndarray, zero: np.ndarray | None, where: tuple[slice, slice]
) -> tuple[np.ndarray, np.ndarray]:
    """``part`` less its zero points, float32 at the front of ``scratch``, and what is left of that."""
    widened_part = scratch[: part.size].reshape(part.shape)
    np.copyto(widened_part, part)
    if zero is not None:
        widened_part -= zero[where]
    return widened_part, scratch[part.size :]


def _exact_runs(node: Node) -> list[slice]:
    """The k axis in runs over which no sum can reach 2^24, as far as the weights are known."""
    b, zero = node.constant(1), node.constant(3)
    starts = np.arange(0, node.input(1).shape[0], STEP)
    if b is None or (zero is None and node.optional_input(3) is not None):
        largest = np.full((len(starts), 1), STEP * FARTHEST * FARTHEST, np.int64)
    elif not b.size:
        largest = np.zeros((len(starts), 1), np.int64)
    else:
        distances = b.astype(np.int16) - (0 if zero is None else place(zero, -1, 2).astype(np.int16))
        largest = np.add.reduceat(np.abs(distances), starts, axis=0, dtype=np.int64) * FARTHEST
    runs: list[slice] = []
    sums: np.ndarray | None = None
    for start, step_sums in zip(starts.tolist(), largest, strict=True):
        stop = min(start + STEP, node.input(1).shape[0])
        if sums is None or (sums + step_sums).max(initial=0) >= EXACT:
            runs.append(slice(start, stop))
            sums = step_sums
        else:
            runs[-1] = slice(runs[-1].start, stop)
            sums = sums + step_sums
    return runs
