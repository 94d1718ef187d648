"""ConvTranspose whose windows do not overlap: one product, and each input pixel fills a block of outputs of its own."""

from __future__ import annotations

import numpy as np

from engine.cpu.epilogue import Epilogue
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.conv_transpose import transposed_window

STRIP_BYTES = 1 << 20
"""Products of one strip."""


def supports(node: Node) -> bool:
    """Whether the strides are the kernel, all outputs are of a window, and all is float32 with known weights."""
    x, w = node.input(0), node.input(1)
    constant = all(value.is_constant for value in list(node.used_inputs())[1:])
    if not constant or len(x.shape) != 4 or x.dtype != np.float32 or node.attr("group", 1) != 1:
        return False
    window, out = transposed_window(node, x.shape, w.shape)
    whole = tuple(extent * stride for extent, stride in zip(x.shape[2:], window.strides, strict=True))
    return window.strides == window.kernel and window.dilations == (1, 1) and not any(window.begin) and out == whole


def takes_chain(node: Node) -> bool:
    """Whether element-wise nodes behind this one can be part of its epilogue."""
    return node.op == "ConvTranspose" and not node.domain and supports(node)


class ConvTransposeKernel(KernelBase):
    """y[m, kh i + a, kw j + b] = sum over c of x[c, i, j] w[c, m, a, b], with the bias and the chain behind it."""

    static = True
    prepacked: tuple[int, ...] = (1, 2)

    def __init__(self, step: Node) -> None:
        self.epilogue = Epilogue(step)
        node = self.epilogue.convolution
        x, w = node.input(0).shape, node.constant(1)
        assert w is not None
        self.kernel, self.outputs = w.shape[2:], w.shape[1]
        self.w = np.ascontiguousarray(w.reshape(len(w), -1).T, np.float32)
        products = len(self.w) * x[3]
        self.rows = min(x[2], max(1, STRIP_BYTES // (4 * products)))
        self.scratch = self.rows * products * max(1, self.epilogue.registers)
        # 80 GFLOP/s in the products, 0.5 ns for each number that is moved to its place
        self.nanoseconds = x[0] * x[2] * products * (w.shape[0] * 2 / 80 + 0.5 + self.epilogue.nanoseconds)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x, y = present(inputs, 0), present(outputs, 0)
        given, (height, width) = self.epilogue.given(inputs, y), x.shape[2:]
        down, across = self.kernel

        def part(worker: int, item: tuple[int, Range]) -> None:
            n, strip = item
            rows, scratch = strip[1] - strip[0], pool.scratch(worker)
            product = scratch[: len(self.w) * rows * width].reshape(len(self.w), rows * width)
            np.matmul(self.w, x[n].reshape(len(x[n]), -1)[:, strip[0] * width : strip[1] * width], out=product)
            lines = slice(strip[0] * down, strip[1] * down)
            target = y[n][:, lines]
            blocks = target.reshape(self.outputs, rows, down, width, across)
            by_tap = product.reshape(self.outputs, down, across, rows, width)
            for b in range(across):
                np.copyto(blocks[..., b], by_tap[:, :, b].swapaxes(1, 2))
            if self.epilogue.bias is not None:
                np.add(target, self.epilogue.bias[:, :, None], out=target)
            self.epilogue.finish(target, target, [array[n][:, lines] for array in given], scratch)

        strips = pool.ranges(height, self.nanoseconds / len(x), self.rows)
        pool.each(part, [(n, strip) for n in range(len(x)) for strip in strips])
