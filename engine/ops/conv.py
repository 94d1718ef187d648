"""Conv: cross-correlation of ``[N, C, *spatial]`` with ``[M, C/group, *kernel]`` (ONNX Conv-1, -11, -22)."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import accumulator
from engine.ops.window import Window, resolve


def conv_window(node: Node, x: tuple[int, ...], w: tuple[int, ...]) -> Window:
    """The sliding window of a convolution over inputs of shapes ``x`` and ``w``; ValueError when they do not fit."""
    group = node.attr("group", 1)
    if len(x) < 3 or len(w) != len(x):
        raise ValueError(f"x of shape {x} and w of shape {w}")
    if x[1] != w[1] * group or w[0] % group:
        raise ValueError(f"{x[1]} channels, weights for {w[1]} x group {group}, {w[0]} output channels")
    kernel = tuple(node.attr("kernel_shape") or w[2:])
    if kernel != w[2:]:
        raise ValueError(f"kernel_shape {kernel} against weights of shape {w}")
    return resolve(node, x[2:], kernel)


def check_operands(node: Node, outputs: int) -> None:
    """ValueError unless x, w and the bias have one dtype and the bias one element for each output channel."""
    x, w, bias = node.input(0), node.input(1), node.optional_input(2)
    if w.dtype != x.dtype or (bias is not None and bias.dtype != x.dtype):
        raise ValueError("x, w and bias must have one dtype")
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"a bias of shape {bias.shape} for {outputs} output channels")


def convolution_bytes(node: Node, weights: int, itemsize: int) -> int:
    """What `convolve` takes in an element type of ``itemsize`` bytes: the padded input, and a tap with its sums.

    ``weights`` is the index of the input that holds them.
    """
    x, w = node.input(0).shape, node.input(weights).shape
    window = conv_window(node, x, w)
    return itemsize * x[0] * (x[1] * (prod(window.padded(x[2:])) + prod(window.out)) + 2 * w[0] * prod(window.out))


def convolve(node: Node, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Sum over window positions of one matrix product each, in the dtype of ``x`` and ``w``; no bias."""
    window = conv_window(node, x.shape, w.shape)
    group = node.attr("group", 1)
    count, channels = x.shape[:2]
    padded = window.pad(x)
    padded = padded.reshape(count, group, channels // group, *padded.shape[2:])
    weights = w.reshape(group, w.shape[0] // group, *w.shape[1:])
    y = np.zeros((count, group, weights.shape[1], int(np.prod(window.out))), x.dtype)
    for offsets in np.ndindex(*window.kernel):
        columns = window.tap(padded, offsets).reshape(count, group, channels // group, y.shape[3])
        y += np.matmul(weights[(..., *offsets)], columns)
    return y.reshape(count, w.shape[0], *window.out)


@operator("Conv")
class Conv:
    """Y = X * W + B over any number of spatial axes, with groups, strides, dilations and padding."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, w = node.input(0), node.input(1)
        window = conv_window(node, x.shape, w.shape)
        check_operands(node, w.shape[0])
        return [TensorType(x.dtype, (x.shape[0], w.shape[0], *window.out))]

    @staticmethod
    def workspace(node: Node) -> int:
        return convolution_bytes(node, 1, accumulator(node.input(0).dtype).itemsize)

    @staticmethod
    def reference(node: Node, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        wide_dtype = accumulator(x.dtype)
        y = convolve(node, x.astype(wide_dtype, copy=False), w.astype(wide_dtype, copy=False))
        if b is not None:
            y += b.astype(wide_dtype, copy=False).reshape(-1, *(1,) * (x.ndim - 2))
        return y.astype(x.dtype, copy=False)
