"""MatMul, Gemm, MatMulInteger, QLinearMatMul, MatMulNBits and MatMulBnb4 as products of matrices (matmul.wgsl)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.kernels.elementwise import Read, Tree
from engine.gpu.kernels.epilogue import PRODUCTS, lower_product
from engine.gpu.kernels.expressions import literal
from engine.gpu.kernels.linear import emit_linear, is_linear
from engine.gpu.kernels.packed import Packed, can_pack_bytes, pack_bnb4, pack_bytes, pack_nbits
from engine.gpu.kernels.product import multiply
from engine.gpu.kernels.requantize import SINGLE, centred, factor, parameter, requantization
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Shape, Tensor
from engine.graph.ir import Node
from engine.ops.integer_products import INT32
from engine.ops.matmul_nbits import MICROSOFT


@lowers("MatMul", "Gemm", "MatMulInteger")
def lower_matmul(node: Node, low: Lowering) -> None:
    lower_product(node, low)


@lowers("MatMulNBits", "MatMulBnb4", domain=MICROSOFT)
def lower_packed(node: Node, low: Lowering) -> None:
    if not all(value.is_constant for value in list(node.used_inputs())[1:]):
        raise UnsupportedError(f"{node.label}: backend 'webgpu' packs weights that are known at load; use 'numpy'")
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


def _packed_product(
    low: Lowering,
    last: Node,
    a: Tensor,
    parts: Sequence[Packed],
    dtype: np.dtype,
    *,
    tree: Tree,
    reads: Sequence[Read],
    prelude: str = "let root = raw;",
    a_zero: Tensor | None = None,
) -> None:
    """The product of ``a`` and packed columns, made part by part, with a chain that ends in ``last``."""
    y = low.output(last, reads=[a, *([] if a_zero is None else [a_zero]), *(tensor for _, tensor, _ in reads)])

    def columns(tensor: Tensor, part: Packed) -> Tensor:
        view = tensor.broadcast_to(y.shape).slice(y.rank - 1, part.first, part.n)
        return _shaped(view, (1, part.n)) if y.rank == 1 else view

    a = _shaped(a, (1, *a.shape)) if a.rank == 1 else a
    result, lines = last.output.dtype, (prelude,)
    for part in parts:
        own, target = [(name, columns(tensor, part), kind) for name, tensor, kind in reads], columns(y, part)
        multiply(low, a, part, target, dtype, tree=tree, reads=own, prelude=lines, result=result, a_zero=a_zero)


def _leaves(low: Lowering, tree: Tree) -> list[Read]:
    return [(name, low.tensor(leaf), leaf.dtype) for leaf, name in tree.leaves.items()]


def _emit_matmul(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    if is_linear(node, low):
        emit_linear(node, low, tree, last)
        return
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
    a, b, a_zero, b_zero = node.input(0), node.input(1), node.optional_input(2), node.optional_input(3)
    reads = _leaves(low, tree)
    if not can_pack_bytes(b, b_zero):
        operands = centred(low, a, a_zero, -2), centred(low, b, b_zero, -1)
        _product(low, last, operands, INT32, tree=tree, reads=reads)
        return
    own = None if a_zero is None or a_zero.type.size != 1 else low.tensor(a_zero)
    left = centred(low, a, None if own else a_zero, -2)
    _packed_product(low, last, left, pack_bytes(low, node), INT32, tree=tree, reads=reads, a_zero=own)


def _emit_nbits(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    bias, reads, prelude = node.optional_input(5), _leaves(low, tree), "let root = raw;"
    if bias is not None:
        reads.append(("bias", low.reshaped(low.tensor(bias), (node.attr("N"),)), bias.dtype))
        prelude = "let root = raw + bias;"
    a, parts = low.input(node, 0), pack_nbits(low, node)
    _packed_product(low, last, a, parts, node.output.dtype, tree=tree, reads=reads, prelude=prelude)


def _emit_bnb4(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    a, parts = low.input(node, 0), pack_bnb4(low, node)
    _packed_product(low, last, a, parts, node.output.dtype, tree=tree, reads=_leaves(low, tree))


PRODUCTS["", "MatMul"] = _emit_matmul, 2
PRODUCTS["", "Gemm"] = _emit_gemm, 3
PRODUCTS["", "MatMulInteger"] = _emit_integer, 4
PRODUCTS[MICROSOFT, "MatMulNBits"] = _emit_nbits, 4
PRODUCTS[MICROSOFT, "MatMulBnb4"] = _emit_bnb4, 3


@lowers("QLinearMatMul")
def lower_qlinear_matmul(node: Node, low: Lowering) -> None:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.used_inputs()
    ranks = len(a.shape), len(b.shape), len(node.output.shape)
    operands = centred(low, a, a_zero, -2), centred(low, b, b_zero, -1)
    scale = factor(low, [(a_scale, -2, ranks[0]), (b_scale, -1, ranks[1])], (y_scale, -2, ranks[2]))
    zero = parameter(low, y_zero, -2, ranks[2])
    reads: list[Read] = [("factor", scale, SINGLE), ("y_zero", zero, y_zero.dtype)]
    _product(low, node, operands, INT32, tree=Tree(result=requantization(node)), reads=reads)
