"""MaxPool axis by axis: the largest under a window is that of its rows' largest; and the mean of whole planes."""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Do, Pool, Range, call
from engine.graph.ir import Node
from engine.ops.pool import pool_window
from engine.ops.window import Window


def supports(node: Node) -> bool:
    """Whether the maximum of float32 input is the only output, without its indices."""
    return len(list(node.used_outputs())) == 1 and node.input(0).dtype == np.float32


class MaxPoolKernel(KernelBase):
    """The largest input under each window, over any number of spatial axes; padding never wins."""

    static = True

    def __init__(self, node: Node) -> None:
        x = node.input(0).shape
        self.window = pool_window(node, x)
        self.planes = prod(x[:2])
        # one plane's maxima over all axes but the last, before the last is reduced
        self.line = prod(self.window.out[:-1]) * x[-1] if len(x) == 4 else 0
        self.scratch = self.planes * self.line
        self.nanoseconds = node.input(0).type.size * 0.4

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x, y = present(inputs, 0), present(outputs, 0)
        x, y = (pool.reshaped(array, self.planes, *array.shape[2:]) for array in (x, y))

        def part(do: Do, worker: int, rows: Range) -> None:
            source = x[slice(*rows)]
            for axis in range(1, x.ndim):
                shape = (*source.shape[:axis], self.window.out[axis - 1], *source.shape[axis + 1 :])
                if axis == x.ndim - 1:
                    target = y[slice(*rows)]
                elif self.line:
                    target = pool.scratch(worker)[: prod(shape)].reshape(shape)
                else:
                    target = np.empty(shape, np.float32)
                _reduce(do, source, target, self.window, axis)
                source = target

        planes = pool.ranges(self.planes, self.nanoseconds)
        if self.line:
            pool.each_by_calls(part, planes)
        else:
            pool.each(partial(part, call), planes)  # calls that are kept would keep what lies between the axes


def is_float(node: Node) -> bool:
    """Whether there are numbers, of float32."""
    return node.input(0).dtype == np.float32 and node.input(0).type.size > 0


class GlobalAveragePoolKernel(KernelBase):
    """The mean of each plane of ``[N, C, ...]``."""

    static = True

    def __init__(self, node: Node) -> None:
        shape = node.input(0).shape
        self.planes, self.size = prod(shape[:2]), prod(shape[2:])
        # to begin with a plane takes as long as to add 500 numbers
        self.nanoseconds = self.planes * (self.size + 500) * 0.1

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x = pool.reshaped(present(inputs, 0), self.planes, self.size)
        y = pool.reshaped(present(outputs, 0), self.planes)

        def part(do: Do, _: int, planes: Range) -> None:
            block = slice(*planes)
            do(_sum_rows, x[block], y[block])
            do(np.multiply, y[block], np.float32(1 / self.size), y[block])

        pool.each_by_calls(part, pool.ranges(self.planes, self.nanoseconds))


def _sum_rows(x: np.ndarray, y: np.ndarray) -> None:
    np.add.reduce(x, axis=1, out=y)


def _reduce(do: Do, x: np.ndarray, y: np.ndarray, window: Window, axis: int) -> None:
    """``y`` = the maximum of ``x`` under the window along one axis (axis 0 is not spatial)."""
    count, lead = y.shape[axis], (slice(None),) * axis
    taps = [(out, source) for out, source in window.tap_ranges(axis - 1, x.shape[axis]) if out.stop > out.start]
    # two taps that every output sees give the first maximum; the edges see padding and start from its value
    whole = [source for out, source in taps if out == slice(0, count)]
    rest = [(out, source) for out, source in taps if out != slice(0, count)]
    if len(whole) > 1:
        do(np.maximum, x[(*lead, whole[0])], x[(*lead, whole[1])], y)
    elif whole:
        do(np.copyto, y, x[(*lead, whole[0])])
    else:
        do(np.copyto, y, -np.inf)
    for source in whole[2:]:
        do(np.maximum, y, x[(*lead, source)], y)
    for out, source in rest:
        region = y[(*lead, out)]
        do(np.maximum, region, x[(*lead, source)], region)
