"""What operators that treat every element alike share: broadcasting, one dtype, float16 computed in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.graph.dtypes import name_of
from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import accumulator, broadcast

FLOAT, SIGNED, NUMBER, INTEGER, BOOLEAN = "f", "fi", "fiu", "iu", "b"
"""Sets of NumPy dtype kinds that an operator may take."""


def widen(x: np.ndarray) -> np.ndarray:
    """``x`` in its accumulator dtype: float16 as float32, anything else unchanged and not copied."""
    return x.astype(accumulator(x.dtype), copy=False)


def round_to(y: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """``y`` as an array of ``dtype``; what overflows float16 becomes infinite, as IEEE 754 rounds it."""
    with np.errstate(over="ignore"):
        return np.asarray(y).astype(dtype, copy=False)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """An operator whose result depends, element by element, on inputs of one dtype under NumPy broadcasting.

    ``function`` maps the widened arrays, and as keywords those of ``attributes`` that the node gives, to the result:
    its own defaults are the operator's. The result has the dtype of the inputs, or ``result``.
    """

    function: Callable[..., Any]
    kinds: str
    result: np.dtype[Any] | None
    attributes: tuple[str, ...]

    def infer(self, node: Node) -> list[TensorType]:
        """Broadcast shape; ValueError when the inputs differ in dtype or have one of the wrong kind."""
        node.input(0)
        values = list(node.used_inputs())
        dtype = values[0].dtype
        if any(value.dtype != dtype for value in values):
            raise ValueError("the inputs must have one dtype")
        if dtype.kind not in self.kinds:
            raise ValueError(f"dtype {name_of(dtype)} is not defined for it")
        return [TensorType(self.result or dtype, broadcast(*(value.shape for value in values)))]

    def reference(self, node: Node, *arrays: np.ndarray) -> np.ndarray:
        """Apply the function; infinities and NaN come out as IEEE 754 has them."""
        options = {name: node.attributes[name] for name in self.attributes if name in node.attributes}
        with np.errstate(all="ignore"):
            y = self.function(*map(widen, arrays), **options)
        return round_to(y, self.result or arrays[0].dtype)


def elementwise(
    name: str,
    function: Callable[..., Any],
    *,
    since: int = 1,
    kinds: str = FLOAT,
    result: type[np.generic] | None = None,
    attributes: tuple[str, ...] = (),
) -> None:
    """Register ``function`` as the ONNX operator ``name`` from version ``since`` on; see Elementwise."""
    dtype = None if result is None else np.dtype(result)
    operator(name, since=since)(Elementwise(function, kinds, dtype, attributes))
