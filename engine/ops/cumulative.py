"""CumSum-11/14 and CumProd-26: the running sum and product along an axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import round_to, widen
from engine.ops.registry import operator
from engine.ops.types import normalize_axis


@dataclass(frozen=True, slots=True)
class Cumulative:
    """Element i is made of elements 0 to i, without i itself when ``exclusive``, from the end when ``reverse``."""

    function: Callable[..., np.ndarray]
    neutral: int

    def infer(self, node: Node) -> list[TensorType]:
        if node.input(1).type.size != 1:
            raise ValueError("the axis must be a scalar")
        return [node.input(0).type]

    def reference(self, node: Node, x: np.ndarray, axis: np.ndarray) -> np.ndarray:
        along = normalize_axis(int(axis.item()), x.ndim)
        y = np.moveaxis(widen(x), along, -1)
        if node.attr("reverse", 0):
            y = y[..., ::-1]
        if node.attr("exclusive", 0) and y.shape[-1]:
            first = np.full_like(y[..., :1], self.neutral)
            y = np.concatenate((first, y[..., :-1]), axis=-1)
        with np.errstate(all="ignore"):
            y = self.function(y, -1, dtype=y.dtype)
        if node.attr("reverse", 0):
            y = y[..., ::-1]
        return round_to(np.moveaxis(y, -1, along), x.dtype)


operator("CumSum", since=11)(Cumulative(np.cumsum, 0))
operator("CumProd", since=26)(Cumulative(np.cumprod, 1))
