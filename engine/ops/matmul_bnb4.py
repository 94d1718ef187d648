"""MatMulBnb4-1 of com.microsoft: a product with 4-bit floats, in blocks with their largest magnitude each.

B holds the transposed weights ``[N, K]`` as one run of 4-bit codes, two in a byte, the upper half first; blocks are cut
from the run, whatever row they end in.
"""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import round_to, widen
from engine.ops.matmul_nbits import MICROSOFT, check_block_size, check_factors
from engine.ops.registry import operator

FP4 = [0, 0.0052083335, 2 / 3, 1, 1 / 3, 0.5, 1 / 6, 0.25]

NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]

LEVELS = (np.array([*FP4, *(-level for level in FP4)], np.float32), np.array(NF4, np.float32))
"""What each code stands for, by quant_type: FP4 (sign and magnitude) and NF4 (QLoRA, arXiv 2305.14314, appendix E)."""


def codes(packed: np.ndarray) -> np.ndarray:
    """The 4-bit codes ``[2 bytes]`` of ``packed`` ``[bytes]``, the upper half of a byte first."""
    return np.stack([packed >> 4, packed & 15], -1).reshape(-1)


@operator("MatMulBnb4", domain=MICROSOFT)
class MatMulBnb4:
    """A W with W ``[K, N]`` = (level of B times the magnitude of its block)', float16 in float32."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        a, n, block = node.input(0), node.attr("N"), node.attr("block_size")
        kind, size = node.attr("quant_type"), n * node.attr("K")
        if kind not in (0, 1) or not node.attr("transB", 1):
            raise UnsupportedError(
                f"{node.label}: quant_type {kind} or transB 0; the engine has FP4 and NF4, transposed"
            )
        check_block_size(block)
        check_factors(node, {1: -(-size // 2), 2: -(-size // block)})
        if node.input(1).dtype != np.uint8 or node.input(2).dtype != a.dtype:
            raise ValueError("B must be uint8, and absmax have the dtype of A")
        return [TensorType(a.dtype, (*a.shape[:-1], n))]

    @staticmethod
    def reference(node: Node, a: np.ndarray, b: np.ndarray, absmax: np.ndarray) -> np.ndarray:
        n, k = node.attr("N"), node.attr("K")
        levels = LEVELS[node.attr("quant_type")][codes(b.reshape(-1))[: n * k]]
        w = (levels * np.repeat(widen(absmax).reshape(-1), node.attr("block_size"))[: n * k]).reshape(n, k)
        with np.errstate(all="ignore"):
            return round_to(np.matmul(widen(a), w.T), a.dtype)
