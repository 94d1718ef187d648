"""Normalisations: BatchNormalization-7/9/14/15 (inference), InstanceNormalization-1/6/22, GroupNormalization-18/21,
LayerNormalization-17, RMSNormalization-23, MeanVarianceNormalization-9/13, LpNormalization-1/22, LRN-1/13.

Variances are those of the population, taken as the mean squared distance from the mean. float16 is computed in float32
and rounded once, at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import UnsupportedError
from engine.graph.dtypes import dtype_of
from engine.graph.ir import Node, TensorType, Value
from engine.ops.elementwise import round_to, widen
from engine.ops.registry import operator
from engine.ops.types import accumulator, broadcast, normalize_axes, normalize_axis

EPSILON = 1e-5


def standardize(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """``x`` less its mean over ``axes``, divided by the root of its variance plus ``epsilon``."""
    distance = x - x.mean(axes, keepdims=True)
    y: np.ndarray = distance / np.sqrt(np.square(distance).mean(axes, keepdims=True) + epsilon)
    return y


def per_channel(parameter: np.ndarray, rank: int) -> np.ndarray:
    """A parameter ``[C, ...]`` widened, so that it broadcasts to ``[N, C, *spatial]`` of ``rank`` axes."""
    return widen(parameter).reshape(*parameter.shape, *(1,) * (rank - 1 - parameter.ndim))


def check_shape(shape: tuple[int, ...], *parameters: Value) -> None:
    """ValueError when a parameter has another shape."""
    for parameter in parameters:
        if parameter.shape != shape:
            raise ValueError(f"parameter {parameter.type} where the shape must be {list(shape)}")


@operator("BatchNormalization", since=7)
class BatchNormalization:
    """(x - mean) / sqrt(var + epsilon) * scale + b for each channel; for each element of one in 7 with ``spatial`` = 0.

    Training, by ``training_mode`` (version 14) or by further outputs (before), is refused with UnsupportedError.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        if node.attr("training_mode", 0) or any(output is not None for output in node.outputs[1:]):
            raise UnsupportedError(f"{node.label}: training is not supported; export the model for inference")
        channels = x.shape[1:2] if len(x.shape) > 1 else (1,)
        everywhere = node.version < 9 and not node.attr("spatial", 1)
        check_shape(x.shape[1:] if everywhere else channels, *(node.input(index) for index in range(1, 5)))
        return [x.type]

    @staticmethod
    def reference(
        node: Node, x: np.ndarray, scale: np.ndarray, b: np.ndarray, mean: np.ndarray, var: np.ndarray
    ) -> np.ndarray:
        scale, b, mean, var = (per_channel(parameter, x.ndim) for parameter in (scale, b, mean, var))
        y = (widen(x) - mean) / np.sqrt(var + node.attr("epsilon", EPSILON)) * scale + b
        return round_to(y, x.dtype)


@operator("InstanceNormalization")
class InstanceNormalization:
    """Each channel of each image standardised over its positions, times scale ``[C]``, plus b ``[C]``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        check_shape(x.shape[1:2], node.input(1), node.input(2))
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray, scale: np.ndarray, b: np.ndarray) -> np.ndarray:
        y = standardize(widen(x), tuple(range(2, x.ndim)), node.attr("epsilon", EPSILON))
        return round_to(y * per_channel(scale, x.ndim) + per_channel(b, x.ndim), x.dtype)


@operator("GroupNormalization", since=18)
class GroupNormalization:
    """Each of ``num_groups`` groups of channels standardised; scale and b per channel, in version 18 per group."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, groups = node.input(0), node.attr("num_groups", 0)
        if groups < 1 or x.shape[1] % groups:
            raise ValueError(f"num_groups {groups} does not divide {x.shape[1]} channels")
        check_shape((groups if node.version < 21 else x.shape[1],), node.input(1), node.input(2))
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray, scale: np.ndarray, b: np.ndarray) -> np.ndarray:
        by_group = widen(x).reshape(x.shape[0], node.attr("num_groups"), -1)
        y = standardize(by_group, (2,), node.attr("epsilon", EPSILON))
        if node.version < 21:
            y = y * per_channel(scale, 3) + per_channel(b, 3)
            return round_to(y.reshape(x.shape), x.dtype)
        return round_to(y.reshape(x.shape) * per_channel(scale, x.ndim) + per_channel(b, x.ndim), x.dtype)


