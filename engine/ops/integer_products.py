"""Products of quantised tensors: MatMulInteger-10, ConvInteger-10, QLinearMatMul-10/21, QLinearConv-10.

Sums are those of an int32 accumulator. They are formed in float64, by BLAS: 8-bit factors less their zero points stay
within 2^8, so every partial sum of up to 2^37 products is exact.
"""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType, Value
from engine.ops.conv import conv_window, convolution_bytes, convolve
from engine.ops.elementwise import widen
from engine.ops.matmul import product_shape
from engine.ops.quantize import requantize
from engine.ops.registry import operator
from engine.ops.types import broadcast

INT32 = np.dtype(np.int32)


def parameter_shape(shape: tuple[int, ...], axis: int, rank: int) -> tuple[int, ...]:
    """The shape in which a scale or zero point broadcasts to a tensor: a vector along ``axis``, all else as it is."""
    if shape == (1,):
        return ()
    return (*shape, *(1,) * (rank - 1 - axis % rank)) if len(shape) == 1 else shape


def place(parameter: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A scale or zero point as it broadcasts to a tensor of ``rank`` axes, a vector along ``axis``; float16 widened."""
    return widen(parameter.reshape(parameter_shape(parameter.shape, axis, rank)))


def check_parameter(parameter: Value | None, axis: int, x: tuple[int, ...]) -> None:
    """ValueError when a scale or zero point does not broadcast to the shape ``x``."""
    if parameter is not None and broadcast(parameter_shape(parameter.shape, axis, len(x)), x) != x:
        raise ValueError(f"a scale or zero point {parameter.type} for shape {list(x)} along axis {axis}")


def check_scalar(*parameters: Value | None) -> None:
    """ValueError when a scale or zero point that must be one for the whole tensor is not."""
    for parameter in parameters:
        if parameter is not None and parameter.type.size != 1:
            raise ValueError(f"a scale or zero point {parameter.type}, which must be a scalar")


def less_zero_point(x: np.ndarray, zero_point: np.ndarray | None, axis: int) -> np.ndarray:
    """``x`` less its zero point, exact, as float64."""
    wide = x.astype(np.float64)
    return wide if zero_point is None else wide - place(zero_point, axis, x.ndim)


def wrap_int32(y: np.ndarray) -> np.ndarray:
    """Exact sums in float64 as int32; what does not fit wraps, as in an int32 accumulator."""
    return y.astype(np.int64).astype(INT32)


@operator("MatMulInteger", since=10)
class MatMulInteger:
    """(A - a zero point) (B - b zero point) as int32; a zero point per tensor, row of A or column of B."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        a, b = node.input(0).shape, node.input(1).shape
        check_parameter(node.optional_input(2), -2, a)
        check_parameter(node.optional_input(3), -1, b)
        return [TensorType(INT32, product_shape(a, b))]

    @staticmethod
    def reference(
        _: Node, a: np.ndarray, b: np.ndarray, a_zero: np.ndarray | None = None, b_zero: np.ndarray | None = None
    ) -> np.ndarray:
        return wrap_int32(np.matmul(less_zero_point(a, a_zero, -2), less_zero_point(b, b_zero, -1)))


@operator("QLinearMatMul", since=10)
class QLinearMatMul:
    """A B requantised to the scale and zero point of y; a scale is per tensor, row of A and y or column of B."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        a, b, zero_point = node.input(0).shape, node.input(3).shape, node.input(7)
        y = product_shape(a, b)
        for first, axis, shape in ((1, -2, a), (4, -1, b), (6, -2, y)):
            check_parameter(node.input(first), axis, shape)
            check_parameter(node.input(first + 1), axis, shape)
        return [TensorType(zero_point.dtype, y)]

    @staticmethod
    def reference(
        _: Node,
        a: np.ndarray,
        a_scale: np.ndarray,
        a_zero: np.ndarray,
        b: np.ndarray,
        b_scale: np.ndarray,
        b_zero: np.ndarray,
        y_scale: np.ndarray,
        y_zero: np.ndarray,
    ) -> np.ndarray:
        y = wrap_int32(np.matmul(less_zero_point(a, a_zero, -2), less_zero_point(b, b_zero, -1)))
        factor = place(a_scale, -2, a.ndim) * place(b_scale, -1, b.ndim) / place(y_scale, -2, y.ndim)
        return requantize(y * factor, place(y_zero, -2, y.ndim), y_zero.dtype)


@operator("ConvInteger", since=10)
class ConvInteger:
    """Conv of (x - x zero point) with (w - w zero point) as int32; the latter per tensor or output channel."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, w = node.input(0).shape, node.input(1).shape
        check_scalar(node.optional_input(2))
        check_parameter(node.optional_input(3), 0, w)
        return [TensorType(INT32, (x[0], w[0], *conv_window(node, x, w).out))]

    @staticmethod
    def workspace(node: Node) -> int:
        return convolution_bytes(node, 1, 8)

    @staticmethod
    def reference(
        node: Node, x: np.ndarray, w: np.ndarray, x_zero: np.ndarray | None = None, w_zero: np.ndarray | None = None
    ) -> np.ndarray:
        return wrap_int32(convolve(node, less_zero_point(x, x_zero, 0), less_zero_point(w, w_zero, 0)))


@operator("QLinearConv", since=10)
class QLinearConv:
    """Conv requantised to the scale and zero point of y; the int32 bias is in units of x scale times w scale."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, w = node.input(0).shape, node.input(3).shape
        check_scalar(*(node.input(index) for index in (1, 2, 6, 7)))
        for index in (4, 5):
            check_parameter(node.input(index), 0, w)
        return [TensorType(node.input(7).dtype, (x[0], w[0], *conv_window(node, x, w).out))]

    @staticmethod
    def workspace(node: Node) -> int:
        return convolution_bytes(node, 3, 8)

    @staticmethod
    def reference(
        node: Node,
        x: np.ndarray,
        x_scale: np.ndarray,
        x_zero: np.ndarray,
        w: np.ndarray,
        w_scale: np.ndarray,
        w_zero: np.ndarray,
        y_scale: np.ndarray,
        y_zero: np.ndarray,
        b: np.ndarray | None = None,
    ) -> np.ndarray:
        y = wrap_int32(convolve(node, less_zero_point(x, x_zero, 0), less_zero_point(w, w_zero, 0)))
        if b is not None:
            y += place(b, 1, y.ndim)
        factor = place(x_scale, 1, y.ndim) * place(w_scale, 1, y.ndim) / place(y_scale, 1, y.ndim)
        return requantize(y * factor, place(y_zero, 1, y.ndim), y_zero.dtype)
