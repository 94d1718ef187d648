"""Reductions over axes.

ReduceSum-1/11/13; ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp and
ReduceSumSquare-1/11/13/18, of which Max and Min also 12 and 20, LogSum and LogSumExp also 28.

The axes are an attribute before version 18 (13 for ReduceSum) and a static input from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import static_ints
from engine.ops.arithmetic import divide
from engine.ops.elementwise import BOOLEAN, NUMBER, round_to, widen
from engine.ops.registry import operator
from engine.ops.types import normalize_axes

Axes = tuple[int, ...]


def reduced_shape(shape: tuple[int, ...], axes: Axes, keepdims: bool) -> tuple[int, ...]:
    """``shape`` with the extents of ``axes`` (counted from the front) 1, or without them."""
    return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape) if keepdims or axis not in axes)


def reduction_sum(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Sum in the dtype of x; 0 over nothing."""
    y: np.ndarray = x.sum(axes, dtype=x.dtype, keepdims=True)
    return y


def reduction_mean(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Sum over count; for integers summed in 64 bits and rounded toward zero."""
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))
    if x.dtype.kind == "f":
        return reduction_sum(x, axes) / count
    total = x.sum(axes, keepdims=True)
    return divide(total, np.asarray(count, total.dtype))


def reduction_max(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Largest element, NaN before all; the smallest value of the dtype over nothing."""
    y: np.ndarray = x.max(axes, keepdims=True, initial=extreme(x.dtype, largest=False))
    return y


def reduction_min(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Smallest element, NaN before all; the largest value of the dtype over nothing."""
    y: np.ndarray = x.min(axes, keepdims=True, initial=extreme(x.dtype, largest=True))
    return y


def extreme(dtype: np.dtype[Any], *, largest: bool) -> Any:
    """The largest or smallest value of ``dtype``."""
    if dtype.kind == "f":
        return np.inf if largest else -np.inf
    if dtype.kind == "b":
        return largest
    return np.iinfo(dtype).max if largest else np.iinfo(dtype).min


def reduction_product(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Product in the dtype of x; 1 over nothing."""
    y: np.ndarray = x.prod(axes, dtype=x.dtype, keepdims=True)
    return y


def reduction_l1(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Sum of magnitudes."""
    return reduction_sum(np.abs(x), axes)


def reduction_sum_square(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Sum of squares."""
    return reduction_sum(np.square(x), axes)


def reduction_l2(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Root of the sum of squares."""
    y: np.ndarray = np.sqrt(reduction_sum_square(_real(x), axes))
    return y


def reduction_log_sum(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Logarithm of the sum."""
    y: np.ndarray = np.log(reduction_sum(_real(x), axes))
    return y


def reduction_log_sum_exp(x: np.ndarray, axes: Axes) -> np.ndarray:
    """Logarithm of the sum of exponentials, each taken relative to the largest so that none overflows."""
    x = _real(x)
    top = reduction_max(x, axes)
    top = np.where(np.isfinite(top), top, 0)
    y: np.ndarray = np.log(reduction_sum(np.exp(x - top), axes)) + top
    return y


def _real(x: np.ndarray) -> np.ndarray:
    """``x``, integers as float64: a root or logarithm of theirs is rounded once, at the end."""
    return x if x.dtype.kind == "f" else x.astype(np.float64)


@dataclass(frozen=True, slots=True)
class Reduction:
    """``function`` (widened x, axes) keeps the reduced axes with extent 1.

    The axes are an input from version ``input_since`` on. ``keepdims`` (default 1) decides whether they stay. Without
    axes every axis is reduced, or, with ``noop_with_empty_axes``, none: the function then still maps each element.
    """

    function: Callable[[np.ndarray, Axes], np.ndarray]
    kinds: str
    input_since: int

    def axes(self, node: Node, rank: int) -> Axes:
        """The reduced axes, counted from the front; ValueError when one is outside ``rank`` or stands twice."""
        if node.version >= self.input_since:
            axes = static_ints(node, 1) if node.optional_input(1) else ()
        else:
            axes = node.attr("axes") or ()
        if not axes and not node.attr("noop_with_empty_axes", 0):
            return tuple(range(rank))
        return normalize_axes(axes, rank)

    def infer(self, node: Node) -> list[TensorType]:
        x = node.input(0)
        if x.dtype.kind not in self.kinds:
            raise ValueError(f"dtype {x.dtype.name} is not defined for it")
        axes = self.axes(node, len(x.shape))
        return [TensorType(x.dtype, reduced_shape(x.shape, axes, bool(node.attr("keepdims", 1))))]

    def reference(self, node: Node, x: np.ndarray, _: np.ndarray | None = None) -> np.ndarray:
        axes = self.axes(node, x.ndim)
        with np.errstate(all="ignore"):
            y = round_to(self.function(widen(x), axes), x.dtype)
        return y if node.attr("keepdims", 1) else y.squeeze(axes)


REDUCTIONS = {
    "ReduceSum": Reduction(reduction_sum, NUMBER, 13),
    "ReduceMean": Reduction(reduction_mean, NUMBER, 18),
    "ReduceMax": Reduction(reduction_max, NUMBER + BOOLEAN, 18),
    "ReduceMin": Reduction(reduction_min, NUMBER + BOOLEAN, 18),
    "ReduceProd": Reduction(reduction_product, NUMBER, 18),
    "ReduceL1": Reduction(reduction_l1, NUMBER, 18),
    "ReduceL2": Reduction(reduction_l2, NUMBER, 18),
    "ReduceLogSum": Reduction(reduction_log_sum, NUMBER, 18),
    "ReduceLogSumExp": Reduction(reduction_log_sum_exp, NUMBER, 18),
    "ReduceSumSquare": Reduction(reduction_sum_square, NUMBER, 18),
}
"""By operator."""

for _name, _reduction in REDUCTIONS.items():
    operator(_name, static=[1])(_reduction)
