"""GridSample (ONNX versions 16, 20): an input read at fractional positions, over any number of spatial axes."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.resize import SUPPORT, filter_weights
from engine.ops.types import accumulator

MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""The names of version 16 for the modes of version 20."""

CUBIC_A = -0.75

MOST_SPATIAL_AXES = 5
"""Each axis multiplies the taps of a point by two, or by four."""


def reflect(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """``x`` mirrored at ``low`` and ``high`` until it lies between them."""
    span = high - low
    if span <= 0:
        return np.full_like(x, low)
    distance = np.abs(x - low) % (2 * span)
    return low + np.where(distance > span, 2 * span - distance, distance)


def pixels(position: np.ndarray, extent: int, padding: str, borders: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """(index within the axis, weight 0 or 1) of whole positions that may lie outside."""
    if padding == "reflection":
        position = np.trunc(reflect(position, *borders))
    inside = (position >= 0) & (position < extent)
    index = position.clip(0, extent - 1).astype(np.int64)
    return index, inside if padding == "zeros" else np.ones_like(inside)


def sample(
    x: np.ndarray, coordinates: np.ndarray, mode: str = "linear", padding: str = "zeros", align_corners: bool = True
) -> np.ndarray:
    """``x`` ``[N, C, *spatial]`` at ``coordinates`` ``[N, rank, P]``, in input positions: ``[N, C, P]``.

    ``mode`` is nearest (half to even), linear or cubic; ``padding`` says what stands outside: zeros, border or
    reflection at the outermost elements' centres (``align_corners``) or edges. It is applied to each tap, as in PyTorch
    and ONNX Runtime; the ONNX reference evaluator moves the coordinate itself, which loses the cubic's inner taps.
    """
    count, channels, *spatial = x.shape
    axes = []
    for axis, extent in enumerate(spatial):
        at = coordinates[:, axis]
        borders = (0.0, extent - 1.0) if align_corners else (-0.5, extent - 0.5)
        if mode == "nearest":
            index, inside = pixels(np.rint(at), extent, padding, borders)
            axes.append([(index, inside.astype(x.dtype))])
            continue
        taps = []
        for offset in range(1 - SUPPORT[mode], SUPPORT[mode] + 1):
            position = np.floor(at) + offset
            index, inside = pixels(position, extent, padding, borders)
            taps.append((index, (filter_weights(mode, at - position, CUBIC_A) * inside).astype(x.dtype)))
        axes.append(taps)
    flat = x.reshape(count, channels, -1)
    strides = [prod(spatial[axis + 1 :]) for axis in range(len(spatial))]
    y = np.zeros((count, channels, coordinates.shape[2]), x.dtype)
    for corner in product(*axes):
        source = sum(index * stride for (index, _), stride in zip(corner, strides, strict=True))
        weight = prod((weight for _, weight in corner), start=np.ones((), x.dtype))
        y += np.take_along_axis(flat, np.broadcast_to(source, coordinates[:, 0].shape)[:, None], 2) * weight[:, None]
    return y


@operator("GridSample", since=16)
class GridSample:
    """y[n, c, p] = x[n, c] at grid[n, p], which holds (..., y, x reversed) from -1 to 1 across the input."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, grid = node.input(0), node.input(1)
        rank = len(x.shape) - 2
        if len(grid.shape) != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
            raise ValueError(f"grid of shape {grid.shape} for {rank} spatial axes")
        if rank > MOST_SPATIAL_AXES:
            raise ValueError(f"{rank} spatial axes, and at most {MOST_SPATIAL_AXES} are sampled")
        mode = node.attr("mode", "linear")
        if MODES.get(mode, mode) not in ("nearest", *SUPPORT):
            raise ValueError(f"mode '{mode}' is not one of nearest, linear, cubic")
        padding = node.attr("padding_mode", "zeros")
        if padding not in ("zeros", "border", "reflection"):
            raise ValueError(f"padding_mode '{padding}' is not one of zeros, border, reflection")
        return [TensorType(x.dtype, (*x.shape[:2], *grid.shape[1:-1]))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
        mode = node.attr("mode", "linear")
        align = bool(node.attr("align_corners", 0))
        rank = x.ndim - 2
        # The grid holds the last axis first.
        points = np.moveaxis(grid.astype(accumulator(grid.dtype), copy=False), -1, 1)[:, ::-1]
        extents = np.array(x.shape[2:], points.dtype).reshape(-1, 1)
        points = points.reshape(len(grid), rank, -1)
        at = (points + 1) / 2 * (extents - 1) if align else ((points + 1) * extents - 1) / 2
        y = sample(
            x.astype(accumulator(x.dtype) if x.dtype.kind == "f" else np.float64, copy=False),
            at,
            mode=MODES.get(mode, mode),
            padding=node.attr("padding_mode", "zeros"),
            align_corners=align,
        )
        return y.reshape(*x.shape[:2], *grid.shape[1:-1]).astype(x.dtype, copy=False)
