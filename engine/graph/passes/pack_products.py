"""Leave 4-bit weights of matrix products as they are: DequantizeLinear → MatMul or Gemm becomes a MatMulNBits.

Every backend widens its weights a few at a time. MatMulNBits has them by columns, ``[N, blocks, block / 2]`` bytes, so
they are brought into this order once. A tensor with one scale for all, or one for each column, is cut into blocks that
share it. What has no such blocks along K (scales along the other axis, or blocks that no power of two from 16 on
divides) stays as it is, and is dequantised when constants are folded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.graph.dtypes import INT4, is_four_bit
from engine.graph.ir import Graph, Node, Value
from engine.graph.nibbles import halves_of, pack
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.drop_identities import is_identity
from engine.graph.passes.match import Matcher, new_node
from engine.graph.target import ANY, Target
from engine.ops.matmul_nbits import MICROSOFT
from engine.ops.quantize import per_tensor
from engine.ops.types import normalize_axis
from engine.ops.unpack import UNPACK

SMALLEST_BLOCK = 16
"""Of MatMulNBits, whose blocks are powers of two."""

MIDDLE = 8
"""What MatMulNBits subtracts without zero points, and what makes INT4 the unsigned integers that it has."""


def pack_products(graph: Graph, target: Target = ANY) -> int:
    """Replace each product whose weights can stay packed. Returns how many products went."""
    matcher = Matcher(graph, target)
    columns: dict[tuple[Value, bool], _Columns | None] = {}
    count = 0
    for node in list(matcher.nodes()):
        if node.domain or node.op not in ("MatMul", "Gemm") or not _is_plain(node):
            continue
        b, transposed = _source(matcher, node)
        dequantize = matcher.producer(b, "DequantizeLinear")
        if dequantize is None:
            continue
        if (b, transposed) not in columns:
            columns[b, transposed] = _columns(matcher, dequantize, transposed)
        weights = columns[b, transposed]
        if weights is not None and matcher.replace(node, _product(node, weights)):
            count += 1
    matcher.finish()
    if count:
        remove_dead_code(graph)
    return count


@dataclass(frozen=True, slots=True)
class _Columns:
    """The inputs of MatMulNBits for one matrix, and its attributes; ``zero`` is None where every zero point is 8."""

    packed: Value
    scales: Value
    zero: Value | None
    k: int
    n: int
    block: int


def _is_plain(node: Node) -> bool:
    """Whether the product is of float32, and nothing but an addend follows on it."""
    if node.output.dtype != np.float32:
        return False
    if node.op == "MatMul":
        return True
    return not node.attr("transA", 0) and node.attr("alpha", 1.0) == node.attr("beta", 1.0) == 1


def _source(matcher: Matcher, node: Node) -> tuple[Value, bool]:
    """What the right side of the product is, and whether transposed, as ``[N, K]``.

    A Cast, too, may stand between, of a file whose scales alone were float32.
    """
    value, transposed = node.input(1), node.op == "Gemm" and bool(node.attr("transB", 0))
    while (before := matcher.producer(value, "Transpose", "Cast", "Identity")) is not None:
        if not is_identity(before):
            if before.op != "Transpose" or len(value.shape) != 2:
                break
            transposed = not transposed
        value = before.input(0)
    return value, transposed


def _columns(matcher: Matcher, node: Node, transposed: bool) -> _Columns | None:
    """The 4-bit integers that the DequantizeLinear reads, by columns; ``transposed`` says that it makes ``[N, K]``."""
    x, scale, point = node.input(0), node.constant(1), node.optional_input(2)
    halves = _halves(matcher, x)
    points = None if point is None else _halves(matcher, point)
    if halves is None or len(x.shape) != 2 or (points is None and point is not None):
        return None
    if scale is None or scale.dtype != np.float32 or not np.isfinite(scale).all():
        return None
    k, n = x.shape if not transposed else x.shape[::-1]
    if points is None:
        points = np.full(scale.shape, MIDDLE if x.dtype == INT4 else 0, np.uint8)
    if min(k, n) == 0 or points.size != scale.size:
        return None
    source_block = k
    if per_tensor(node):
        scale, points = (np.broadcast_to(parameter.reshape(1, 1), (n, 1)) for parameter in (scale, points))
    else:
        along_k = normalize_axis(node.attr("axis", 1), 2) == int(transposed)
        source_block = node.attr("block_size", 0) or k
        if along_k == (scale.ndim == 1):
            return None
        scale, points = (
            parameter.reshape(n, 1) if parameter.ndim == 1 else parameter if transposed else parameter.T
            for parameter in (scale, points)
        )
    block = _block(k, source_block)
    if block is None:
        return None
    shares = np.arange(-(-k // block)) * block // source_block
    scale, points = scale[:, shares], points[:, shares]
    by_column = np.zeros((n, scale.shape[1] * block), np.uint8)
    by_column[:, :k] = halves if transposed else halves.T
    zero = None if (points == MIDDLE).all() else Value.constant(f"{x.name}:zero points", pack(points))
    return _Columns(
        packed=Value.constant(f"{x.name}:columns", pack(by_column).reshape(n, -1, block // 2)),
        scales=Value.constant(f"{node.input(1).name}:columns", np.ascontiguousarray(scale)),
        zero=zero,
        k=k,
        n=n,
        block=block,
    )


def _halves(matcher: Matcher, value: Value) -> np.ndarray | None:
    """The elements of a 4-bit tensor of the file as uint8, those of INT4 plus 8; None for any other value."""
    node = matcher.producers.get(value)
    packed = None if node is None or node.op != UNPACK else node.constant(0)
    if packed is None or not is_four_bit(value.dtype):
        return None
    halves = halves_of(packed)[: value.type.size].reshape(value.shape)
    return halves ^ np.uint8(MIDDLE) if value.dtype == INT4 else halves


def _block(k: int, source_block: int) -> int | None:
    """The largest block of the fewest bytes that MatMulNBits can have for ``source_block``; None where it has none."""
    largest = 1 << max(k - 1, SMALLEST_BLOCK - 1).bit_length()
    sizes = [SMALLEST_BLOCK << shift for shift in range(largest.bit_length() - SMALLEST_BLOCK.bit_length() + 1)]
    fitting = [size for size in sizes if source_block >= k or source_block % size == 0]

    def cost(size: int) -> tuple[int, int]:
        column_bytes = -(-k // size) * (size // 2 + 4)
        return column_bytes, -size

    return min(fitting, key=cost, default=None)


def _product(node: Node, weights: _Columns) -> list[Node]:
    """The nodes that compute ``node``: the product, and behind it what a Gemm adds, unless that is a bias."""
    addend = node.optional_input(2) if node.op == "Gemm" else None
    is_bias = addend is not None and addend.is_constant and addend.shape in ((weights.n,), (1, weights.n))
    is_last = addend is None or is_bias
    inputs = [node.input(0), weights.packed, weights.scales, weights.zero]
    product = new_node(
        "MatMulNBits",
        [*inputs, None, addend] if is_bias else inputs,
        node.name,
        attributes={"K": weights.k, "N": weights.n, "bits": 4, "block_size": weights.block},
        version=1,
        domain=MICROSOFT,
        output=node.output if is_last else None,
    )
    if is_last:
        return [product]
    return [
        product,
        new_node("Add", [product.output, addend], f"{node.name}:c", version=node.version, output=node.output),
    ]
