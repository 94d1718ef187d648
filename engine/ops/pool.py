"""MaxPool (ONNX versions 1, 8, 10, 11, 12), AveragePool (7, 10, 11, 19) and LpPool (2, 11, 18).

A window slides over the spatial axes of ``[N, C, *spatial]``. What a version does not know (ceil_mode, dilations, the
second output of MaxPool) its models do not hold, so one meaning serves all versions.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from engine.errors import ModelError
from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import accumulator
from engine.ops.window import Window, resolve

PADDED_KERNEL = 128
"""Positions that a kernel may have along an axis of fewer: each costs a pass, and all beyond the axis see padding."""


def pool_window(node: Node, shape: tuple[int, ...]) -> Window:
    """The sliding window of a pooling node over an input of ``shape``; ValueError where it does not fit."""
    kernel = node.attr("kernel_shape")
    if kernel is None:
        raise ModelError(f"{node.label}: attribute kernel_shape is required")
    if len(shape) < 3:
        raise ValueError(f"rank {len(shape)} has no spatial axes")
    window = resolve(node, shape[2:], tuple(kernel))
    if any(taps > max(extent, PADDED_KERNEL) for taps, extent in zip(window.kernel, shape[2:], strict=True)):
        raise ValueError(f"a kernel of {window.kernel} over {shape[2:]} sees little but padding")
    return window


def _output_type(node: Node) -> TensorType:
    x = node.input(0)
    return TensorType(x.dtype, (*x.shape[:2], *pool_window(node, x.shape).out))


def _padded_bytes(node: Node) -> int:
    """Bytes of the padded input, widened, and of the positions under it."""
    shape = node.input(0).shape
    return (prod(shape[:2]) + 1) * prod(pool_window(node, shape).padded(shape[2:])) * 8


def lowest(dtype: np.dtype[Any]) -> Any:
    """The value of ``dtype`` that no other is below."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


@operator("MaxPool")
class MaxPool:
    """The largest element under the window, and where it stands.

    The second output, int64, is the element's index in the whole flattened x; with ``storage_order`` 1 the spatial part
    is counted with the first spatial axis fastest. Of equal elements the first in the window counts.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        y = _output_type(node)
        return [y, TensorType(np.dtype(np.int64), y.shape)]

    @staticmethod
    def workspace(node: Node) -> int:
        return _padded_bytes(node)

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        window = pool_window(node, x.shape)
        spatial = x.shape[2:]
        positions = np.arange(prod(spatial)).reshape(spatial)
        if node.attr("storage_order", 0):
            positions = np.arange(prod(spatial)).reshape(spatial[::-1]).T
        padded = window.pad(x, lowest(x.dtype))
        sources = window.pad(positions[None, None], -1)
        first = (0,) * len(window.kernel)
        y = window.tap(padded, first).copy()
        argmax = np.broadcast_to(window.tap(sources, first), y.shape).copy()
        for offsets in np.ndindex(*window.kernel):
            candidate, source = window.tap(padded, offsets), window.tap(sources, offsets)
            # The first element on the input wins over padding, even where both are the lowest value.
            better = (source >= 0) & ((candidate > y) | (argmax < 0) | (np.isnan(candidate) & ~np.isnan(y)))
            np.copyto(y, candidate, where=better)
            np.copyto(argmax, source, where=better)
        planes = np.arange(prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * len(spatial))
        return y, np.where(argmax < 0, -1, argmax + planes * prod(spatial))


def _tap_sum(window: Window, x: np.ndarray) -> np.ndarray:
    padded = window.pad(x)
    y = np.zeros((*x.shape[:2], *window.out), x.dtype)
    for offsets in np.ndindex(*window.kernel):
        y += window.tap(padded, offsets)
    return y


class _Pooling:
    """What operators with one pooled output share."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        return [_output_type(node)]

    @staticmethod
    def workspace(node: Node) -> int:
        return _padded_bytes(node)


@operator("AveragePool")
class AveragePool(_Pooling):
    """The mean under the window, of the input alone or with ``count_include_pad`` of input and padding."""

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        window = pool_window(node, x.shape)
        wide_dtype = accumulator(x.dtype)
        total = _tap_sum(window, x.astype(wide_dtype, copy=False))
        count = window.counts(x.shape[2:], bool(node.attr("count_include_pad", 0)))
        # A window on padding alone has the sum 0; its mean is 0, not 0 / 0.
        return (total / np.maximum(count, 1).astype(wide_dtype)).astype(x.dtype, copy=False)


@operator("LpPool", since=2)
class LpPool(_Pooling):
    """The p-norm under the window; padding adds nothing."""

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        p = node.attr("p", 2)
        powers = np.abs(x.astype(accumulator(x.dtype), copy=False)) ** p
        total = _tap_sum(pool_window(node, x.shape), powers)
        return (total ** (1 / p)).astype(x.dtype, copy=False)
