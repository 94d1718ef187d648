"""MatMul, Gemm, MatMulInteger, QLinearMatMul, MatMulNBits and MatMulBnb4 as products of matrices (matmul.wgsl)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.caps import Caps
from engine.gpu.kernels.matmul.linear import emit_linear, fills_tiles, takes_linear
from engine.gpu.kernels.product.packed import (
    PackedColumns,
    can_pack_bytes,
    can_pack_quantized,
    pack_bnb4,
    pack_bytes,
    pack_nbits,
    pack_quantized,
)
from engine.gpu.kernels.product.product import MAX_FLAT_EXTENT, multiply
from engine.gpu.kernels.product.requantize import SINGLE, factor, less_zero_point, parameter, requantization
from engine.gpu.lowering.fusion import fusible
from engine.gpu.lowering.lowering import Emit, Lowering, lowers
from engine.gpu.lowering.refusals import refuses
from engine.gpu.lowering.table import Implementation, Table
from engine.gpu.program.chain import ChainInput, Tree
from engine.gpu.program.expressions import literal
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, Value
from engine.ops.integer_products import INT32
from engine.ops.matmul_nbits import MICROSOFT


def as_matrices(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The operands of numpy.matmul with two axes at least: a vector is one row as ``a``, and one column as ``b``."""
    if a.rank == 1:
        a = a.view((1, *a.shape))
    if b.rank == 1:
        b = b.view((*b.shape, 1))
    return a, b


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
        return tensor.view((*row[:-1], 1, row[-1]) if are_vectors[0] else row)

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
        return view.view((1, part.n)) if y.rank == 1 else view

    a = a.view((1, *a.shape)) if a.rank == 1 else a
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


