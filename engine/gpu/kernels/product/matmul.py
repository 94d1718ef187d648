"""MatMul, Gemm, MatMulInteger, QLinearMatMul, MatMulNBits and MatMulBnb4 as products of matrices (matmul.wgsl)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import UnsupportedError
from engine.gpu.kernels.product.linear import emit_linear, is_linear
from engine.gpu.kernels.product.packed import PackedColumns, can_pack_bytes, pack_bnb4, pack_bytes, pack_nbits
from engine.gpu.kernels.product.product import multiply
from engine.gpu.kernels.product.requantize import SINGLE, factor, less_zero_point, parameter, requantization
from engine.gpu.lowering.fusion import fusible, lower_product
from engine.gpu.lowering.lowering import Emit, Lowering, lowers
from engine.gpu.program.chain import ChainInput, Tree
from engine.gpu.program.expressions import literal
from engine.gpu.program.tensor import Shape, Tensor
from engine.graph.ir import Node
from engine.ops.integer_products import INT32
from engine.ops.matmul_nbits import MICROSOFT


def as_matrices(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The operands of numpy.matmul with two axes at least: a vector is one row as ``a``, and one column as ``b``."""
    if a.rank == 1:
        a = _view_as(a, (1, *a.shape))
    if b.rank == 1:
        b = _view_as(b, (*b.shape, 1))
    return a, b


def _view_as(tensor: Tensor, shape: Shape) -> Tensor:
    """``tensor`` with axes of extent 1 added or removed, which strides always express."""
    view = tensor.reshape(shape)
    assert view is not None
    return view


def _product(
    lowering: Lowering,
    last: Node,
    operands: tuple[Tensor, Tensor],
    dtype: np.dtype,
    *,
    tree: Tree,
    reads: Sequence[ChainInput] = (),
    prelude: Sequence[str] = ("let root = raw;",),
) -> None:
    """Add the product of ``operands``, as in numpy.matmul, in ``dtype``, with a chain that ends in ``last``."""
    are_vectors = operands[0].rank == 1, operands[1].rank == 1
    a, b = as_matrices(*operands)
    y = lowering.output(last, reads=[a, b, *(tensor for _, tensor, _ in reads)])

    def matrix_view(tensor: Tensor) -> Tensor:
        row = (*tensor.shape, 1) if are_vectors[1] else tensor.shape
        return _view_as(tensor, (*row[:-1], 1, row[-1]) if are_vectors[0] else row)

    leaves = [(name, matrix_view(tensor.broadcast_to(y.shape)), kind) for name, tensor, kind in reads]
    multiply(
        lowering, a, b, matrix_view(y), dtype=dtype, tree=tree, reads=leaves, prelude=prelude, result=last.output.dtype
    )


def _packed_product(
    lowering: Lowering,
    last: Node,
    a: Tensor,
    parts: Sequence[PackedColumns],
    dtype: np.dtype,
    *,
    tree: Tree,
    reads: Sequence[ChainInput],
    prelude: str = "let root = raw;",
    a_zero: Tensor | None = None,
) -> None:
    """Add the product of ``a`` and packed columns, a dispatch a part, with a chain that ends in ``last``."""
    y = lowering.output(last, reads=[a, *([] if a_zero is None else [a_zero]), *(tensor for _, tensor, _ in reads)])

    def columns(tensor: Tensor, part: PackedColumns) -> Tensor:
        view = tensor.broadcast_to(y.shape).slice(y.rank - 1, part.first, part.n)
        return _view_as(view, (1, part.n)) if y.rank == 1 else view

    a = _view_as(a, (1, *a.shape)) if a.rank == 1 else a
    result, lines = last.output.dtype, (prelude,)
    for part in parts:
        part_reads, target = [(name, columns(tensor, part), kind) for name, tensor, kind in reads], columns(y, part)
        multiply(
            lowering,
            a,
            part,
            target,
            dtype=dtype,
            tree=tree,
            reads=part_reads,
            prelude=lines,
            result=result,
            a_zero=a_zero,
        )


def _leaves(lowering: Lowering, tree: Tree) -> list[ChainInput]:
    return [(name, lowering.tensor(leaf), leaf.dtype) for leaf, name in tree.leaves.items()]


