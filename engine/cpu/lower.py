"""Which kernel runs which node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engine.cpu import (
    concat,
    conv,
    deform_conv,
    elementwise,
    erf_gelu,
    matmul,
    matmul_integer,
    packed_matmul,
    pool,
    quantized,
    resize,
    row_normalization,
    strided_copy,
    window_attention,
)
from engine.cpu.kernel import Kernel, ReferenceKernel
from engine.graph.bounds import has_extremes
from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node
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
    ("", "LayerNormalization"): (row_normalization.supports_layer_norm, row_normalization.LayerNormKernel),
    ("", "Softmax"): (row_normalization.supports_softmax, row_normalization.SoftmaxKernel),
    ("", "LogSoftmax"): (row_normalization.supports_softmax, row_normalization.SoftmaxKernel),
    ("", "Erf"): (_always, erf_gelu.kernel),
    ("", "Gelu"): (_always, erf_gelu.kernel),
    ("", "Transpose"): (_always, strided_copy.StridedCopyKernel),
    ("", "Slice"): (_always, strided_copy.StridedCopyKernel),
    ("", "Split"): (_always, strided_copy.StridedCopyKernel),
    ("", "Expand"): (_always, strided_copy.StridedCopyKernel),
    ("", "Pad"): (strided_copy.pads_with_constant, strided_copy.StridedCopyKernel),
    ("", "Gather"): (strided_copy.gathers_one_slice, strided_copy.StridedCopyKernel),
}


DIRECT: dict[Callable[[Node], Kernel], Callable[[Node], Kernel]] = {
    conv.ConvKernel: partial(conv.ConvKernel, direct=True),
    **{
        kernel: kernel
        for kernel in (concat.ConcatKernel, elementwise.ElementwiseKernel, strided_copy.StridedCopyKernel)
    },
    pool.MaxPoolKernel: pool.MaxPoolKernel,
}
"""Kernels that form the same sums as the reference, if any, and how they are told to."""

PRODUCTS = {"BatchNormalization", "Conv", "ConvTranspose", "DeformConv", "FusedConv", "Gemm", "MatMul"}
"""Operators that multiply by weights."""


def needs_direct(graph: Graph) -> bool:
    """Whether a layer has extreme weights.

    What comes out of it can be so large in any layer behind that sums overflow which only a fast algorithm forms, and
    an infinity spreads to its neighbours. Such a model runs by the definitions, more slowly.
    """
    return any(node.op in PRODUCTS and has_extremes(node) for node in graph.nodes)


def lower(node: Node, *, direct: bool = False) -> Kernel:
    """The fastest kernel that takes the node, with ``direct`` one of DIRECT; every node has at least its reference.

    Raises ModelError when the node's attributes or inputs do not fit its operator, TooLargeError where memory runs out.
    """
    supports, kernel = CHOICES.get((node.domain, node.op), (elementwise.supports, elementwise.ElementwiseKernel))
    if direct:
        kernel = DIRECT.get(kernel, ReferenceKernel)
    try:
        return kernel(node) if supports(node) else ReferenceKernel(node)
    except MISFITS as error:
        raise misfit(node, error) from error
