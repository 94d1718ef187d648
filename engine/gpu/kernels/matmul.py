"""MatMul, Gemm, MatMulInteger and QLinearMatMul as products of matrices by strides (matmul.wgsl)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.kernels.elementwise import Read, Tree
from engine.gpu.kernels.epilogue import PRODUCTS, lower_product
from engine.gpu.kernels.expressions import literal
from engine.gpu.kernels.product import multiply
from engine.gpu.kernels.requantize import SINGLE, centred, factor, parameter, requantization
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Shape, Tensor
from engine.graph.ir import Node
from engine.ops.integer_products import INT32


@lowers("MatMul", "Gemm", "MatMulInteger")
def lower_matmul(node: Node, low: Lowering) -> None:
    lower_product(node, low)


def as_matrices(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The operands of numpy.matmul with two axes at least: a vector is a row on the left and a column on the right."""
    if a.rank == 1:
        a = _shaped(a, (1, *a.shape))
    if b.rank == 1:
        b = _shaped(b, (*b.shape, 1))
    return a, b


def _shaped(tensor: Tensor, shape: Shape) -> Tensor:
    """``tensor`` with axes of extent 1 put in or taken away, which strides always express."""
    view = tensor.reshape(shape)
    assert view is not None
    return view


def _product(
    low: Lowering,
    last: Node,
    operands: tuple[Tensor, Tensor],
    dtype: np.dtype,
    *,
    tree: Tree,
    reads: Sequence[Read] = (),
    prelude: Sequence[str] = ("let root = raw;",),
) -> None:
    """The product of ``operands``, as numpy.matmul takes them, in ``dtype``, with a chain that ends in ``last``."""
    vectors = operands[0].rank == 1, operands[1].rank == 1
    a, b = as_matrices(*operands)
    y = low.output(last, reads=[a, b, *(tensor for _, tensor, _ in reads)])

    def whole(tensor: Tensor) -> Tensor:
        row = (*tensor.shape, 1) if vectors[1] else tensor.shape
        return _shaped(tensor, (*row[:-1], 1, row[-1]) if vectors[0] else row)

    leaves = [(name, whole(tensor.broadcast_to(y.shape)), kind) for name, tensor, kind in reads]
    multiply(low, a, b, whole(y), dtype, tree=tree, reads=leaves, prelude=prelude, result=last.output.dtype)


def _leaves(low: Lowering, tree: Tree) -> list[Read]:
    return [(name, low.tensor(leaf), leaf.dtype) for leaf, name in tree.leaves.items()]


def _emit_matmul(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    operands = low.input(node, 0), low.input(node, 1)
    _product(low, last, operands, node.output.dtype, tree=tree, reads=_leaves(low, tree))


def _emit_gemm(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    a, b, c = low.input(node, 0), low.input(node, 1), low.optional(node, 2)
    alpha, beta, dtype = node.attr("alpha", 1.0), node.attr("beta", 1.0), node.output.dtype
    if dtype.kind != "f" and (alpha != 1 or beta != 1):
        raise UnsupportedError(f"{node.label}: backend 'webgpu' has no alpha and beta for integers; use 'numpy'")
    a = a.transpose((1, 0)) if node.attr("transA", 0) else a
    b = b.transpose((1, 0)) if node.attr("transB", 0) else b
    root, reads = "raw" if alpha == 1 else f"{literal(alpha)} * raw", _leaves(low, tree)
    if c is not None:
        reads.append(("bias", c, dtype))
        root += " + bias" if beta == 1 else f" + {literal(beta)} * bias"
    _product(low, last, (a, b), dtype, tree=tree, reads=reads, prelude=(f"let root = {root};",))


def _emit_integer(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    operands = (
        centred(low, node.input(0), node.optional_input(2), -2),
        centred(low, node.input(1), node.optional_input(3), -1),
    )
    _product(low, last, operands, INT32, tree=tree, reads=_leaves(low, tree))


PRODUCTS["", "MatMul"] = _emit_matmul, 2
PRODUCTS["", "Gemm"] = _emit_gemm, 3
PRODUCTS["", "MatMulInteger"] = _emit_integer, 2


@lowers("QLinearMatMul")
def lower_qlinear_matmul(node: Node, low: Lowering) -> None:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.used_inputs()
    ranks = len(a.shape), len(b.shape), len(node.output.shape)
    operands = centred(low, a, a_zero, -2), centred(low, b, b_zero, -1)
    scale = factor(low, [(a_scale, -2, ranks[0]), (b_scale, -1, ranks[1])], (y_scale, -2, ranks[2]))
    zero = parameter(low, y_zero, -2, ranks[2])
    reads: list[Read] = [("factor", scale, SINGLE), ("y_zero", zero, y_zero.dtype)]
    _product(low, node, operands, INT32, tree=Tree(result=requantization(node)), reads=reads)