def trailing(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes from ``axis`` (default -1) on."""
    return tuple(range(normalize_axis(node.attr("axis", -1), len(shape)), len(shape)))


def stash(node: Node) -> np.dtype[Any]:
    """The dtype of ``stash_type`` (default float32), in which mean and variance are taken at the least."""
    return dtype_of(node.attr("stash_type", 1), f"{node.label}: stash_type")


def check_unidirectional(x: Value, *parameters: Value | None) -> None:
    """ValueError when a parameter does not broadcast to the shape of ``x``."""
    for parameter in parameters:
        if parameter is not None and broadcast(parameter.shape, x.shape) != x.shape:
            raise ValueError(f"parameter {parameter.type} does not broadcast to {x.type}")


@operator("LayerNormalization", since=17)
class LayerNormalization:
    """The axes from ``axis`` on standardised together, times scale, plus b; also their mean and 1 / deviation.

    Taken in ``stash_type`` or the accumulator of x, whichever is wider; the latter two outputs have ``stash_type``.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        check_unidirectional(x, node.input(1), node.optional_input(2))
        axes = trailing(node, x.shape)
        moments = TensorType(stash(node), (*x.shape[: -len(axes)], *(1,) * len(axes)))
        return [x.type, moments, moments]

    @staticmethod
    def reference(
        node: Node, x: np.ndarray, scale: np.ndarray, b: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        axes, dtype = trailing(node, x.shape), stash(node)
        wide = x.astype(np.promote_types(accumulator(x.dtype), accumulator(dtype)), copy=False)
        mean = wide.mean(axes, keepdims=True)
        distance = wide - mean
        inverse = 1 / np.sqrt(np.square(distance).mean(axes, keepdims=True) + node.attr("epsilon", EPSILON))
        y = distance * inverse * widen(scale)
        if b is not None:
            y = y + widen(b)
        return round_to(y, x.dtype), round_to(mean, dtype), round_to(inverse, dtype)


@operator("RMSNormalization", since=23)
class RMSNormalization:
    """x over the root mean square of the axes from ``axis`` on, times scale; the result has the dtype of the scale."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, scale = node.input(0), node.input(1)
        check_unidirectional(x, scale)
        trailing(node, x.shape)
        stash(node)
        return [TensorType(scale.dtype, x.shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        wide = x.astype(np.promote_types(accumulator(x.dtype), accumulator(stash(node))), copy=False)
        square = np.square(wide).mean(trailing(node, x.shape), keepdims=True)
        return round_to(wide / np.sqrt(square + node.attr("epsilon", EPSILON)) * widen(scale), scale.dtype)


@operator("MeanVarianceNormalization", since=9)
class MeanVarianceNormalization:
    """(x - mean) / (deviation + 1e-9) over ``axes``, by default all but the channels of ``[N, C, H, W]``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        normalize_axes(node.attr("axes", (0, 2, 3)), len(x.shape))
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        axes = tuple(node.attr("axes", (0, 2, 3)))
        wide = widen(x)
        distance = wide - wide.mean(axes, keepdims=True)
        return round_to(distance / (np.sqrt(np.square(distance).mean(axes, keepdims=True)) + 1e-9), x.dtype)


@operator("LpNormalization")
class LpNormalization:
    """x over its ``p``-norm (1 or 2, default 2) along ``axis`` (default -1); 0 where the norm is 0."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, p = node.input(0), node.attr("p", 2)
        normalize_axis(node.attr("axis", -1), len(x.shape))
        if p not in (1, 2):
            raise ValueError(f"p = {p} is neither 1 nor 2")
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        wide = widen(x)
        norm = np.linalg.norm(wide, node.attr("p", 2), node.attr("axis", -1), keepdims=True)
        return round_to(np.divide(wide, norm, out=np.zeros_like(wide), where=norm != 0), x.dtype)


@operator("LRN")
class LRN:
    """x / (bias + alpha / size * s)^beta, s the sum of squares of the ``size`` channels of ``[N, C, ...]`` around."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        if node.attr("size", 0) < 1 or len(x.shape) < 2:
            raise ValueError(f"size {node.attr('size', 0)} channels of a tensor of rank {len(x.shape)}")
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        size = node.attr("size")
        wide, channels = widen(x), x.shape[1]
        square = np.square(wide)
        total = np.zeros_like(wide)
        # no further than the channels go: the window may be of any size
        for offset in range(max(-((size - 1) // 2), 1 - channels), min(size // 2, channels - 1) + 1):
            first, last = max(0, -offset), min(channels, channels - offset)
            total[:, first:last] += square[:, first + offset : last + offset]
        base = node.attr("bias", 1.0) + node.attr("alpha", 1e-4) / size * total
        return round_to(wide / base ** node.attr("beta", 0.75), x.dtype)
