"""DeformQuantization and DeformConvInteger (domain ``engine``): a DeformConv between DynamicQuantizeLinear and Cast.

A quantised file has its deformable convolutions as columns, which DynamicQuantizeLinear makes bytes of and ConvInteger
multiplies (the pass fuse_deform_conv). The first node finds the scale and the zero point of the columns, the second one
multiplies them; neither needs them whole in memory. Both have the attributes of a DeformConv of one group and one group
of offsets, and float32 x ``[N, C, *spatial]``, offset and mask of its shapes.
"""

from __future__ import annotations

from math import prod

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Node, TensorType, Value
from engine.ops.conv import conv_window
from engine.ops.deform_conv import DeformConv, deform_columns
from engine.ops.integer_products import INT32, check_parameter, less_zero_point, wrap_int32
from engine.ops.quantize import dynamic_parameters, requantize
from engine.ops.registry import operator
from engine.ops.window import Window

BYTE, FLOAT = np.dtype(np.uint8), np.dtype(np.float32)


def column_window(node: Node) -> Window:
    """The window of either node."""
    x = node.input(0).shape
    return conv_window(node, x, (0, x[1], *node.attr("kernel_shape")))


def _columns_bytes(node: Node, itemsize: int) -> int:
    """The columns, one corner's share of them, and what is made of them, of ``itemsize`` bytes an element."""
    window = column_window(node)
    return (8 + itemsize) * prod(node.input(0).shape[:2]) * window.taps * prod(window.out)


def _check(node: Node, offset: Value, mask: Value | None) -> None:
    x = node.input(0)
    if any(value is not None and value.dtype != FLOAT for value in (x, offset, mask)):
        raise ValueError("x, offset and mask must be float32")
    weights = Value("", TensorType(FLOAT, (0, x.shape[1], *node.attr("kernel_shape"))))
    DeformConv.infer(Node("DeformConv", [x, weights, offset, None, mask], [], node.attributes, version=node.version))


@operator("DeformQuantization", domain=INTERNAL_DOMAIN)
class DeformQuantization:
    """The scale and the zero point, float32 ``[2]``, by which DynamicQuantizeLinear makes bytes of the columns.

    Inputs: X, offset and mask (or none).
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        _check(node, node.input(1), node.optional_input(2))
        return [TensorType(FLOAT, (2,))]

    @staticmethod
    def workspace(node: Node) -> int:
        return _columns_bytes(node, 0)

    @staticmethod
    def reference(node: Node, x: np.ndarray, offset: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        columns = deform_columns(x, offset, mask, groups=1, w=column_window(node))
        scale, zero = dynamic_parameters(columns.min(initial=0), columns.max(initial=0))
        return np.array([scale, zero], np.float32)


@operator("DeformConvInteger", domain=INTERNAL_DOMAIN)
class DeformConvInteger:
    """(q - zero point) * (W - w zero point) as int32, where q are the columns as bytes.

    Inputs: X, W 8-bit ``[M, C, *kernel]``, the scale and zero point of the columns float32 ``[2]``, the zero point of W
    for all of it or each output channel (or none), offset, and mask (or none).
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, w, parameters = node.input(0), node.input(1), node.input(2)
        _check(node, node.input(4), node.optional_input(5))
        check_parameter(node.optional_input(3), 0, w.shape)
        if parameters.type != TensorType(FLOAT, (2,)):
            raise ValueError(f"a scale and a zero point as {parameters.type}")
        return [TensorType(INT32, (x.shape[0], w.shape[0], *conv_window(node, x.shape, w.shape).out))]

    @staticmethod
    def workspace(node: Node) -> int:
        return _columns_bytes(node, FLOAT.itemsize * 2)

    @staticmethod
    def reference(
        node: Node,
        x: np.ndarray,
        w: np.ndarray,
        parameters: np.ndarray,
        w_zero: np.ndarray | None,
        offset: np.ndarray,
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        window = column_window(node)
        columns = deform_columns(x, offset, mask, groups=1, w=window)
        with np.errstate(all="ignore"):
            columns = requantize(columns / parameters[0], int(parameters[1]), BYTE)
        weights = less_zero_point(w, w_zero, 0).reshape(len(w), -1)
        sums = np.matmul(weights, (columns - float(parameters[1])).reshape(len(x), weights.shape[1], -1))
        return wrap_int32(sums).reshape(len(x), len(w), *window.out)
