"""InstanceNormalization: planes that are standardised each by itself, in blocks that stay in cache."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.normalization import EPSILON

STRIP_BYTES = 1 << 20
"""Bytes of a block of planes, which several calls pass over."""


def supports(node: Node) -> bool:
    """Whether all is float32, the parameters are known, and a plane has elements."""
    constant = all(node.constant(index) is not None for index in (1, 2))
    return constant and node.input(0).dtype == np.float32 and node.input(0).type.size > 0


class InstanceNormKernel(KernelBase):
    """(x - mean) / sqrt(variance + epsilon) * scale + b for each plane of ``[N, C, ...]``."""

    static = True
    in_place = True
    prepacked: tuple[int, ...] = (1, 2)

    def __init__(self, node: Node) -> None:
        shape, scale, b = node.input(0).shape, node.constant(1), node.constant(2)
        assert scale is not None
        assert b is not None
        self.planes, self.size = prod(shape[:2]), prod(shape[2:])
        self.scale, self.b = np.tile(scale, shape[0]), np.tile(b, shape[0])
        self.epsilon = np.float32(node.attr("epsilon", EPSILON))
        self.block = max(1, STRIP_BYTES // (4 * self.size))
        # six passes
        self.nanoseconds = node.input(0).type.size * 0.6

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x = present(inputs, 0).reshape(self.planes, self.size)
        y = present(outputs, 0).reshape(self.planes, self.size)

        def part(_: int, planes: Range) -> None:
            block = slice(*planes)
            target = y[block]
            np.subtract(x[block], x[block].mean(axis=1, keepdims=True), out=target)
            variance = np.vecdot(target, target) * np.float32(1 / self.size)
            factor = self.scale[block] / np.sqrt(variance + self.epsilon)
            np.multiply(target, factor[:, None], out=target)
            np.add(target, self.b[block, None], out=target)

        pool.each(part, pool.ranges(self.planes, self.nanoseconds, self.block))
