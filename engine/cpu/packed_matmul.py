"""MatMulNBits and MatMulBnb4: the weights stay packed, and some columns at a time are widened into scratch."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.matmul import GFLOPS
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.matmul_bnb4 import LEVELS
from engine.ops.matmul_nbits import blocks_of, zero_points

STRIP_BYTES = 2 << 20
"""Widened weights of one product. More would leave the cache before they are multiplied, fewer make it narrow."""

WIDEN_NS = 0.7
"""What it takes to widen one weight."""


def supports(node: Node) -> bool:
    """Whether A is float32 and all else is known at load."""
    return node.input(0).dtype == np.float32 and all(value.is_constant for value in list(node.used_inputs())[1:])


class PackedMatMulKernel(KernelBase):
    """y ``[*, N]`` = a ``[*, K]`` W, W ``[K, N]`` known as packed columns; the workers share out the columns.

    A subclass widens them: ``lines`` float32 elements for each column, and ``margin`` more.
    """

    static = True
    lines: int
    margin = 0

    def __init__(self, node: Node) -> None:
        self.k, self.n = node.attr("K"), node.attr("N")
        self.rows = prod(node.input(0).shape[:-1])
        self.bias: np.ndarray | None = None
        # all inputs but the first are constants
        self.prepacked = tuple(range(1, len(node.inputs)))
        self.columns = min(self.n, max(1, STRIP_BYTES // (4 * self.lines)))
        self.scratch = self.columns * self.lines + self.margin
        self.nanoseconds = self.n * self.k * (2 * self.rows / GFLOPS + WIDEN_NS)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        a = present(inputs, 0).reshape(self.rows, self.k)
        y = present(outputs, 0).reshape(self.rows, self.n)

        def part(worker: int, columns: Range) -> None:
            block = y[:, slice(*columns)]
            np.matmul(a, self.widen(*columns, pool.scratch(worker)).T, out=block)
            if self.bias is not None:
                block += self.bias[slice(*columns)]

        pool.each(part, pool.ranges(self.n, self.nanoseconds, self.columns))

    def widen(self, first: int, last: int, scratch: np.ndarray) -> np.ndarray:
        """Columns ``first`` to before ``last`` of W as rows ``[last - first, K]`` float32, in ``scratch``."""
        raise NotImplementedError


class MatMulNBitsKernel(PackedMatMulKernel):
    """A times ((B - zero point) scale)' + bias (ONNX Runtime's MatMulNBits)."""

    def __init__(self, node: Node) -> None:
        self.bits, self.block = node.attr("bits", 4), node.attr("block_size")
        self.lines = blocks_of(node) * self.block
        super().__init__(node)
        packed, scales, bias = node.constant(1), node.constant(2), node.constant(5)
        assert packed is not None
        assert scales is not None
        self.packed = packed.reshape(self.n, -1)
        self.scales = scales.reshape(self.n, -1, 1)
        self.zero = zero_points(node, node.constant(3))
        self.middle = 0 if self.zero is not None else 1 << (self.bits - 1)
        levels = np.arange(16, dtype=np.float32) - self.middle
        self.pairs = _pairs(levels)
        self.bias = None if bias is None else bias.reshape(-1)

    def widen(self, first: int, last: int, scratch: np.ndarray) -> np.ndarray:
        w = scratch[: (last - first) * self.lines].reshape(last - first, -1, self.block)
        packed = self.packed[first:last]
        if self.bits == 4:
            _take_pairs(self.pairs, packed.reshape(-1), w)
        else:
            np.copyto(w, packed.reshape(w.shape))
            if self.middle:
                w -= np.float32(self.middle)
        if self.zero is not None:
            w -= self.zero[first:last, :, None]
        w *= self.scales[first:last]
        return w.reshape(last - first, -1)[:, : self.k]


class MatMulBnb4Kernel(PackedMatMulKernel):
    """A times (level of B times the magnitude of its block)' (ONNX Runtime's MatMulBnb4)."""

    def __init__(self, node: Node) -> None:
        self.block, self.lines = node.attr("block_size"), node.attr("K")
        # columns begin and end within blocks
        self.margin = 2 * self.block
        super().__init__(node)
        packed, absmax = node.constant(1), node.constant(2)
        assert packed is not None
        assert absmax is not None
        self.packed, self.absmax = packed.reshape(-1), absmax.reshape(-1)
        levels = LEVELS[node.attr("quant_type")]
        self.pairs = _pairs(levels, upper_first=True)

    def widen(self, first: int, last: int, scratch: np.ndarray) -> np.ndarray:
        begin, end = first * self.k, last * self.k
        first_block, end_block = begin // self.block, -(-end // self.block)
        blocks = scratch[: (end_block - first_block) * self.block].reshape(-1, self.block)
        packed = self.packed[first_block * self.block // 2 : end_block * self.block // 2]
        _take_pairs(self.pairs, packed, blocks.reshape(-1)[: 2 * len(packed)])
        blocks *= self.absmax[first_block:end_block, None]
        start = begin - first_block * self.block
        return blocks.reshape(-1)[start : start + end - begin].reshape(-1, self.k)


def _pairs(levels: np.ndarray, *, upper_first: bool = False) -> np.ndarray:
    """For each byte the two float32 that its halves stand for, as one item of 64 bits."""
    halves = [np.tile(levels, 16), np.repeat(levels, 16)]
    return np.stack(halves[::-1] if upper_first else halves, -1).astype(np.float32).view(np.uint64).reshape(256)


def _take_pairs(pairs: np.ndarray, packed: np.ndarray, out: np.ndarray) -> None:
    """Two float32 of ``out`` for each byte of ``packed``; a gather is faster than splitting the bytes."""
    np.take(pairs, packed, out=out.reshape(-1).view(np.uint64), mode="clip")
