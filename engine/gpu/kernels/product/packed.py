"""Constant right-hand sides that stay packed on the GPU, four or eight integers in a word (read by matmul.wgsl).

Files pack the integers of a column along K. Here neighbouring columns share a word, as neighbouring invocations of a
tile read neighbouring columns, so load packs the columns again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import numpy as np

from engine.gpu.kernels.product.requantize import channel_vector
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, Quantized, Value
from engine.ops.integer_products import place
from engine.ops.matmul_bnb4 import LEVELS, codes
from engine.ops.matmul_nbits import blocks_of, unpack, zero_points


@dataclass(frozen=True, slots=True)
class PackedColumns:
    """Columns [first, first + n) of a right-hand side ``[K, N]``.

    ``words`` ``[K, columns / codes in a word]`` u32 hold the codes of successive columns, the lowest bits first, of
    type ``codes``: "u4", "u8" or "i8". An element is its code, or ``levels[code]``, less a zero point, times a scale.
    Floats have one scale for each ``block`` of K, or one for all of it: ``scales`` is ``[blocks, 1 or 2, n]``, with n
    rounded up to a multiple of 4. Its second row, if there is one, holds the zero points; otherwise ``zero`` is one
    zero point for all. Integers have no scales; their ``zero`` is one number, or an i32 ``[n]``, n rounded up to a
    multiple of 4.
    """

    words: Tensor
    first: int
    n: int
    codes: str
    zero: Tensor | int = 0
    levels: tuple[float, ...] = ()
    block: int = 1
    scales: Tensor | None = None

    @property
    def matrix(self) -> Tensor:
        """A view ``[K, n]`` with the shape of the columns, for broadcasting; its elements are not theirs."""
        k, width = self.words.shape
        return Tensor(self.words.slot, self.words.dtype, (k, self.n), (width, 0))


def pack_nbits(lowering: Lowering, node: Node) -> list[PackedColumns]:
    """The weights of a MatMulNBits node, in as many parts as the binding limit requires."""
    weights, scales = _constant(node, 1), _constant(node, 2)
    bits, n, k, block = node.attr("bits", 4), node.attr("N"), node.attr("K"), node.attr("block_size")
    blocks = blocks_of(node)
    points = zero_points(node, node.constant(3))
    rows = [scales.reshape(n, blocks)] if points is None else [scales.reshape(n, blocks), points]
    integers = unpack(weights.reshape(n, blocks, -1), bits).reshape(n, -1)[:, :k]

    def pack(first: int, last: int) -> PackedColumns:
        table = np.stack([row[first:last].T for row in rows], 1)
        return PackedColumns(
            _words(lowering, integers[first:last].T, bits, node.input(1).name),
            first,
            last - first,
            f"u{bits}",
            zero=1 << (bits - 1) if points is None else 0,
            block=block,
            scales=_scales(lowering, table, node.input(2).name),
        )

    return _parts(lowering, node, k * bits, pack)


def pack_bnb4(lowering: Lowering, node: Node) -> list[PackedColumns]:
    """The weights of a MatMulBnb4 node, in as many parts as the binding limit requires.

    Blocks of the file run through all columns. Where a block does not end with a column, it becomes smaller blocks
    with the same scale.
    """
    weights, absmax = _constant(node, 1), _constant(node, 2)
    n, k = node.attr("N"), node.attr("K")
    block = gcd(k, node.attr("block_size"))
    integers = codes(weights.reshape(-1))[: n * k].reshape(n, k)
    scales = absmax.reshape(-1)[np.arange(0, n * k, block) // node.attr("block_size")].reshape(n, -1)
    levels = tuple(LEVELS[node.attr("quant_type")].tolist())

    def pack(first: int, last: int) -> PackedColumns:
        return PackedColumns(
            _words(lowering, integers[first:last].T, 4, node.input(1).name),
            first,
            last - first,
            "u4",
            levels=levels,
            block=block,
            scales=_scales(lowering, scales[first:last].T[:, None], node.input(2).name),
        )

    return _parts(lowering, node, k * 4, pack)


def can_pack_bytes(b: Value, zero: Value | None) -> bool:
    """Whether ``b`` and its zero point are constants, and b is one matrix of 8-bit integers."""
    is_constant = b.is_constant and (zero is None or zero.is_constant)
    return is_constant and b.dtype.itemsize == 1 and len(b.shape) == 2


def pack_bytes(lowering: Lowering, node: Node, b: Value, zero_point: Value | None) -> list[PackedColumns]:
    """The integers of B ``[K, N]`` of a product, with a zero point for all of them or for each column."""
    assert b.data is not None
    integers, points = b.data, np.zeros(1, np.int32)
    if zero_point is not None and zero_point.data is not None:
        points = place(zero_point.data, -1, 2).astype(np.int32).reshape(-1)

    def pack(first: int, last: int) -> PackedColumns:
        words, codes = _byte_words(lowering, integers[:, first:last], b.name)
        if points.size == 1:
            return PackedColumns(words, first, last - first, codes, zero=int(points.item()))
        zero = lowering.constant(np.pad(points[first:last], (0, -(last - first) % 4)), f"{b.name}:zero points")
        return PackedColumns(words, first, last - first, codes, zero=zero)

    return _parts(lowering, node, len(integers) * 8, pack, key=(b, zero_point))


def can_pack_quantized(b: Value, transposed: bool) -> bool:
    """Whether ``b`` is one matrix of floats that came from bytes, with one scale for all of it, for each column, or for
    each block of a column."""
    if b.quantized is None or len(b.shape) != 2:
        return False
    if b.quantized.block:
        return b.quantized.axis == int(transposed)
    parameters = b.quantized.scale, b.quantized.zero
    return all(channel_vector(parameter, 0 if transposed else 1, b.shape) is not None for parameter in parameters)


def pack_quantized(lowering: Lowering, node: Node, b: Value, transposed: bool) -> list[PackedColumns]:
    """The bytes that the floats of B ``[K, N]`` came from, with scales and zero points of columns or their blocks.

    ``transposed`` says that b is ``[N, K]``.
    """
    source = b.quantized
    assert source is not None
    integers = source.integers.T if transposed else source.integers
    scale, zero = (_by_block(parameter, source, transposed, b.shape) for parameter in (source.scale, source.zero))
    rows = [scale, zero] if zero.any() else [scale]
    block = source.block or 1

    def pack(first: int, last: int) -> PackedColumns:
        words, codes = _byte_words(lowering, integers[:, first:last], b.name)
        scales = _scales(lowering, np.stack([row[:, first:last] for row in rows], 1), b.name)
        return PackedColumns(words, first, last - first, codes, block=block, scales=scales)

    return _parts(lowering, node, len(integers) * 8, pack, key=(b, transposed))


def _by_block(parameter: np.ndarray, source: Quantized, transposed: bool, shape: tuple[int, ...]) -> np.ndarray:
    """A scale or zero point of a matrix as ``[blocks of a column, N]``."""
    if source.block:
        return parameter.T if transposed else parameter
    vector = channel_vector(parameter, 0 if transposed else 1, shape)
    assert vector is not None
    return vector[None]


def _byte_words(lowering: Lowering, integers: np.ndarray, name: str) -> tuple[Tensor, str]:
    """8-bit integers ``[K, n]`` as words of successive columns, and their type."""
    return _words(lowering, integers.view(np.uint8), 8, name), "i8" if integers.dtype == np.int8 else "u8"


def _constant(node: Node, index: int) -> np.ndarray:
    array = node.constant(index)
    assert array is not None
    return array


def _parts(
    lowering: Lowering,
    node: Node,
    column_bits: int,
    pack: Callable[[int, int], PackedColumns],
    key: tuple[object, ...] = (),
) -> list[PackedColumns]:
    """The packed columns of each part, memoised for all nodes that read the same constants: those of ``key``, or all
    inputs but the first."""
    n, eight_column_bytes = node.output.shape[-1], column_bits + 7
    # whole words, and room for the bytes before the first one that align a binding
    max_columns = max(1, (lowering.binding_limit - 256) // eight_column_bytes) * 8
    return lowering.memoise(
        ("packed", node.op, *(key or node.inputs[1:])),
        lambda: [pack(first, min(first + max_columns, n)) for first in range(0, n, max_columns)],
    )


def _words(lowering: Lowering, integers: np.ndarray, bits: int, name: str) -> Tensor:
    """uint8 ``[K, n]``, each below 2^bits, as u32 words of successive columns."""
    columns = np.zeros((len(integers), -(-integers.shape[1] * bits // 32) * 32 // bits), np.uint8)
    columns[:, : integers.shape[1]] = integers
    words = columns if bits == 8 else columns[:, 0::2] | columns[:, 1::2] << 4
    return lowering.constant(words.view("<u4").astype(np.uint32, copy=False), f"{name}:packed")


def _scales(lowering: Lowering, table: np.ndarray, name: str) -> Tensor:
    """``table`` ``[blocks, rows, n]`` as float32, with the columns padded to a multiple of 4."""
    return lowering.constant(
        np.pad(table.astype(np.float32), [(0, 0), (0, 0), (0, -table.shape[2] % 4)]), f"{name}:packed"
    )
