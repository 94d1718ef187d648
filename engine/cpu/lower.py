"""Which kernel runs which node."""

from __future__ import annotations

from collections.abc import Callable

from engine.cpu import concat, conv, elementwise, matmul, pool, quantized, resize
from engine.cpu.kernel import Kernel, ReferenceKernel
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.registry import MISFITS, misfit

Choice = tuple[Callable[[Node], bool], Callable[[Node], Kernel]]


def _always(_: Node) -> bool:
    return True


CHOICES: dict[tuple[str, str], Choice] = {
    ("", "Conv"): (conv.supports, conv.ConvKernel),
    (INTERNAL_DOMAIN, "FusedConv"): (conv.supports, conv.ConvKernel),
    ("", "ConvInteger"): (quantized.supports_conv_integer, quantized.ConvIntegerKernel),
    ("", "DynamicQuantizeLinear"): (_always, lambda _: quantized.DynamicQuantizeKernel()),
    ("", "MaxPool"): (pool.supports, pool.MaxPoolKernel),
    ("", "Resize"): (resize.supports, resize.ResizeKernel),
    ("", "Upsample"): (resize.supports, resize.ResizeKernel),
    ("", "MatMul"): (matmul.supports, matmul.MatMulKernel),
    ("", "Gemm"): (matmul.supports, matmul.GemmKernel),
    ("", "Concat"): (_always, concat.ConcatKernel),
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
