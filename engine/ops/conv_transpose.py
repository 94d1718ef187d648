"""ConvTranspose (ONNX versions 1, 11, 22): the adjoint of Conv, ``[N, C, *spatial]`` with ``[C, M/group, *kernel]``."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.conv import check_operands
from engine.ops.registry import operator
from engine.ops.types import accumulator
from engine.ops.window import Window


def transposed_window(node: Node, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[Window, tuple[int, ...]]:
    """The window that slides over the output, whose positions are those of x, and the output's spatial extents.

    ValueError when the shapes or attributes do not fit each other.
    """
    group, rank = node.attr("group", 1), len(x) - 2
    if rank < 1 or len(w) != len(x) or x[1] != w[0] or w[0] % group:
        raise ValueError(f"x of shape {x} and w of shape {w} in {group} groups")
    kernel = tuple(node.attr("kernel_shape") or w[2:])
    strides = tuple(node.attr("strides") or (1,) * rank)
    dilations = tuple(node.attr("dilations") or (1,) * rank)
    output_padding = tuple(node.attr("output_padding") or (0,) * rank)
    pads = tuple(node.attr("pads") or (0,) * 2 * rank)
    if kernel != w[2:] or len(pads) != 2 * rank or min(strides + dilations) < 1 or min(pads) < 0:
        raise ValueError(f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads}")
    columns = zip(x[2:], strides, output_padding, kernel, dilations, strict=True)
    full = tuple(s * (n - 1) + o + (k - 1) * d + 1 for n, s, o, k, d in columns)
    auto_pad = node.attr("auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad '{auto_pad}' is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    out = node.attr("output_shape")
    if out is None and auto_pad.startswith("SAME"):
        # Strides past the kernel compute less than that; ONNX's shape inference and ONNX Runtime leave it at what is.
        out = tuple(min(n * s, f) for n, s, f in zip(x[2:], strides, full, strict=True))
    if out is not None:
        # An output longer than all that is computed is filled up at its end.
        totals = tuple(max(f - n, 0) for f, n in zip(full, out, strict=True))
        begin = tuple(t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in totals)
        end = tuple(t - b for t, b in zip(totals, begin, strict=True))
    else:
        if auto_pad == "VALID":
            pads = (0,) * 2 * rank
        begin, end = pads[:rank], pads[rank:]
        out = tuple(f - b - e for f, b, e in zip(full, begin, end, strict=True))
    if min(out) < 1:
        raise ValueError(f"pads {pads} leave nothing of {full}")
    return Window(kernel, strides, dilations, begin=begin, end=end, out=x[2:]), tuple(out)


@operator("ConvTranspose")
class ConvTranspose:
    """Each input element adds the kernel, scaled by it, to the output; plus a bias. float16 is summed in float32."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, w = node.input(0), node.input(1)
        _, out = transposed_window(node, x.shape, w.shape)
        outputs = w.shape[1] * node.attr("group", 1)
        check_operands(node, outputs)
        return [TensorType(x.dtype, (x.shape[0], outputs, *out))]

    @staticmethod
    def workspace(node: Node) -> int:
        x, w = node.input(0), node.input(1)
        window, out = transposed_window(node, x.shape, w.shape)
        maps = x.shape[0] * w.shape[1] * node.attr("group", 1)
        elements = maps * (window.taps * prod(window.out) + prod(window.canvas(out)))
        return elements * accumulator(x.dtype).itemsize

    @staticmethod
    def reference(node: Node, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        wide_dtype = accumulator(x.dtype)
        window, out = transposed_window(node, x.shape, w.shape)
        group, count = node.attr("group", 1), x.shape[0]
        inputs = x.astype(wide_dtype, copy=False).reshape(count, group, x.shape[1] // group, prod(x.shape[2:]))
        weights = w.astype(wide_dtype, copy=False).reshape(group, w.shape[0] // group, prod(w.shape[1:]))
        columns = np.matmul(weights.transpose(0, 2, 1), inputs)
        columns = columns.reshape(count, group * w.shape[1], *window.kernel, *window.out)
        y = window.fold(columns, out)
        if b is not None:
            y = y + b.astype(wide_dtype, copy=False).reshape(-1, *(1,) * (x.ndim - 2))
        return y.astype(x.dtype, copy=False)
