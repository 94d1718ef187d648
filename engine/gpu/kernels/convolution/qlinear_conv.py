"""QLinearConv: ConvInteger with a bias and the step back to 8 bits as its element-wise chain."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.convolution import conv
from engine.gpu.kernels.product.requantize import SINGLE, factor, parameter, requantization
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.chain import Tree
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, TensorType, Value
from engine.ops.integer_products import INT32


@lowers("QLinearConv")
def lower_qlinear_conv(node: Node, lowering: Lowering) -> None:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.used_inputs()
    y, rank = node.output, len(x.shape)
    sums = Value(f"{y.name}:sums", TensorType(INT32, y.shape))
    inner = Node(
        "ConvInteger",
        [x, w, x_zero, w_zero],
        [sums],
        attributes=node.attributes,
        domain="",
        version=node.version,
        name=node.name,
    )
    scale = factor(lowering, [(x_scale, 1, rank), (w_scale, 1, rank)], (y_scale, 1, rank))
    tree = Tree()
    tree.leaves[_leaf(lowering, "factor", scale, SINGLE)] = "factor"
    tree.leaves[_leaf(lowering, "y_zero", parameter(lowering, y_zero, 1, rank), y_zero.dtype)] = "y_zero"
    for value in bias:
        tree.leaves[_leaf(lowering, "bias", parameter(lowering, value, 1, rank), INT32)] = "bias"
    tree.result = requantization(node, "(root + bias)" if bias else "root")
    conv.emit(inner, lowering, tree, node)


def _leaf(lowering: Lowering, name: str, tensor: Tensor, dtype: np.dtype) -> Value:
    """A leaf of the chain that is no value of the graph: ``tensor``, which broadcasts to the output."""
    value = Value(name, TensorType(dtype, tensor.shape))
    lowering.alias(Node("", [], [value]), tensor)
    return value
