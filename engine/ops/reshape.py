"""Reshape (ONNX versions 5, 13, 14), Flatten (9, 11), Squeeze and Unsqueeze (1, 11, 13): same elements, new shape."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints, static_ints
from engine.ops.registry import operator
from engine.ops.types import normalize_axes, normalize_axis


def reshape_target(node: Node, shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """``target`` with 0 copied from ``shape`` (kept when ``allowzero`` is set, version 14) and one -1 worked out."""
    if target.count(-1) > 1 or min(target, default=0) < -1:
        raise ValueError(f"target shape {list(target)} has a dimension below -1 or more than one -1")
    if not node.attr("allowzero", 0):
        target = tuple(shape[axis] if extent == 0 else extent for axis, extent in enumerate(target))
    rest = prod(extent for extent in target if extent != -1)
    if -1 in target:
        if rest == 0:
            raise ValueError(f"target shape {list(target)} leaves -1 open beside a dimension of 0")
        target = tuple(prod(shape) // rest if extent == -1 else extent for extent in target)
    if prod(target) != prod(shape):
        raise ValueError(f"{prod(shape)} elements do not fill the shape {list(target)}")
    return target


@operator("Reshape", static=[1])
class Reshape:
    """The elements of x, in row-major order, in the shape given by the second input."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, reshape_target(node, x.shape, static_ints(node, 1)))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
        return x.reshape(reshape_target(node, x.shape, ints(shape) or ()))


def flatten_shape(node: Node, shape: tuple[int, ...]) -> tuple[int, int]:
    """The matrix that Flatten makes of ``shape``: the axes before ``axis`` (default 1) by those from it on."""
    axis, rank = node.attr("axis", 1), len(shape)
    lead = rank if axis == rank else normalize_axis(axis, rank)
    return prod(shape[:lead]), prod(shape[lead:])


@operator("Flatten")
class Flatten:
    """x as a matrix."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, flatten_shape(node, x.shape))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        return x.reshape(flatten_shape(node, x.shape))


def squeezed_shape(node: Node, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    """``shape`` without ``axes`` (attribute before version 13), or without every axis of extent 1."""
    if node.version < 13:
        axes = node.attr("axes")
    if axes is None:
        return tuple(extent for extent in shape if extent != 1)
    unit_axes = normalize_axes(axes, len(shape))
    if any(shape[axis] != 1 for axis in unit_axes):
        raise ValueError(f"axes {list(axes)} of shape {list(shape)} are not all of extent 1")
    return tuple(extent for axis, extent in enumerate(shape) if axis not in unit_axes)


@operator("Squeeze", static=[1])
class Squeeze:
    """x without axes of extent 1."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, squeezed_shape(node, x.shape, ints(node.constant(1))))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
        return x.reshape(squeezed_shape(node, x.shape, ints(axes)))


def unsqueezed_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with extents of 1 put in, so that they stand at ``axes`` of the result."""
    rank = len(shape) + len(axes)
    new_axes = normalize_axes(axes, rank)
    extents = iter(shape)
    return tuple(1 if axis in new_axes else next(extents) for axis in range(rank))


@operator("Unsqueeze", until=12)
class UnsqueezeAttribute:
    """x with axes of extent 1 put in, listed in the attribute ``axes``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, unsqueezed_shape(x.shape, node.attr("axes", ())))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        return x.reshape(unsqueezed_shape(x.shape, node.attr("axes", ())))


@operator("Unsqueeze", since=13, static=[1])
class Unsqueeze:
    """x with axes of extent 1 put in, listed in the second input."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [TensorType(x.dtype, unsqueezed_shape(x.shape, static_ints(node, 1)))]

    @staticmethod
    def reference(_: Node, x: np.ndarray, axes: np.ndarray) -> np.ndarray:
        return x.reshape(unsqueezed_shape(x.shape, ints(axes) or ()))
