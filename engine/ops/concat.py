"""Concat (ONNX versions 4, 11, 13) and Split (2, 11, 13, 18): tensors joined and cut along one axis."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints
from engine.ops.registry import operator
from engine.ops.types import normalize_axis


def concat_axis(node: Node, rank: int) -> int:
    """The axis that Concat joins along, counted from the front; ValueError where it is missing or outside."""
    axis = node.attr("axis")
    if axis is None:
        raise ValueError("attribute axis is required")
    return normalize_axis(axis, rank)


@operator("Concat")
class Concat:
    """The inputs joined along ``axis``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        parts = list(node.used_inputs())
        first = node.input(0)
        axis = concat_axis(node, len(first.shape))
        for part in parts:
            same = part.shape[:axis] == first.shape[:axis] and part.shape[axis + 1 :] == first.shape[axis + 1 :]
            if not same or len(part.shape) != len(first.shape) or part.dtype != first.dtype:
                raise ValueError(f"{part.type} beside {first.type} along axis {axis}")
        total = sum(part.shape[axis] for part in parts)
        return [TensorType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))]

    @staticmethod
    def reference(node: Node, *parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts, axis=concat_axis(node, parts[0].ndim))


def split_extents(node: Node, shape: tuple[int, ...], sizes: tuple[int, ...] | None) -> tuple[int, tuple[int, ...]]:
    """The axis that Split cuts and the extent of each part.

    ``sizes`` is the second input; before version 13 it is the attribute ``split``. Without either the parts are equal,
    as many as ``num_outputs`` (version 18) or the node's outputs; since version 18 the last part may be smaller.
    """
    axis = normalize_axis(node.attr("axis", 0), len(shape))
    extent = shape[axis]
    if node.version < 13:
        sizes = node.attr("split")
    if sizes is None:
        count = node.attr("num_outputs", len(node.outputs))
        if count > max(extent, len(node.outputs)):
            raise ValueError(f"{count} parts of extent {extent}")
        part = -(-extent // count)
        last = extent - part * (count - 1)
        if last < 0 or (last != part and node.version < 18):
            raise ValueError(f"axis {axis} of extent {extent} does not split into {count} parts")
        return axis, (*(part,) * (count - 1), last)
    if min(sizes, default=0) < 0:
        raise ValueError(f"a part of {min(sizes)} along axis {axis}")
    if sum(sizes) != extent:
        raise ValueError(f"{len(sizes)} parts of {sum(sizes)} in all do not make up extent {extent} of axis {axis}")
    return axis, tuple(sizes)


@operator("Split", static=[1])
class Split:
    """x cut along ``axis`` into parts."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        axis, extents = split_extents(node, x.shape, ints(node.constant(1)))
        return [TensorType(x.dtype, (*x.shape[:axis], extent, *x.shape[axis + 1 :])) for extent in extents]

    @staticmethod
    def reference(node: Node, x: np.ndarray, sizes: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        axis, extents = split_extents(node, x.shape, ints(sizes))
        return tuple(np.split(x, np.cumsum(extents)[:-1], axis))
