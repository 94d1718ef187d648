"""Which kernel runs which node. A kernel's file is imported when the first node of its operator is met."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from engine.cpu.chain import is_chain
from engine.cpu.kernel import Kernel, ReferenceKernel
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.matmul_nbits import MICROSOFT
from engine.ops.registry import MISFITS, misfit

CHOICES: dict[tuple[str, str], tuple[str, str, str]] = {
    ("", "Conv"): ("conv", "supports", "ConvKernel"),
    (INTERNAL_DOMAIN, "FusedConv"): ("conv", "supports", "ConvKernel"),
    ("", "ConvTranspose"): ("conv_transpose", "supports", "ConvTransposeKernel"),
    ("", "InstanceNormalization"): ("instance_norm", "supports", "InstanceNormKernel"),
    ("", "ConvInteger"): ("quantized", "supports_conv_integer", "ConvIntegerKernel"),
    (INTERNAL_DOMAIN, "DynamicQuantizeConv"): (
        "quantized",
        "supports_dynamic_quantize_conv",
        "DynamicQuantizeConvKernel",
    ),
    ("", "DynamicQuantizeLinear"): ("quantized", "", "DynamicQuantizeKernel"),
    ("", "DeformConv"): ("deform_conv", "supports", "DeformConvKernel"),
    (INTERNAL_DOMAIN, "DeformQuantization"): (
        "deform_integers",
        "supports_quantization",
        "DeformQuantizationKernel",
    ),
    (INTERNAL_DOMAIN, "DeformConvInteger"): ("deform_integers", "supports_integers", "DeformConvIntegerKernel"),
    ("", "MaxPool"): ("pool", "supports", "MaxPoolKernel"),
    ("", "GlobalAveragePool"): ("pool", "is_float", "GlobalAveragePoolKernel"),
    ("", "Resize"): ("resize", "supports", "ResizeKernel"),
    ("", "Upsample"): ("resize", "supports", "ResizeKernel"),
    ("", "MatMul"): ("matmul", "supports", "MatMulKernel"),
    ("", "MatMulInteger"): ("matmul_integer", "supports", "MatMulIntegerKernel"),
    (MICROSOFT, "MatMulNBits"): ("packed_matmul", "supports", "MatMulNBitsKernel"),
    (MICROSOFT, "MatMulBnb4"): ("packed_matmul", "supports", "MatMulBnb4Kernel"),
    ("", "Gemm"): ("matmul", "supports", "GemmKernel"),
    ("", "Concat"): ("concat", "", "ConcatKernel"),
    (INTERNAL_DOMAIN, "WindowAttention"): ("window_attention", "supports", "WindowAttentionKernel"),
    ("", "LayerNormalization"): ("row_normalization", "supports_layer_norm", "LayerNormKernel"),
    ("", "Softmax"): ("row_normalization", "supports_softmax", "SoftmaxKernel"),
    ("", "LogSoftmax"): ("row_normalization", "supports_softmax", "SoftmaxKernel"),
    ("", "Erf"): ("erf_gelu", "", "kernel"),
    ("", "Gelu"): ("erf_gelu", "", "kernel"),
    ("", "Transpose"): ("strided_copy", "", "StridedCopyKernel"),
    ("", "Slice"): ("strided_copy", "", "StridedCopyKernel"),
    ("", "Split"): ("strided_copy", "", "StridedCopyKernel"),
    ("", "Expand"): ("strided_copy", "", "StridedCopyKernel"),
    ("", "Pad"): ("strided_copy", "pads_with_constant", "StridedCopyKernel"),
    ("", "Gather"): ("strided_copy", "gathers_one_slice", "StridedCopyKernel"),
}
"""The kernel of each operator: its file, the condition under which it takes a node ("" for always), and its name."""

OTHERS = ("elementwise", "supports", "elementwise_kernel")
"""The kernel of operators that are not among CHOICES."""

DIRECT = {"ConcatKernel", "ConvTransposeKernel", "elementwise_kernel", "StridedCopyKernel", "MaxPoolKernel"}
"""Kernels that form the same sums as the reference, if any; a ConvKernel does if it is told to."""


def lower(node: Node, *, direct: bool = False) -> Kernel:
    """The fastest kernel that takes the node, with ``direct`` one that sums as the reference does: at least that.

    Raises ModelError when the node's attributes or inputs do not fit its operator, TooLargeError where memory runs out.
    """
    first = node.attributes["nodes"][0] if is_chain(node) else node
    file, condition, name = CHOICES.get((first.domain, first.op), OTHERS)
    try:
        if condition and not _part(file, condition)(first):
            return ReferenceKernel(node)
        kernel = _part(file, name)
        if direct and name not in DIRECT:
            return kernel(node, direct=True) if name == "ConvKernel" else ReferenceKernel(node)
        return kernel(node)
    except MISFITS as error:
        raise misfit(node, error) from error


@cache
def _part(file: str, name: str) -> Any:
    """What ``file`` calls ``name``."""
    return getattr(import_module(f"engine.cpu.{file}"), name)
