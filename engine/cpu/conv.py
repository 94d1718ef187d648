"""Conv and FusedConv: which algorithm a layer gets, decided at load from its shape."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from engine.cpu import blas, kn2row, toeplitz, winograd, winograd_5x5
from engine.cpu.chain import is_chain
from engine.cpu.depthwise import Depthwise
from engine.cpu.epilogue import Epilogue
from engine.cpu.im2col import Columns
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.kn2row import Kn2row
from engine.cpu.products import multiply
from engine.cpu.row_tiles import ROWS
from engine.cpu.threads import Do, Pool, Range
from engine.cpu.toeplitz import Toeplitz
from engine.cpu.winograd import Winograd
from engine.cpu.winograd_5x5 import Winograd5x5, winograd_5x5_ns
from engine.cpu.winograd_line import WinogradLine, line_axis, line_ns
from engine.cpu.winograd_rows import WinogradRows, winograd_rows_ns
from engine.graph.bounds import is_extreme
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.conv import conv_window
from engine.ops.fused_conv import activated_from
from engine.ops.window import Window

SMALLEST_WEIGHT = 1e-30
"""Magnitude of a filter's largest weight below which its transform leaves the normal range of float32."""

BIAS_COPIES = 1.5
"""How many numbers are copied into columns while a bias of its own for each row is added to one."""

FEW = 4096
"""Numbers up to which a copy or an addition takes little more than its call."""


def supports(node: Node) -> bool:
    """Whether the fast algorithms take this convolution: two spatial axes, float32, weights and bias known at load."""
    constant = all(value.is_constant for value in list(node.used_inputs())[1:])
    return constant and len(node.input(0).shape) == 4 and node.input(0).dtype == np.float32


def takes_chain(node: Node) -> bool:
    """Whether element-wise nodes behind this one can be part of its epilogue."""
    is_conv = (node.op, node.domain) in (("Conv", ""), ("FusedConv", INTERNAL_DOMAIN))
    return is_conv and supports(node) and not activated_from(node)


class ConvKernel(KernelBase):
    """A two-dimensional float32 convolution with its bias, its activation and the chain behind it.

    ``step`` is the convolution, or a chain that begins with one. ``direct`` keeps to algorithms that form the sums of
    the definition.
    """

    static = True
    prepacked: tuple[int, ...] = (1, 2)

    def __init__(self, step: Node, *, direct: bool = False) -> None:
        node = step.attributes["nodes"][0] if is_chain(step) else step
        x, w = node.input(0), node.input(1)
        assert w.data is not None
        window, self.epilogue = conv_window(node, x.shape, w.shape), Epilogue(step, scales=not direct)
        weights = w.data if self.epilogue.scale == 1 else w.data * np.float32(self.epilogue.scale)
        group = node.attr("group", 1)
        self.algorithm: (
            Depthwise | Toeplitz | Winograd | WinogradRows | Winograd5x5 | WinogradLine | Kn2row | ColumnProduct
        )
        if _is_depthwise(w.shape, group):
            if toeplitz.takes(window) and not direct:
                self.algorithm = Toeplitz(weights, self.epilogue, window, x.shape)
            else:
                self.algorithm = Depthwise(weights, self.epilogue, window, x.shape[0])
        else:
            self.algorithm = self._fastest(weights, window, x.shape, group, direct=direct)
        self.scratch = self.algorithm.scratch
        images = 1 if isinstance(self.algorithm, Depthwise | Toeplitz) else x.shape[0]  # these count all of them
        self.nanoseconds = self.algorithm.nanoseconds * images

    def _fastest(
        self, w: np.ndarray, window: Window, x: tuple[int, ...], group: int, *, direct: bool
    ) -> Winograd | WinogradRows | Winograd5x5 | WinogradLine | Kn2row | ColumnProduct:
        """The algorithm that takes the least time, of those that take the layer."""
        costs = {"columns": columns_ns(window, w.shape)}
        if window.strides == (1, 1) and group == 1:
            costs["kn2row"] = kn2row_ns(window, w.shape, x[3])
        if not direct and winograd_takes(window, w.shape, group) and _winograd_is_exact(w):
            costs["winograd"] = winograd_ns(window, w.shape)
            costs["winograd rows"] = winograd_rows_ns(window.out[0], w.shape)
        axis = None if direct or group > 1 else line_axis(window, x)
        if axis is not None and _winograd_is_exact(w):
            costs["line"] = line_ns(w.shape)
        if not direct and winograd_5x5.takes(window, w.shape, group) and _winograd_is_exact(w):
            costs["winograd 5x5"] = winograd_5x5_ns(w.shape)
        match min(costs, key=costs.__getitem__):
            case "winograd 5x5":
                return Winograd5x5(w, self.epilogue, window)
            case "line":
                assert axis is not None
                return WinogradLine(w, self.epilogue, window, axis)
            case "kn2row":
                return Kn2row(w, self.epilogue, window, x[3])
            case "winograd rows":
                return WinogradRows(w, self.epilogue, window.begin, window.out)
            case "winograd":
                return Winograd(w, self.epilogue, window.begin, window.out)
        return ColumnProduct(w, self.epilogue, window, group, x[0])

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        y = present(outputs, 0)
        self.algorithm.run(present(inputs, 0), y, self.epilogue.given(inputs, y), pool)


