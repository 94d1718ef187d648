"""MatMul and Gemm, their rows or matrices shared among the workers."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node

GFLOPS = 100
"""What one core is expected to do, in operations a nanosecond."""


def supports(node: Node) -> bool:
    """Whether both factors are float32 or float64 matrices, or stacks of them."""
    a, b = node.input(0), node.input(1)
    return a.dtype in (np.float32, np.float64) and len(a.shape) >= 2 and len(b.shape) >= 2


class MatMulKernel(KernelBase):
    """The product over the last two axes, the others broadcast."""

    static = True

    def __init__(self, node: Node) -> None:
        # rows of one matrix times the same right-hand side: all rows are one tall matrix
        self.tall = len(node.input(1).shape) == 2
        self.nanoseconds = node.output.type.size * node.input(0).shape[-1] * 2 / GFLOPS

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        a, b, y = present(inputs, 0), present(inputs, 1), present(outputs, 0)
        if self.tall:
            rows = prod(a.shape[:-1])
            a, y = a.reshape(rows, a.shape[-1]), y.reshape(rows, y.shape[-1])
            pool.each(lambda _, rows: _multiply(a, b, y, rows), pool.ranges(len(y), self.nanoseconds))
            return
        stacks = y.shape[:-2]
        a, b = (np.broadcast_to(factor, (*stacks, *factor.shape[-2:])) for factor in (a, b))

        axis = next((axis for axis, count in enumerate(stacks) if count > 1), 0)

        def part(_: int, rows: Range) -> None:
            slab = (*(slice(None),) * axis, slice(*rows))
            np.matmul(a[slab], b[slab], out=y[slab])

        pool.each(part, pool.ranges(stacks[axis], self.nanoseconds))


class GemmKernel(KernelBase):
    """alpha A' B' + beta C, with A' and B' transposed as asked."""

    static = True

    def __init__(self, node: Node) -> None:
        self.transposed = bool(node.attr("transA", 0)), bool(node.attr("transB", 0))
        self.nanoseconds = node.output.type.size * node.input(0).shape[0 if self.transposed[0] else 1] * 2 / GFLOPS
        self.alpha, self.beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        a, b = (present(inputs, index).T if self.transposed[index] else present(inputs, index) for index in (0, 1))
        c, y = inputs[2] if len(inputs) > 2 else None, present(outputs, 0)

        def part(_: int, rows: Range) -> None:
            _multiply(a, b, y, rows)
            block = y[slice(*rows)]
            if self.alpha != 1:
                block *= block.dtype.type(self.alpha)
            if c is not None:
                block += block.dtype.type(self.beta) * np.broadcast_to(c, y.shape)[slice(*rows)]

        pool.each(part, pool.ranges(len(y), self.nanoseconds))


def _multiply(a: np.ndarray, b: np.ndarray, y: np.ndarray, rows: Range) -> None:
    np.matmul(a[slice(*rows)], b, out=y[slice(*rows)])
