"""Slice (ONNX versions 1, 10, 11, 13): a strided range along each of some axes."""

from __future__ import annotations

import numpy as np

from engine.errors import ModelError
from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints, static_ints
from engine.ops.registry import operator
from engine.ops.types import normalize_axes

Ints = tuple[int, ...]


def slice_ranges(
    shape: Ints, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None
) -> tuple[slice, ...]:
    """One slice for each axis of ``shape``, with starts and ends clamped as the operator has it.

    Negative starts and ends count from the back and a negative step runs backwards; ValueError on a step of 0.
    """
    axes = tuple(range(len(starts))) if axes is None else normalize_axes(axes, len(shape))
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError(f"starts {starts}, ends {ends}, axes {axes}, steps {steps} differ in length")
    ranges = [slice(0, extent, 1) for extent in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        first, stop, step = slice(start, end, step).indices(shape[axis])
        # A stop of -1 is "before the first element" here, but would be "the last element" to NumPy.
        ranges[axis] = slice(first, None if stop < 0 else stop, step)
    return tuple(ranges)


def _extents(ranges: tuple[slice, ...], shape: Ints) -> Ints:
    return tuple(len(range(*part.indices(extent))) for part, extent in zip(ranges, shape, strict=True))


def node_ranges(node: Node, shape: Ints) -> tuple[slice, ...]:
    """The ranges that a Slice takes of an input of ``shape``: from its attributes, since version 10 from its inputs."""
    if node.version >= 10:
        starts, ends = static_ints(node, 1), static_ints(node, 2)
        return slice_ranges(shape, starts, ends, axes=ints(node.constant(3)), steps=ints(node.constant(4)))
    starts, ends = node.attr("starts"), node.attr("ends")
    if starts is None or ends is None:
        raise ModelError(f"{node.label}: attributes starts and ends are required")
    return slice_ranges(shape, starts, ends, node.attr("axes"))


@operator("Slice", until=9)
class SliceAttributes:
    """Starts, ends and axes as attributes."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, _extents(node_ranges(node, x.shape), x.shape))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        return x[node_ranges(node, x.shape)]


@operator("Slice", since=10, static=[1, 2, 3, 4])
class Slice:
    """Starts, ends, axes and steps as inputs."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, _extents(node_ranges(node, x.shape), x.shape))]

    @staticmethod
    def reference(
        _: Node,
        x: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        axes: np.ndarray | None = None,
        steps: np.ndarray | None = None,
    ) -> np.ndarray:
        return x[slice_ranges(x.shape, ints(starts) or (), ints(ends) or (), axes=ints(axes), steps=ints(steps))]
