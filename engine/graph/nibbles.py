"""4-bit integers two in a byte, the lower half first, as ONNX stores its tensors and MatMulNBits its weights."""

from __future__ import annotations

import numpy as np

from engine.graph.dtypes import INT4
from engine.graph.ir import TensorType


def pack(halves: np.ndarray) -> np.ndarray:
    """uint8 ``[..., n]`` below 16 as uint8 ``[..., (n + 1) // 2]``; an odd last one has 0 above it."""
    packed = halves[..., 0::2].copy()
    packed[..., : halves.shape[-1] // 2] |= halves[..., 1::2] << 4
    return packed


def halves_of(packed: np.ndarray) -> np.ndarray:
    """uint8 ``[..., bytes]`` as the halves of its bytes, uint8 ``[..., 2 bytes]`` below 16."""
    return np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)


def unpack(packed: np.ndarray, kind: TensorType) -> np.ndarray:
    """The INT4 or UINT4 tensor of ``kind`` that uint8 ``[(elements + 1) // 2]`` hold in its row-major order."""
    return four_bits(halves_of(packed)[: kind.size].reshape(kind.shape), kind.dtype)


def four_bits(integers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The lower four bits of each of ``integers``, of any dtype of these, as INT4 or UINT4."""
    halves = np.array(integers & 15, np.uint8)
    if dtype == INT4:  # two's complement: the fourth bit is the sign
        halves ^= 8
        halves -= 8
    return halves.view(dtype)
