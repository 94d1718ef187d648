"""LayerNormalization, Softmax and LogSoftmax: operators on rows that lie in one run, in blocks that stay in cache."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.normalization import EPSILON, stash, trailing
from engine.ops.types import normalize_axis

STRIP_BYTES = 1 << 20
"""Bytes of a block of rows, which several calls pass over; shorter calls would contend for the GIL."""


def supports_layer_norm(node: Node) -> bool:
    """Whether the normalised x is the only output, in float32, with one scale (and shift) for each element of a row."""
    x, parameters = node.input(0), list(node.used_inputs())[1:]
    row = x.shape[trailing(node, x.shape)[0] :]
    fits = all(value.is_constant and value.shape == row for value in parameters)
    one_output = x.type.size > 0 and len(list(node.used_outputs())) == 1 and node.outputs[0] is not None
    return fits and one_output and x.dtype == np.float32 and stash(node) == np.float32


def supports_softmax(node: Node) -> bool:
    """Whether what is normalised together is one run of float32."""
    x = node.input(0)
    rank = len(x.shape)
    last = node.version < 13 or normalize_axis(node.attr("axis", -1), rank) == rank - 1
    return last and rank > 0 and x.type.size > 0 and x.dtype == np.float32


class _RowKernel(KernelBase):
    """Blocks of whole rows, shared among the workers; a block is read before it is written."""

    static = True
    in_place = True

    def __init__(self, node: Node, axis: int, nanoseconds: float) -> None:
        x = node.input(0)
        self.width = prod(x.shape[axis:])
        self.rows = x.type.size // self.width
        self.block = max(1, STRIP_BYTES // (4 * self.width))
        self.nanoseconds = x.type.size * nanoseconds

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x = present(inputs, 0).reshape(self.rows, self.width)
        y = present(outputs, 0).reshape(self.rows, self.width)

        def part(worker: int, rows: Range) -> None:
            for first in range(rows[0], rows[1], self.block):
                block = slice(first, min(first + self.block, rows[1]))
                self._compute(x[block], y[block], pool.scratch(worker))

        pool.each(part, pool.ranges(self.rows, self.nanoseconds))

    def _compute(self, x: np.ndarray, y: np.ndarray, scratch: np.ndarray) -> None:
        raise NotImplementedError


class LayerNormKernel(_RowKernel):
    """LayerNormalization without its moments."""

    prepacked: tuple[int, ...] = (1, 2)

    def __init__(self, node: Node) -> None:
        super().__init__(node, trailing(node, node.input(0).shape)[0], 1.2)
        scale, shift = node.constant(1), node.constant(2)
        assert scale is not None
        self.scale = np.require(scale.reshape(-1), requirements="A")
        self.shift = None if shift is None else np.require(shift.reshape(-1), requirements="A")
        self.epsilon = np.float32(node.attr("epsilon", EPSILON))
        self.averaging = np.full(self.width, 1 / self.width, np.float32)

    def _compute(self, x: np.ndarray, y: np.ndarray, scratch: np.ndarray) -> None:  # noqa: ARG002
        # products with BLAS take a third of the time of NumPy's mean
        np.subtract(x, np.matmul(x, self.averaging)[:, None], out=y)
        inverse = np.vecdot(y, y)
        inverse *= np.float32(1 / self.width)
        inverse += self.epsilon
        np.sqrt(inverse, out=inverse)
        np.reciprocal(inverse, out=inverse)
        np.multiply(y, inverse[:, None], out=y)
        np.multiply(y, self.scale, out=y)
        if self.shift is not None:
            np.add(y, self.shift, out=y)


class SoftmaxKernel(_RowKernel):
    """Softmax or LogSoftmax of rows."""

    def __init__(self, node: Node) -> None:
        rank = len(node.input(0).shape)
        axis = rank - 1 if node.version >= 13 else normalize_axis(node.attr("axis", 1), rank + 1)
        super().__init__(node, axis, 1.5)
        self.finish: Callable[[np.ndarray, np.ndarray], None] = _divide
        if node.op == "LogSoftmax":
            self.finish, self.scratch = _subtract_logarithm, min(self.block, self.rows) * self.width

    def _compute(self, x: np.ndarray, y: np.ndarray, scratch: np.ndarray) -> None:
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        self.finish(y, scratch[: y.size].reshape(y.shape) if self.scratch else y)


def _divide(y: np.ndarray, powers: np.ndarray) -> None:
    np.exp(y, out=powers)
    np.divide(powers, powers.sum(axis=1, keepdims=True), out=y)


def _subtract_logarithm(y: np.ndarray, powers: np.ndarray) -> None:
    np.exp(y, out=powers)
    np.subtract(y, np.log(powers.sum(axis=1, keepdims=True)), out=y)
