"""The weights of Winograd convolutions: transformed at load, and packed as winograd_product wants them."""

from __future__ import annotations

from math import sqrt

import numpy as np

from engine.caps import MatrixUnits
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.split import PRODUCTS, halves, split_unscales, weight_scales
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.tensor import Tensor
from engine.gpu.program.tile import Tile
from engine.graph.bounds import LARGEST_HALF
from engine.graph.ir import TensorType, Value

_ROOT = sqrt(2)
_G = {
    4: np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    6: np.array(
        [
            [1, 0, 0],
            [-2 / 3, -_ROOT / 3, -1 / 3],
            [-2 / 3, _ROOT / 3, -1 / 3],
            [1 / 6, _ROOT / 6, 1 / 3],
            [1 / 6, -_ROOT / 6, 1 / 3],
            [0, 0, 1],
        ]
    ),
}
"""The transform of weights along one axis, by the pixels of a tile; the others are in parts/winograd.wgsl."""


def transform_weights(w: np.ndarray, size: int) -> np.ndarray:
    """``G g G^T`` of weights ``[M, C, 3, 3]`` as float32 ``[size * size, C, M]``."""
    both = np.kron(_G[size], _G[size]).astype(np.float32)
    taps = w.astype(np.float32, copy=False).transpose(2, 3, 1, 0)
    return (both @ taps.reshape(9, -1)).reshape(size * size, *taps.shape[2:])


def packed_weights(layer: Layer, lowering: Lowering, size: int, tile: Tile) -> Tensor:
    """Transformed weights ``[positions, steps, n / bn, bk, bn]``, padded with zeros: in half precision float16 where
    tiles are small, else float32.

    The transform back enlarges what a rounding of them leaves: of a layer's outputs the error is 1.7 times that of
    float16 weights summed by definition with tiles of 2x2, and 5.4 times with tiles of 4x4.
    """
    steps, blocks_n = -(-layer.channels // tile.bk), -(-layer.outputs // tile.bn)
    shape = (size * size, steps, blocks_n, tile.bk, tile.bn)

    def packed() -> np.ndarray:
        padded = _transformed(layer, size, steps * tile.bk, blocks_n * tile.bn)
        blocks = padded.reshape(size * size, steps, tile.bk, blocks_n, tile.bn)
        return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2, 4))

    value, kind = layer.node.input(1), TensorType(np.dtype(np.float32), shape)
    in_half = size == 4 and layer.weight_type == "f16"
    dtype = "f16" if in_half and lowering.memoise((value, "small"), lambda: _is_small(value)) else "f32"
    return lowering.derived_constant(value, f"winograd {shape}", packed, dtype=dtype, kind=kind)


def _is_small(weights: Value) -> bool:
    """Whether float16 holds the transformed weights of small tiles, which are 9/4 of the largest weight at the most."""
    assert weights.data is not None
    return bool(np.abs(weights.data).max(initial=0) <= LARGEST_HALF * 4 / 9)


def _transformed(layer: Layer, size: int, k_padded: int, n_padded: int) -> np.ndarray:
    """Transformed weights, float32 ``[positions, k_padded, n_padded]``, padded with zeros."""
    padded = np.zeros((size * size, k_padded, n_padded), np.float32)
    w = layer.node.constant(1)
    assert w is not None
    padded[:, : layer.channels, : layer.outputs] = transform_weights(w, size)
    return padded


def split_fragments(
    layer: Layer, lowering: Lowering, size: int, units: MatrixUnits, padded: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Transformed weights in fragments of both parts, float16 ``[2, positions, k, n, units.k, units.n]``, and what the
    sums of each channel are multiplied by, float32 ``[n]``; k and n are ``padded`` with zeros."""
    value, shape = layer.node.input(1), (2, size * size, padded[0] // units.k, padded[1] // units.n, units.k, units.n)

    def packed() -> np.ndarray:
        w = _transformed(layer, size, *padded)
        blocks = np.stack(halves(w * weight_scales(w[None])[0])).reshape(*shape[:3], units.k, shape[3], units.n)
        return np.ascontiguousarray(blocks.transpose(0, 1, 2, 4, 3, 5))

    def unscales() -> np.ndarray:
        w = _transformed(layer, size, *padded)[None]
        return split_unscales(w, units, scale=1.0, additions=PRODUCTS * layer.channels / units.k)[0]

    form, kind = f"winograd fragments {shape}", TensorType(np.dtype(np.float16), shape)
    w = lowering.derived_constant(value, form, packed, dtype="f16", kind=kind)
    kind = TensorType(np.dtype(np.float32), (padded[1],))
    return w, lowering.derived_constant(value, f"unscale {form}", unscales, dtype="f32", kind=kind)
