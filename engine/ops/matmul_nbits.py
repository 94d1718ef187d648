"""MatMulNBits-1 of com.microsoft: a product with weights of 4 or 8 bits, in blocks with a scale and zero point each.

B holds the transposed weights, ``[N, blocks, block_size * bits / 8]`` bytes; of two 4-bit weights in a byte the lower
half comes first. Zero points are packed alike, row by row, or are floats; without them they are half of the range.
"""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.graph.ir import Node, TensorType
from engine.graph.nibbles import halves_of
from engine.ops.elementwise import round_to, widen
from engine.ops.registry import operator

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


def check_block_size(size: int) -> None:
    """ValueError unless ``size`` is a power of two from 16 on."""
    if size < 16 or size & (size - 1):
        raise ValueError(f"block_size is {size}, not a power of two from 16 on")


def check_factors(node: Node, sizes: dict[int, int]) -> None:
    """ValueError unless A ends in K and the inputs at the keys of ``sizes`` have that many elements."""
    a = node.input(0)
    if a.dtype not in (np.float32, np.float16):
        raise ValueError("A must be float32 or float16")
    if not a.shape or a.shape[-1] != node.attr("K"):
        raise ValueError(f"A {a.type} does not end in K = {node.attr('K')}")
    for index, size in sizes.items():
        value = node.optional_input(index)
        if value is not None and value.type.size != size:
            raise ValueError(f"input {index} {value.type} has not {size} elements")


def blocks_of(node: Node) -> int:
    """Blocks of a column of the weights."""
    return int(-(-node.attr("K") // node.attr("block_size")))


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """uint8 ``[..., bytes]`` of 8-bit integers or, the lower half first, pairs of 4-bit ones: ``[..., integers]``."""
    return packed if bits == 8 else halves_of(packed)


def zero_points(node: Node, zero: np.ndarray | None) -> np.ndarray | None:
    """The zero points ``[N, blocks]`` as floats, or None for half of the range."""
    if zero is None:
        return None
    rows = zero.reshape(node.attr("N"), -1)
    points = unpack(rows, node.attr("bits", 4)) if zero.dtype == np.uint8 else rows
    return points[:, : blocks_of(node)].astype(np.float32)


@operator("MatMulNBits", domain=MICROSOFT)
class MatMulNBits:
    """A W + bias with W ``[K, N]`` = ((B - zero point) scale)', float16 in float32."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        a, bits, blocks, n = node.input(0), node.attr("bits", 4), blocks_of(node), node.attr("N")
        if bits not in (4, 8):
            raise UnsupportedError(f"{node.label}: weights of {bits} bits; the engine has 4 and 8")
        if node.optional_input(4) is not None or node.attr("weight_prepacked", 0):
            raise UnsupportedError(f"{node.label}: weights in an order of their own (g_idx or weight_prepacked)")
        check_block_size(node.attr("block_size"))
        zero = node.optional_input(3)
        points = -(-blocks * bits // 8) if zero is not None and zero.dtype == np.uint8 else blocks
        check_factors(node, {1: n * blocks * node.attr("block_size") * bits // 8, 2: n * blocks, 3: n * points, 5: n})
        if node.input(1).dtype != np.uint8:
            raise ValueError("B must be uint8")
        floats = [node.input(2), node.optional_input(5), zero if zero is not None and zero.dtype != np.uint8 else None]
        if any(value is not None and value.dtype != a.dtype for value in floats):
            raise ValueError("scales, float zero points and bias must have the dtype of A")
        return [TensorType(a.dtype, (*a.shape[:-1], n))]

    @staticmethod
    def reference(
        node: Node,
        a: np.ndarray,
        b: np.ndarray,
        scales: np.ndarray,
        zero: np.ndarray | None = None,
        _: np.ndarray | None = None,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        bits, n, k = node.attr("bits", 4), node.attr("N"), node.attr("K")
        levels = unpack(b.reshape(n, blocks_of(node), -1), bits).astype(np.float32)
        points = zero_points(node, zero)
        levels -= 1 << (bits - 1) if points is None else points[:, :, None]
        w = (levels * widen(scales).reshape(n, -1, 1)).reshape(n, -1)[:, :k]
        with np.errstate(all="ignore"):
            y = np.matmul(widen(a), w.T)
            return round_to(y if bias is None else y + widen(bias).reshape(-1), a.dtype)
