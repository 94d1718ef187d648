"""Operators that treat every element alike, cut along one axis and shared among the workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.cpu.epilogue import relu
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool
from engine.graph.ir import Node
from engine.ops.registry import apply_reference

UFUNCS: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Relu": relu,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Tanh": np.tanh,
}
"""Operators that NumPy computes straight into their output, for float32 and float64."""

BY_REFERENCE = {
    *(
        "Cast",
        "Clip",
        "Div",
        "Elu",
        "Erf",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Max",
        "Mean",
        "Min",
        "Mish",
    ),
    *("Pow", "PRelu", "Round", "Selu", "Sigmoid", "Softplus", "Softsign", "Sum", "Swish", "ThresholdedRelu", "Where"),
    *("And", "Or", "Not", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsNaN", "IsInf", "Ceil"),
    *("Sin", "Cos", "Sign"),
}
"""Operators whose reference is applied to each worker's part."""


def supports(node: Node) -> bool:
    """Whether the node treats every element alike and has one output."""
    return not node.domain and (node.op in BY_REFERENCE or node.op in UFUNCS)


class ElementwiseKernel(KernelBase):
    """One element-wise operator under NumPy broadcasting; the output may lie where an input of its type lies."""

    in_place = True

    def __init__(self, node: Node) -> None:
        self.node = node
        self.ufunc = UFUNCS.get(node.op) if node.output.dtype in (np.float32, np.float64) else None
        shape = node.output.shape
        self.axis = max(range(len(shape)), key=lambda axis: (shape[axis] > 1, -axis), default=None)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        y = present(outputs, 0)
        if self.axis is None:
            self._compute(inputs, y)
            return
        axis = self.axis - y.ndim

        def part(_: int, rows: tuple[int, int]) -> None:
            self._compute([_cut(x, axis, rows) for x in inputs], _cut(y, axis, rows))

        pool.each(part, pool.ranges(y.shape[axis], y.size * (0.15 if self.ufunc else 1)))

    def _compute(self, inputs: Tensors, y: np.ndarray) -> None:
        if self.ufunc is None:
            np.copyto(y, apply_reference(self.node, inputs)[0])
        else:
            with np.errstate(all="ignore"):
                self.ufunc(*inputs, out=y)


def _cut(x: np.ndarray | None, axis: int, rows: tuple[int, int]) -> Any:
    """The rows of ``x`` along ``axis`` counted from the end; all of one that broadcasts there."""
    if x is None or x.ndim < -axis or x.shape[axis] == 1:
        return x
    index: tuple[Any, ...] = (..., slice(*rows), *(slice(None),) * (-axis - 1))
    return x[index]
