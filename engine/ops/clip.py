"""Clip: bounds as attributes (ONNX Clip-6) or as optional scalar inputs (Clip-11/12/13)."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import round_to, widen
from engine.ops.registry import operator

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def clip(x: np.ndarray, low: np.ndarray | float | None, high: np.ndarray | float | None) -> np.ndarray:
    """min(max(x, low), high), so ``high`` where the bounds cross; NaN stays NaN; None is no bound."""
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


@operator("Clip", since=6, until=10)
class ClipByAttributes:
    """Bounds ``min`` and ``max``, by default the largest finite float32 of either sign."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        return [node.input(0).type]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        y = clip(widen(x), node.attr("min", -_FLOAT32_MAX), node.attr("max", _FLOAT32_MAX))
        return round_to(y, x.dtype)


@operator("Clip", since=11)
class Clip:
    """Bounds as scalars of the dtype of x, known at run time at the latest."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        for bound in filter(None, (node.optional_input(1), node.optional_input(2))):
            if bound.type.size != 1 or bound.dtype != x.dtype:
                raise ValueError("a bound must be a scalar of the dtype of x")
        return [x.type]

    @staticmethod
    def reference(_: Node, x: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None) -> np.ndarray:
        return clip(x, None if low is None else low.reshape(()), None if high is None else high.reshape(()))