def _emit_matmul(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    operands = lowering.factor(node, 0), lowering.factor(node, 1)
    _product(lowering, last, operands, node.output.dtype, tree=tree, reads=_leaves(lowering, tree))


def _emit_gemm(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    a, b = lowering.factor(node, 0), lowering.factor(node, 1)
    a = a.transpose((1, 0)) if node.attr("transA", 0) else a
    b = b.transpose((1, 0)) if node.attr("transB", 0) else b
    reads, prelude = _gemm_epilogue(node, lowering, tree)
    _product(lowering, last, (a, b), node.output.dtype, tree=tree, reads=reads, prelude=(prelude,))


def _gemm_epilogue(node: Node, lowering: Lowering, tree: Tree) -> tuple[list[ChainInput], str]:
    """What follows on the sums of a Gemm: what it reads, and the WGSL of ``root``."""
    c, alpha, beta = lowering.optional(node, 2), node.attr("alpha", 1.0), node.attr("beta", 1.0)
    root, reads = "raw" if alpha == 1 else f"{literal(alpha)} * raw", _leaves(lowering, tree)
    if c is not None:
        reads.append(("bias", c, node.output.dtype))
        root += " + bias" if beta == 1 else f" + {literal(beta)} * bias"
    return reads, f"let root = {root};"


def _emit_quantized(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    a, reads, prelude = lowering.factor(node, 0), _leaves(lowering, tree), "let root = raw;"
    if node.op == "Gemm":
        a = a.transpose((1, 0)) if node.attr("transA", 0) else a
        reads, prelude = _gemm_epilogue(node, lowering, tree)
    parts = pack_quantized(lowering, node, node.input(1), _is_transposed(node))
    _packed_product(lowering, last, a, parts=parts, dtype=node.output.dtype, tree=tree, reads=reads, prelude=prelude)


def _is_transposed(node: Node) -> bool:
    return node.op == "Gemm" and bool(node.attr("transB", 0))


def _emit_integers(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    a, b, a_zero, b_zero = node.input(0), node.input(1), node.optional_input(2), node.optional_input(3)
    operands = less_zero_point(lowering, a, a_zero, -2), less_zero_point(lowering, b, b_zero, -1)
    _product(lowering, last, operands, INT32, tree=tree, reads=_leaves(lowering, tree))


def _less_loader_zero(lowering: Lowering, a: Value, a_zero: Value | None) -> tuple[Tensor, Tensor | None]:
    """The left operand, and its zero point where the loader subtracts it; one for each row is subtracted before."""
    loader_zero = None if a_zero is None or a_zero.type.size != 1 else lowering.tensor(a_zero)
    return less_zero_point(lowering, a, None if loader_zero else a_zero, -2), loader_zero


def _emit_bytes(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    a_matrix, loader_zero = _less_loader_zero(lowering, node.input(0), node.optional_input(2))
    _packed_product(
        lowering,
        last,
        a_matrix,
        parts=pack_bytes(lowering, node, node.input(1), node.optional_input(3)),
        dtype=INT32,
        tree=tree,
        reads=_leaves(lowering, tree),
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


def _key(node: Node) -> str:
    a, b, y = ("x".join(map(str, value.shape)) for value in (node.input(0), node.input(1), node.output))
    constant = "constant " if node.input(1).is_constant else ""
    # of square matrices the shapes do not say whether one is transposed
    a_order, b_order = (" transposed" if node.attr(name, 0) else "" for name in ("transA", "transB"))
    return f"{node.op} {node.input(0).dtype.name} a{a}{a_order} {constant}b{b}{b_order} y{y}"


_PACKED: dict[str, Emit] = {
    "MatMul": _emit_quantized,
    "Gemm": _emit_quantized,
    "MatMulInteger": _emit_bytes,
    "MatMulNBits": _emit_nbits,
    "MatMulBnb4": _emit_bnb4,
}
_STRIDED: dict[str, Emit] = {"MatMul": _emit_matmul, "Gemm": _emit_gemm, "MatMulInteger": _emit_integers}


def _takes_packed(node: Node, _: Caps) -> bool:
    if node.op == "MatMulInteger":
        return can_pack_bytes(node.input(1), node.optional_input(3))
    if node.op in ("MatMul", "Gemm"):
        return can_pack_quantized(node.input(1), _is_transposed(node))
    return node.op in _PACKED


def _is_worth_packing(node: Node) -> bool:
    """Whether the weights are such in the file, or have so many columns that the product is not computed transposed."""
    return node.op not in ("MatMul", "Gemm") or node.output.shape[-1] > MAX_FLAT_EXTENT


MATMUL: Table[Node] = Table(
    "matmul",
    (
        Implementation(
            "linear",
            "A product with a constant matrix is a 1x1 convolution, whose weights are packed for its tiles.",
            supports=takes_linear,
            suits=fills_tiles,
            emit=emit_linear,
        ),
        Implementation(
            "packed",
            "Weights of 4 and 8 bits stay packed in memory, and are widened by the loader.",
            supports=_takes_packed,
            suits=_is_worth_packing,
            emit=lambda node, lowering, tree, last: _PACKED[node.op](node, lowering, tree, last),
        ),
        Implementation(
            "strided",
            "Two matrices that a run makes, or too small for tiles of packed weights, are read by their strides.",
            supports=lambda node, _: node.op in _STRIDED,
            emit=lambda node, lowering, tree, last: _STRIDED[node.op](node, lowering, tree, last),
        ),
    ),
    _key,
)


@refuses("MatMulNBits", "MatMulBnb4", domain=MICROSOFT)
def refuse_packed(node: Node, _: Caps, __: bool) -> str | None:
    constant = all(value.is_constant for value in list(node.used_inputs())[1:])
    return None if constant else "backend 'webgpu' packs weights that are known at load"


@refuses("Gemm")
def refuse_gemm(node: Node, _: Caps, __: bool) -> str | None:
    scaled = node.attr("alpha", 1.0) != 1 or node.attr("beta", 1.0) != 1
    return "backend 'webgpu' has no alpha and beta for integers" if scaled and node.output.dtype.kind != "f" else None


@fusible("MatMul", reads=3)
@fusible("Gemm", reads=4)
@fusible("MatMulInteger", reads=4)
@fusible("MatMulNBits", reads=4, domain=MICROSOFT)
@fusible("MatMulBnb4", reads=3, domain=MICROSOFT)
def emit(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    """Add the product ``node`` with the element-wise chain up to ``last`` in its epilogue."""
    lowering.choose(MATMUL, node).emit(node, lowering, tree, last)


@lowers("QLinearMatMul")
def lower_qlinear_matmul(node: Node, lowering: Lowering) -> None:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.used_inputs()
    ranks = len(a.shape), len(b.shape), len(node.output.shape)
    scale = factor(lowering, [(a_scale, -2, ranks[0]), (b_scale, -1, ranks[1])], (y_scale, -2, ranks[2]))
    zero = parameter(lowering, y_zero, -2, ranks[2])
    reads: list[ChainInput] = [("factor", scale, SINGLE), ("y_zero", zero, y_zero.dtype)]
    tree = Tree(result=requantization(node))
    if can_pack_bytes(b, b_zero):
        parts = pack_bytes(lowering, node, b, b_zero)
        a_matrix, loader_zero = _less_loader_zero(lowering, a, a_zero)
        _packed_product(lowering, node, a_matrix, parts=parts, dtype=INT32, tree=tree, reads=reads, a_zero=loader_zero)
        return
    operands = less_zero_point(lowering, a, a_zero, -2), less_zero_point(lowering, b, b_zero, -1)
    _product(lowering, node, operands, INT32, tree=tree, reads=reads)
