"""Constant right-hand sides that stay packed on the GPU, four or eight integers in a word (read by matmul.wgsl).

Files pack a column's integers along K. Here neighbouring columns share a word, since that is what the invocations of a
tile read side by side, so the columns are packed anew at load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import numpy as np

from engine.gpu.lowering import Lowering
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node, Value
from engine.ops.integer_products import place
from engine.ops.matmul_bnb4 import LEVELS, codes
from engine.ops.matmul_nbits import blocks_of, zero_points
from engine.ops.matmul_nbits import unpack as unpacked


@dataclass(frozen=True, slots=True)
class Packed:
    """Columns ``first`` to before ``first + n`` of a right-hand side ``[K, N]``.

    ``words`` ``[K, columns / codes in a word]`` u32 hold ``codes`` of successive columns, the lowest bits first: "u4",
    "u8" or "i8". An element is its code, or the one of ``levels`` that the code counts to, less a zero point, times a
    scale. Floats have one scale for each ``block`` of K: ``scales`` ``[blocks, 1 or 2, n up to fours]``, behind the
    row of scales, where there are two, that of the zero points; ``zero`` is otherwise the one zero point for all.
    Integers have no scales, and as ``zero`` a number or ``[n up to fours]`` i32.
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
        """A view ``[K, n]`` that stands for it where shapes and batches are compared: every column is a row's first."""
        k, width = self.words.shape
        return Tensor(self.words.slot, self.words.dtype, (k, self.n), (width, 0))


def pack_nbits(low: Lowering, node: Node) -> list[Packed]:
    """The weights of a MatMulNBits node, in as many parts as bindings make of them."""
    packed, scales = _known(node, 1), _known(node, 2)
    bits, n, k, block = node.attr("bits", 4), node.attr("N"), node.attr("K"), node.attr("block_size")
    blocks = blocks_of(node)
    points = zero_points(node, node.constant(3))
    rows = [scales.reshape(n, blocks)] if points is None else [scales.reshape(n, blocks), points]
    integers = unpacked(packed.reshape(n, blocks, -1), bits).reshape(n, -1)[:, :k]

    def make(first: int, last: int) -> Packed:
        table = np.stack([row[first:last].T for row in rows], 1)
        return Packed(
            _words(low, integers[first:last].T, bits, node.input(1).name),
            first,
            last - first,
            f"u{bits}",
            zero=1 << (bits - 1) if points is None else 0,
            block=block,
            scales=_scales(low, table, node.input(2).name),
        )

    return _parts(low, node, k * bits, make)


def pack_bnb4(low: Lowering, node: Node) -> list[Packed]:
    """The weights of a MatMulBnb4 node, in as many parts as bindings make of them.

    Its blocks are cut from all columns in one run. Where they do not end with a column, smaller ones stand for them.
    """
    packed, absmax = _known(node, 1), _known(node, 2)
    n, k = node.attr("N"), node.attr("K")
    block = gcd(k, node.attr("block_size"))
    integers = codes(packed.reshape(-1))[: n * k].reshape(n, k)
    scales = absmax.reshape(-1)[np.arange(0, n * k, block) // node.attr("block_size")].reshape(n, -1)
    levels = tuple(LEVELS[node.attr("quant_type")].tolist())

    def make(first: int, last: int) -> Packed:
        return Packed(
            _words(low, integers[first:last].T, 4, node.input(1).name),
            first,
            last - first,
            "u4",
            levels=levels,
            block=block,
            scales=_scales(low, scales[first:last].T[:, None], node.input(2).name),
        )

    return _parts(low, node, k * 4, make)


def can_pack_bytes(b: Value, zero: Value | None) -> bool:
    """Whether ``b`` and its zero point are known, and b is one matrix of 8-bit integers."""
    known = b.is_constant and (zero is None or zero.is_constant)
    return known and b.dtype.itemsize == 1 and len(b.shape) == 2


def pack_bytes(low: Lowering, node: Node) -> list[Packed]:
    """The integers of a MatMulInteger's B ``[K, N]``, with a zero point for all of them or for each column."""
    b, zero = _known(node, 1), node.constant(3)
    points = np.zeros((), np.int32) if zero is None else place(zero, -1, 2).astype(np.int32).reshape(-1)
    name = node.input(1).name

    def make(first: int, last: int) -> Packed:
        words = _words(low, b[:, first:last].view(np.uint8), 8, name)
        form = "i8" if b.dtype == np.int8 else "u8"
        if points.size == 1:
            return Packed(words, first, last - first, form, zero=int(points.item()))
        own = np.pad(points[first:last], (0, -(last - first) % 4))
        return Packed(words, first, last - first, form, zero=low.constant(own, f"{name}:zero points"))

    return _parts(low, node, len(b) * 8, make)


def _known(node: Node, index: int) -> np.ndarray:
    array = node.constant(index)
    assert array is not None
    return array


def _parts(low: Lowering, node: Node, column_bits: int, make: Callable[[int, int], Packed]) -> list[Packed]:
    """What ``make`` gives for the columns of each part, made once for all nodes that read the same constants."""
    n, eight = node.output.shape[-1], column_bits + 7
    # whole words, and room for what is put in to align a binding
    most = max(1, (low.binding_limit - 256) // eight) * 8
    return low.once(
        ("packed", node.op, *node.inputs[1:]),
        lambda: [make(first, min(first + most, n)) for first in range(0, n, most)],
    )


def _words(low: Lowering, integers: np.ndarray, bits: int, name: str) -> Tensor:
    """uint8 ``[K, n]`` below 2^bits as words of successive columns."""
    padded = np.zeros((len(integers), -(-integers.shape[1] * bits // 32) * 32 // bits), np.uint8)
    padded[:, : integers.shape[1]] = integers
    packed = padded if bits == 8 else padded[:, 0::2] | padded[:, 1::2] << 4
    return low.constant(packed.view("<u4").astype(np.uint32, copy=False), f"{name}:packed")


def _scales(low: Lowering, table: np.ndarray, name: str) -> Tensor:
    """``[blocks, rows, n]`` with the columns made up to fours."""
    return low.constant(np.pad(table.astype(np.float32), [(0, 0), (0, 0), (0, -table.shape[2] % 4)]), f"{name}:packed")
