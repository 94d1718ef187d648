"""Softmax, LogSoftmax and Hardmax (ONNX versions 1, 11 and 13)."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import accumulator, normalize_axis


def as_rows(node: Node, x: np.ndarray) -> np.ndarray:
    """``x`` with the elements that are normalised together on the last axis.

    Since version 13 that is one axis (default -1); before, all axes from ``axis`` (default 1) on, taken as one.
    """
    if node.version >= 13:
        return np.moveaxis(x, node.attr("axis", -1), -1)
    axis = normalize_axis(node.attr("axis", 1), x.ndim + 1)
    return x.reshape(*x.shape[:axis], -1)


def from_rows(node: Node, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of ``as_rows`` for a result of the same shape."""
    return np.moveaxis(rows, -1, node.attr("axis", -1)) if node.version >= 13 else rows.reshape(shape)


def less_row_max(rows: np.ndarray) -> np.ndarray:
    """``rows`` in the accumulator dtype minus each row's largest, so that exp cannot overflow."""
    rows = rows.astype(accumulator(rows.dtype))
    rows -= rows.max(axis=-1, keepdims=True)
    return rows


class _RowWise:
    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        normalize_axis(node.attr("axis", -1), len(x.shape) + (node.version < 13))
        return [x.type]


@operator("Softmax")
class Softmax(_RowWise):
    """exp(x) / sum(exp(x)), float16 computed in float32."""

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        e = np.exp(less_row_max(as_rows(node, x)))
        e /= e.sum(axis=-1, keepdims=True)
        return from_rows(node, e.astype(x.dtype, copy=False), x.shape)


@operator("LogSoftmax")
class LogSoftmax(_RowWise):
    """x - log(sum(exp(x))), float16 computed in float32."""

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        rows = less_row_max(as_rows(node, x))
        rows = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
        return from_rows(node, rows.astype(x.dtype, copy=False), x.shape)


@operator("Hardmax")
class Hardmax(_RowWise):
    """1 at the first largest element, 0 elsewhere."""

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        rows = as_rows(node, x)
        hot = np.zeros(rows.shape, x.dtype)
        np.put_along_axis(hot, rows.argmax(axis=-1)[..., None], 1, axis=-1)
        return from_rows(node, hot, x.shape)
