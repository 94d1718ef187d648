"""QuantizeLinear, DequantizeLinear (10/13/19/21/23/24/25/28) and DynamicQuantizeLinear-11, with integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.graph.dtypes import byte_dtype, dtype_of, name_of, whole_bytes
from engine.graph.ir import Node, Quantized, TensorType
from engine.ops.cast import saturate
from engine.ops.elementwise import round_to
from engine.ops.registry import operator
from engine.ops.types import accumulator, normalize_axis


def requantize(y: np.ndarray, zero_point: np.ndarray | int, dtype: np.dtype[Any]) -> np.ndarray:
    """Floats in units of the output's scale as integers: to the nearest, ties to even, moved and saturated."""
    return saturate(np.rint(y) + zero_point, dtype)


def check_granularity(node: Node, index: int) -> None:
    """ValueError when the scale or zero point at ``index`` fits neither per tensor, per axis nor in blocks."""
    x, parameter = node.input(0), node.optional_input(index)
    if parameter is None or parameter.shape in ((), (1,)):
        return
    axis = normalize_axis(node.attr("axis", 1), len(x.shape))
    block = node.attr("block_size", 0)
    block_shape = (*x.shape[:axis], -(-x.shape[axis] // block), *x.shape[axis + 1 :]) if block else None
    expected = block_shape or (x.shape[axis],)
    if parameter.shape != expected:
        raise ValueError(f"a scale or zero point of shape {list(parameter.shape)}, not {list(expected)}")


def per_tensor(node: Node) -> bool:
    """Whether one scale and one zero point serve all of the node's input."""
    parameters = (node.input(1), node.optional_input(2))
    return all(value is None or value.shape in ((), (1,)) for value in parameters)


def broadcast_parameter(node: Node, parameter: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A scale or zero point - per tensor, per axis or in blocks along ``axis`` - so that it broadcasts to ``shape``."""
    block = node.attr("block_size", 0)
    if parameter.size == 1 and parameter.ndim < 2:
        return parameter.reshape(())
    axis = normalize_axis(node.attr("axis", 1), len(shape))
    if block:
        return parameter.take(np.arange(shape[axis]) // block, axis)
    return parameter.reshape(-1, *(1,) * (len(shape) - axis - 1))


@operator("QuantizeLinear", since=10)
class QuantizeLinear:
    """saturate(round(x / scale) + zero point), by default to uint8.

    The division is made in the dtype of the scale or in ``precision``, float16 in float32.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, zero_point, element_type = node.input(0), node.optional_input(2), node.attr("output_dtype", 0)
        check_granularity(node, 1)
        check_granularity(node, 2)
        if zero_point is not None:
            dtype = zero_point.dtype
            if element_type and dtype_of(element_type, f"{node.label}: output_dtype") != dtype:
                raise ValueError("output_dtype is not the dtype of the zero point")
        else:
            dtype = dtype_of(element_type, f"{node.label}: output_dtype") if element_type else np.dtype(np.uint8)
        if byte_dtype(dtype).kind not in "iu" or dtype.itemsize > 2:
            raise ValueError(f"{name_of(dtype)} is no quantised dtype")
        return [TensorType(dtype, x.shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None) -> np.ndarray:
        (result,) = QuantizeLinear.infer(node)
        precision = node.attr("precision", 0)
        dtype = accumulator(dtype_of(precision, f"{node.label}: precision") if precision else scale.dtype)
        with np.errstate(all="ignore"):
            y = x.astype(dtype) / broadcast_parameter(node, scale, x.shape).astype(dtype)
        points = 0 if zero_point is None else broadcast_parameter(node, whole_bytes(zero_point), x.shape)
        return requantize(y, points, result.dtype)


@operator("DequantizeLinear", since=10)
class DequantizeLinear:
    """(x - zero point) scale, in the dtype of the scale or in ``output_dtype``; the difference is exact."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, element_type = node.input(0), node.attr("output_dtype", 0)
        check_granularity(node, 1)
        check_granularity(node, 2)
        zero_point = node.optional_input(2)
        if byte_dtype(x.dtype).kind not in "iu" or (zero_point is not None and zero_point.dtype != x.dtype):
            raise ValueError("x and its zero point must have one integer dtype")
        dtype = dtype_of(element_type, f"{node.label}: output_dtype") if element_type else node.input(1).dtype
        return [TensorType(dtype, x.shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None) -> np.ndarray:
        (result,) = DequantizeLinear.infer(node)
        wide_dtype = accumulator(result.dtype)
        x = whole_bytes(x)
        if zero_point is not None:
            x = x.astype(np.int32) - broadcast_parameter(node, whole_bytes(zero_point), x.shape)
        with np.errstate(all="ignore"):
            return round_to(
                x.astype(wide_dtype) * broadcast_parameter(node, scale, x.shape).astype(wide_dtype), result.dtype
            )


def quantized(node: Node) -> Quantized | None:
    """What the constant output of a DequantizeLinear comes from; None where it is not float32 made of bytes.

    Blocks of other tensors than matrices are None, too, and so is a scale that is no number: a zero times it is none.
    """
    x, scale, zero = (None if data is None else whole_bytes(data) for data in map(node.constant, range(3)))
    if x is None or scale is None or scale.dtype != np.float32 or node.output.dtype != np.float32:
        return None
    if x.dtype.itemsize != 1 or not np.isfinite(scale).all():
        return None
    block = node.attr("block_size", 0)
    if block and not per_tensor(node):
        if not x.ndim == scale.ndim == 2:
            return None
        points = np.broadcast_to(np.int32(0) if zero is None else zero.astype(np.int32), scale.shape)
        return Quantized(x, scale, points, block, normalize_axis(node.attr("axis", 1), 2))
    points = np.zeros((), np.int32) if zero is None else broadcast_parameter(node, zero, x.shape).astype(np.int32)
    return Quantized(x, broadcast_parameter(node, scale, x.shape), points)


def dynamic_parameters(low: np.float32, high: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """The float32 scale and uint8 zero point by which DynamicQuantizeLinear covers ``low`` <= 0 to ``high`` >= 0."""
    # an infinite x makes the scale infinite, and one of denormal range makes it 0
    with np.errstate(all="ignore"):
        scale = np.asarray((high - low) / np.float32(255) if high > low else 1, np.float32)
        return scale, requantize(np.asarray(-low / scale), 0, np.dtype(np.uint8))


@operator("DynamicQuantizeLinear", since=11)
class DynamicQuantizeLinear:
    """x as uint8, with the float32 scale and the zero point that cover its range and 0; all 0 have scale 1."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, byte = node.input(0), np.dtype(np.uint8)
        if x.dtype != np.float32 or not x.type.size:
            raise ValueError("x must be float32 and not empty")
        return [TensorType(byte, x.shape), TensorType(x.dtype, ()), TensorType(byte, ())]

    @staticmethod
    def reference(_: Node, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scale, zero_point = dynamic_parameters(x.min(initial=0), x.max(initial=0))
        with np.errstate(all="ignore"):
            return requantize(x / scale, zero_point, zero_point.dtype), scale, zero_point