def _is_depthwise(w: tuple[int, ...], group: int) -> bool:
    """Whether each output channel has one input channel of its own."""
    return group > 1 and w[0] == group and w[1] == 1


def winograd_takes(window: Window, w: tuple[int, ...], group: int) -> bool:
    """Whether a layer of weights ``w`` is one of Winograd's, and its transforms are worth their memory."""
    padded = min(window.begin + window.end) >= 0
    plain = window.strides == (1, 1) and window.dilations == (1, 1) and group == 1 and padded
    # the transformed weights, 24/9 of the others, are made at load and read whole, however few tiles use them
    enough_tiles = window.out[0] * window.out[1] >= min(max(20 * 20, w[0] * w[1] // 16), 32 * 32)
    # a strip is at least one row of tiles, whatever its width
    fits_scratch = winograd.row_bytes(w[1] + w[0], window.out[1]) <= 8 * winograd.STRIP_BYTES
    return plain and window.kernel == (3, 3) and enough_tiles and fits_scratch


def winograd_ns(window: Window, w: tuple[int, ...]) -> float:
    """What Winograd takes for an output pixel on one core: products and transforms, each about as fast on any core
    beside the other algorithms' steps. Measured on AVX-512, see docs/numbers.md; packed products pass over what they
    read and write once more, and the transforms take longer."""
    tiles = -(-window.out[0] // ROWS) * ROWS / window.out[0]
    packing = 0 if blas.has_small_products() else 1.9 * w[1] + 0.4 * w[0]
    return tiles * (w[0] * w[1] * 6 / 100 + 3.3 * w[1] + 2.5 * w[0] + packing)


def kn2row_ns(window: Window, w: tuple[int, ...], width: int) -> float:
    """As above: every strip multiplies the rows again that its neighbours share with it."""
    if window.taps == 1:
        return inf  # the columns are the input itself
    rows = min(max(1, kn2row.strip_rows(window, w[0], width)), window.out[0])
    halo = 1 + (window.extents[0] - 1) / rows
    return w[0] * window.taps * (halo * w[1] * 2 / 100 + 1.2) + 0.7 * halo * w[1]


def columns_ns(window: Window, w: tuple[int, ...]) -> float:
    """As above: the columns are copied twice, by the gathering and by BLAS."""
    return w[1] * window.taps * (w[0] * 2 / 100 + 1)


def _winograd_is_exact(w: np.ndarray) -> bool:
    """Whether a tile's sums keep what each weight and each pixel adds to them.

    The transforms add up all weights of a filter, and all pixels of a tile. Beside a weight past LARGEST_WEIGHT, one
    damaged value, rounding hides what the others give, and sums overflow that a direct convolution would not form. A
    filter of SMALLEST_WEIGHT or less loses bits; one of zeros has none to lose.
    """
    if is_extreme(w):
        return False
    largest = np.abs(w.reshape(len(w), -1)).max(1, initial=0)
    return bool(((largest == 0) | (largest >= SMALLEST_WEIGHT)).all())


class ColumnProduct:
    """Any two-dimensional convolution as products of weights and gathered columns: strips of an image, or images."""

    def __init__(self, w: np.ndarray, epilogue: Epilogue, window: Window, group: int, images: int) -> None:
        self.epilogue = epilogue
        channels, w = w.shape[1], w.reshape(len(w), -1)
        # a 1x1 convolution without stride or padding multiplies the input itself, without columns
        self.direct = window.taps == 1 and window.strides == (1, 1) and not any(window.begin + window.end)
        # to add a bias takes as long as to copy twice as many numbers, which makes room for it in the product; of a
        # few numbers both take as long as their calls
        few = images * window.out[0] * window.out[1] * max(len(w), channels * group) <= FEW
        self.direct &= epilogue.bias is None or few or channels * group > len(w) * BIAS_COPIES
        in_product = epilogue.bias is not None and not self.direct
        if epilogue.bias is not None and in_product:
            w = np.hstack([w, epilogue.bias])
        self.bias = None if epilogue.bias is None or in_product else epilogue.bias[:, :, None]
        # aligned: a weight in a mapped file begins at any byte, and each product would copy it
        self.w = np.require(w.reshape(group, len(w) // group, -1), np.float32, ["C", "A"])
        self.columns = Columns(window, channels, self.w.shape[1], ones=in_product)
        height, width = window.out
        self.images = min(images, max(1, self.columns.rows_that_fit // height))
        columns = 0 if self.direct else self.columns.elements
        sums = self.w.shape[1] * self.columns.rows * width
        self.scratch = self.images * (columns + (1 + epilogue.registers) * sums)
        # 100 GFLOP/s in the products, 0.1 ns for each number that is copied into the columns
        each = self.w.shape[2] * (self.w.shape[1] * 2 / 100 + 0.1 * (not self.direct))
        self.nanoseconds = height * width * group * (each + self.w.shape[1] * (epilogue.nanoseconds + 0.1))

    def run(self, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], pool: Pool) -> None:
        """``x`` float32 ``[N, C, H, W]`` → ``y`` float32 ``[N, M, *out]``; ``given`` as the epilogue has it."""
        (height, width), group = self.columns.window.out, len(self.w)
        channels, outputs = x.shape[1] // group, y.shape[1] // group

        def compute(do: Do, worker: int, part: tuple[Range, Range]) -> None:
            images, rows = (slice(*each) for each in part)
            pixels, scratch = slice(rows.start * width, rows.stop * width), pool.scratch(worker)
            for g in range(group):
                source, outs = x[images, g * channels : (g + 1) * channels], slice(g * outputs, (g + 1) * outputs)
                if self.direct:
                    columns, taken = source.reshape(*source.shape[:2], -1)[..., pixels], 0
                else:
                    columns = self.columns.gather(source, part[1], scratch, do=do)
                    taken = columns.size
                block = images, outs, rows
                bias = None if self.bias is None else self.bias[outs]
                self._finish(do, self.w[g], columns, bias, y[block], [array[block] for array in given], scratch[taken:])

        if self.columns.rows < height:
            strips = pool.ranges(height, self.nanoseconds, self.columns.rows)
            pool.each_by_calls(compute, [((n, n + 1), strip) for n in range(len(x)) for strip in strips])
        elif len(x) >= pool.threads:
            images = pool.ranges(len(x), self.nanoseconds * len(x), self.images)
            pool.each_by_calls(compute, [(part, (0, height)) for part in images])
        else:
            pool.each_by_calls(
                compute,
                [((n, n + 1), strip) for n in range(len(x)) for strip in pool.ranges(height, self.nanoseconds)],
            )

    def _finish(
        self,
        do: Do,
        w: np.ndarray,
        columns: np.ndarray,
        bias: np.ndarray | None,
        target: np.ndarray,
        given: Sequence[np.ndarray],
        scratch: np.ndarray,
    ) -> None:
        """``target`` ``[n, M, rows, W]`` = what follows the product of a group's weights ``w`` and ``columns``.

        Sums that something follows lie in scratch: rows of a strip of the output lie apart, and calls that pass over
        such rows take two to three times as long.
        """
        if bias is None and self.epilogue.chain is None:
            multiply(w, columns, target.reshape(*target.shape[:2], -1), do)
            return
        sums = scratch[: target.size].reshape(target.shape)
        multiply(w, columns, sums.reshape(*sums.shape[:2], -1), do)
        if bias is not None:
            do(np.add, sums, bias, target if self.epilogue.chain is None else sums)
        if self.epilogue.chain is None:
            return
        self.epilogue.finish(sums, target, given, scratch[target.size :], do)
