"""Operators that treat every element alike, cut along one axis and shared among the workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.cpu.epilogue import relu
from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
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
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Cos",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Gelu",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Not",
    "Or",
    "Pow",
    "PRelu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sum",
    "Swish",
    "ThresholdedRelu",
    "Where",
    "Xor",
}
"""Operators whose reference is applied to each worker's part."""


PART = 1 << 17
"""Elements that a reference is given at a time."""


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
        # inputs that do not broadcast are one long line, which cuts evenly
        self.flat = all(value.shape in (shape, ()) for value in node.used_inputs())
        if self.flat:
            shape = (node.output.type.size,)
        self.axis = max(range(len(shape)), key=lambda axis: (shape[axis] > 1, -axis))
        self.rows = shape[self.axis]
        # a reference makes arrays of its own on the way: parts that stay in cache keep them small
        self.max_rows = None if self.ufunc else max(1, PART * self.rows // max(1, node.output.type.size))
        self.nanoseconds = node.output.type.size * (0.15 if self.ufunc else 1)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        y = present(outputs, 0)
        if self.flat:
            y, inputs = y.reshape(-1), [x.reshape(-1) if x is not None and x.ndim else x for x in inputs]
        axis = self.axis - y.ndim

        def part(_: int, rows: Range) -> None:
            self._compute([_rows_of(x, axis, rows) for x in inputs], _rows_of(y, axis, rows))

        pool.each(part, pool.ranges(self.rows, self.nanoseconds, self.max_rows))

    def _compute(self, inputs: Tensors, y: np.ndarray) -> None:
        if self.ufunc is None:
            np.copyto(y, apply_reference(self.node, inputs)[0])
        else:
            self.ufunc(*inputs, out=y)


def _rows_of(x: np.ndarray | None, axis: int, rows: Range) -> Any:
    """The rows of ``x`` along ``axis`` counted from the end; all of one that broadcasts there."""
    if x is None or x.ndim < -axis or x.shape[axis] == 1:
        return x
    index: tuple[Any, ...] = (..., slice(*rows), *(slice(None),) * (-axis - 1))
    return x[index]