@fusible("MatMul", reads=2)
def _emit_matmul(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    if is_linear(node, lowering):
        emit_linear(node, lowering, tree, last)
        return
    operands = lowering.input(node, 0), lowering.input(node, 1)
    _product(lowering, last, operands, node.output.dtype, tree=tree, reads=_leaves(lowering, tree))


@fusible("Gemm", reads=3)
def _emit_gemm(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    a, b, c = lowering.input(node, 0), lowering.input(node, 1), lowering.optional(node, 2)
    alpha, beta, dtype = node.attr("alpha", 1.0), node.attr("beta", 1.0), node.output.dtype
    if dtype.kind != "f" and (alpha != 1 or beta != 1):
        raise UnsupportedError(f"{node.label}: backend 'webgpu' has no alpha and beta for integers; use 'numpy'")
    a = a.transpose((1, 0)) if node.attr("transA", 0) else a
    b = b.transpose((1, 0)) if node.attr("transB", 0) else b
    root, reads = "raw" if alpha == 1 else f"{literal(alpha)} * raw", _leaves(lowering, tree)
    if c is not None:
        reads.append(("bias", c, dtype))
        root += " + bias" if beta == 1 else f" + {literal(beta)} * bias"
    _product(lowering, last, (a, b), dtype, tree=tree, reads=reads, prelude=(f"let root = {root};",))


@fusible("MatMulInteger", reads=4)
def _emit_integer(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    a, b, a_zero, b_zero = node.input(0), node.input(1), node.optional_input(2), node.optional_input(3)
    reads = _leaves(lowering, tree)
    if not can_pack_bytes(b, b_zero):
        operands = less_zero_point(lowering, a, a_zero, -2), less_zero_point(lowering, b, b_zero, -1)
        _product(lowering, last, operands, INT32, tree=tree, reads=reads)
        return
    loader_zero = None if a_zero is None or a_zero.type.size != 1 else lowering.tensor(a_zero)
    a_matrix = less_zero_point(lowering, a, None if loader_zero else a_zero, -2)
    _packed_product(
        lowering,
        last,
        a_matrix,
        parts=pack_bytes(lowering, node),
        dtype=INT32,
        tree=tree,
        reads=reads,
        a_zero=loader_zero,
    )


def _emit_nbits(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    bias, reads, prelude = node.optional_input(5), _leaves(lowering, tree), "let root = raw;"
    if bias is not None:
        reads.append(("bias", lowering.reshape(lowering.tensor(bias), (node.attr("N"),)), bias.dtype))
        prelude = "let root = raw + bias;"
    a, parts = lowering.input(node, 0), pack_nbits(lowering, node)
    _packed_product(lowering, last, a, parts=parts, dtype=node.output.dtype, tree=tree, reads=reads, prelude=prelude)


def _emit_bnb4(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    a, parts = lowering.input(node, 0), pack_bnb4(lowering, node)
    _packed_product(lowering, last, a, parts=parts, dtype=node.output.dtype, tree=tree, reads=_leaves(lowering, tree))


def _lower_packed(node: Node, lowering: Lowering, emit: Emit, reads: int) -> None:
    if not all(value.is_constant for value in list(node.used_inputs())[1:]):
        raise UnsupportedError(f"{node.label}: backend 'webgpu' packs weights that are known at load; use 'numpy'")
    lower_product(node, lowering, emit, reads)


@lowers("MatMulNBits", domain=MICROSOFT)
def lower_nbits(node: Node, lowering: Lowering) -> None:
    _lower_packed(node, lowering, _emit_nbits, reads=4)


@lowers("MatMulBnb4", domain=MICROSOFT)
def lower_bnb4(node: Node, lowering: Lowering) -> None:
    _lower_packed(node, lowering, _emit_bnb4, reads=3)


@lowers("QLinearMatMul")
def lower_qlinear_matmul(node: Node, lowering: Lowering) -> None:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.used_inputs()
    ranks = len(a.shape), len(b.shape), len(node.output.shape)
    operands = less_zero_point(lowering, a, a_zero, -2), less_zero_point(lowering, b, b_zero, -1)
    scale = factor(lowering, [(a_scale, -2, ranks[0]), (b_scale, -1, ranks[1])], (y_scale, -2, ranks[2]))
    zero = parameter(lowering, y_zero, -2, ranks[2])
    reads: list[ChainInput] = [("factor", scale, SINGLE), ("y_zero", zero, y_zero.dtype)]
    _product(lowering, node, operands, INT32, tree=Tree(result=requantization(node)), reads=reads)
