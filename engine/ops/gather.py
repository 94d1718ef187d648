"""Gather (ONNX versions 1, 11, 13), GatherElements (11, 13) and GatherND (11, 12, 13): elements picked by index.

Negative indices count from the back.
"""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import normalize_axis


@operator("Gather")
class Gather:
    """y[..., i, ...] = x[..., indices[i], ...]: whole slices along ``axis``, in the shape of the indices."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, indices = node.input(0), node.input(1)
        axis = normalize_axis(node.attr("axis", 0), len(x.shape))
        return [TensorType(x.dtype, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        if indices.ndim == 0:  # one slice is a view, where take would copy it element by element
            axis = normalize_axis(node.attr("axis", 0), x.ndim)
            return np.asarray(x[(slice(None),) * axis + (int(indices),)])
        return np.take(x, indices, axis=node.attr("axis", 0))


@operator("GatherElements", since=11)
class GatherElements:
    """y[i, j] = x[indices[i, j], j] for axis 0: single elements along ``axis``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, indices = node.input(0), node.input(1)
        axis = normalize_axis(node.attr("axis", 0), len(x.shape))
        pairs = list(zip(indices.shape, x.shape, strict=True))
        if any(index_extent > extent for index_extent, extent in pairs[:axis] + pairs[axis + 1 :]):
            raise ValueError(f"indices of shape {list(indices.shape)} reach outside {list(x.shape)}")
        return [TensorType(x.dtype, indices.shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return x[element_positions(indices, node.attr("axis", 0))]


def element_positions(indices: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """NumPy's index arrays for one element per entry of ``indices``: its own position, with ``indices`` on ``axis``."""
    positions = list(np.ogrid[tuple(slice(extent) for extent in indices.shape)])
    positions[axis] = indices
    return tuple(positions)


@operator("GatherND", since=11)
class GatherND:
    """y[..., :] = x[indices[..., :]]: the last axis of the indices is a position in x, past ``batch_dims`` axes."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, indices = node.input(0), node.input(1)
        batch, depth = node.attr("batch_dims", 0), indices.shape[-1]
        if batch < 0 or x.shape[:batch] != indices.shape[:batch] or batch + depth > len(x.shape):
            raise ValueError(f"positions of {depth} axes past {batch} batch axes")
        return [TensorType(x.dtype, (*indices.shape[:-1], *x.shape[batch + depth :]))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        batch = node.attr("batch_dims", 0)
        batches = np.ogrid[tuple(slice(extent) for extent in x.shape[:batch])]
        lead = [axis.reshape(axis.shape + (1,) * (indices.ndim - 1 - batch)) for axis in batches]
        return x[(*lead, *np.moveaxis(indices, -1, 0))]
