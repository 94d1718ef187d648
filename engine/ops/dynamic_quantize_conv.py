"""DynamicQuantizeConv (domain ``engine``): what the pass fuse_dynamic_quantization makes of a quantised convolution."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Node, TensorType, Value
from engine.ops.fused_conv import activation_of
from engine.ops.integer_products import ConvInteger
from engine.ops.quantize import DynamicQuantizeLinear
from engine.ops.registry import operator, operator_of

BYTE, FLOAT = np.dtype(np.uint8), np.dtype(np.float32)


@operator("DynamicQuantizeConv", domain=INTERNAL_DOMAIN)
class DynamicQuantizeConv:
    """activation(float32(ConvInteger(q, W, z, w zero point)) (s w scale) + B), where q, s, z quantise X dynamically.

    Inputs: X float32, W 8-bit ``[M, C, *kernel]``, its zero point (or none), its scale float32 ``[1]`` or ``[M]``, and
    B float32 ``[M]`` (or none). Each step rounds as the operator that it stands for does. Without an ``activation``
    there is none.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, w, scale, bias = node.input(0), node.input(1), node.input(3), node.optional_input(4)
        if {x.dtype, scale.dtype, FLOAT if bias is None else bias.dtype} != {FLOAT}:
            raise ValueError("x, the scale of w and the bias must be float32")
        if scale.shape not in ((1,), w.shape[:1]) or (bias is not None and bias.shape != w.shape[:1]):
            raise ValueError("a scale of w is one number or one for each output channel, a bias one for each")
        return [TensorType(FLOAT, ConvInteger.infer(_convolution(node))[0].shape)]

    @staticmethod
    def workspace(node: Node) -> int:
        return ConvInteger.workspace(_convolution(node))

    @staticmethod
    def reference(
        node: Node,
        x: np.ndarray,
        w: np.ndarray,
        w_zero: np.ndarray | None,
        w_scale: np.ndarray,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        by_channel = (-1, *(1,) * (x.ndim - 2))
        quantized, scale, zero = DynamicQuantizeLinear.reference(node, x)
        with np.errstate(all="ignore"):
            sums = ConvInteger.reference(_convolution(node), quantized, w, zero, w_zero)
            y = sums.astype(np.float32) * (scale * w_scale).reshape(by_channel)
            if bias is not None:
                y += bias.reshape(by_channel)
        if "activation" not in node.attributes:
            return y
        activation = activation_of(node)
        result = operator_of(activation).reference(activation, y)
        return result[0] if isinstance(result, tuple) else result


def _convolution(node: Node) -> Node:
    """The ConvInteger within."""
    x = node.input(0)
    inputs = [Value(x.name, TensorType(BYTE, x.shape)), node.input(1), None, node.optional_input(2)]
    return Node("ConvInteger", inputs, [], node.attributes, version=10, name=node.name)
