"""Which kernel runs which node."""

from __future__ import annotations

from collections.abc import Callable

from engine.cpu import (
    concat,
    conv,
    deform_conv,
    elementwise,
    matmul,
    matmul_integer,
    movement,
    normal,
    packed_matmul,
    pool,
    quantized,
    resize,
    rows,
    window_attention,
)
from engine.cpu.kernel import Kernel, ReferenceKernel
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.matmul_nbits import MICROSOFT
from engine.ops.registry import MISFITS, misfit

Choice = tuple[Callable[[Node], bool], Callable[[Node], Kernel]]


def _always(_: Node) -> bool:
    return True


CHOICES: dict[tuple[str, str], Choice] = {
    ("", "Conv"): (conv.supports, conv.ConvKernel),
    (INTERNAL_DOMAIN, "FusedConv"): (conv.supports, conv.ConvKernel),
    ("", "ConvInteger"): (quantized.supports_conv_integer, quantized.ConvIntegerKernel),
    ("", "DynamicQuantizeLinear"): (_always, lambda _: quantized.DynamicQuantizeKernel()),
    ("", "DeformConv"): (deform_conv.supports, deform_conv.DeformConvKernel),
    ("", "MaxPool"): (pool.supports, pool.MaxPoolKernel),
    ("", "Resize"): (resize.supports, resize.ResizeKernel),
    ("", "Upsample"): (resize.supports, resize.ResizeKernel),
    ("", "MatMul"): (matmul.supports, matmul.MatMulKernel),
    ("", "MatMulInteger"): (matmul_integer.supports, matmul_integer.MatMulIntegerKernel),
    (MICROSOFT, "MatMulNBits"): (packed_matmul.supports, packed_matmul.MatMulNBitsKernel),
    (MICROSOFT, "MatMulBnb4"): (packed_matmul.supports, packed_matmul.MatMulBnb4Kernel),
    ("", "Gemm"): (matmul.supports, matmul.GemmKernel),
    ("", "Concat"): (_always, concat.ConcatKernel),
    (INTERNAL_DOMAIN, "WindowAttention"): (window_attention.supports, window_attention.WindowAttentionKernel),
    ("", "LayerNormalization"): (rows.supports_layer_norm, rows.LayerNormKernel),
    ("", "Softmax"): (rows.supports_softmax, rows.SoftmaxKernel),
    ("", "LogSoftmax"): (rows.supports_softmax, rows.SoftmaxKernel),
    ("", "Erf"): (_always, normal.kernel),
    ("", "Gelu"): (_always, normal.kernel),
    ("", "Transpose"): (_always, movement.MoveKernel),
    ("", "Slice"): (_always, movement.MoveKernel),
    ("", "Split"): (_always, movement.MoveKernel),
    ("", "Expand"): (_always, movement.MoveKernel),
    ("", "Pad"): (movement.pads_with_constant, movement.MoveKernel),
    ("", "Gather"): (movement.gathers_one_slice, movement.MoveKernel),
}


def lower(node: Node) -> Kernel:
    """The fastest kernel that takes the node; every node has at least its reference.

    Raises ModelError when the node's attributes or inputs do not fit its operator.
    """
    supports, kernel = CHOICES.get((node.domain, node.op), (elementwise.supports, elementwise.ElementwiseKernel))
    try:
        return kernel(node) if supports(node) else ReferenceKernel(node)
    except MISFITS as error:
        raise misfit(node, error) from error
