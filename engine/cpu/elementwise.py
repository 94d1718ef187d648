"""Operators that treat every element alike, and chains of them, cut into blocks and shared among the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from engine.cpu.chain import Chain, is_chain, takes
from engine.cpu.kernel import Kernel, KernelBase, Tensors, present
from engine.cpu.threads import Do, Pool, Range
from engine.graph.ir import Node
from engine.ops.registry import apply_reference

OPERATORS = {
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Cos",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
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
    "Log",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "PRelu",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
    "Where",
    "Xor",
}
"""Operators that treat every element alike."""


UFUNCS: dict[str, Callable[..., Any]] = {
    "And": np.logical_and,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
}
"""Operators that NumPy computes straight into their output, whatever they are given."""

STRIP_BYTES = 1 << 19
"""Bytes of a block: references make arrays of its size on the way, and the calls of a chain pass over it in turn."""


def supports(node: Node) -> bool:
    """Whether the node treats every element alike and has one output."""
    return is_chain(node) or (not node.domain and node.op in OPERATORS)


def elementwise_kernel(node: Node) -> Kernel:
    """The kernel of such a node, or of several that are one step."""
    return ChainKernel(node) if is_chain(node) or takes(node) else ElementwiseKernel(node)


class ElementwiseKernel(KernelBase):
    """One element-wise operator under NumPy broadcasting, by its reference; the output may lie where an input lies."""

    static = True
    in_place = True

    def __init__(self, node: Node) -> None:
        self.node = node
        self.compute = _compute_of(node)
        self.blocks = Blocks(node)
        self.nanoseconds = float(node.output.type.size)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        inputs, y = self.blocks.shaped(inputs, present(outputs, 0))

        def part(_: int, rows: Range) -> None:
            for index in self.blocks.within(rows):
                self.compute(*[None if x is None else cut(x, index, y.ndim) for x in inputs], out=y[index])

        pool.each(part, pool.ranges(self.blocks.rows, self.nanoseconds))


def _compute_of(node: Node) -> Callable[..., Any]:
    """The node as a function of its inputs and ``out``."""
    if node.op in UFUNCS:
        return UFUNCS[node.op]
    if node.op == "Cast" and node.input(0).dtype == np.bool_ and node.output.dtype.kind in "biuf":
        return lambda x, out: np.copyto(out, x)
    return lambda *inputs, out: np.copyto(out, apply_reference(node, inputs)[0])


class ChainKernel(KernelBase):
    """Element-wise float32 nodes, block by block; the output may lie where an input of its type lies."""

    static = True
    in_place = True

    def __init__(self, step: Node) -> None:
        self.chain = Chain(step.attributes["nodes"] if is_chain(step) else [step])
        self.blocks = Blocks(step)
        self.sources = [step.inputs.index(value) for value in self.chain.given]
        size = step.output.type.size
        self.scratch = self.chain.registers * min(size, self.blocks.largest)
        self.nanoseconds = size * self.chain.nanoseconds

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        inputs, y = self.blocks.shaped([inputs[source] for source in self.sources], present(outputs, 0))

        def part(do: Do, worker: int, rows: Range) -> None:
            for index in self.blocks.within(rows):
                given = [cut(x, index, y.ndim) for x in inputs if x is not None]
                self.chain.run(given, None, y[index], pool.scratch(worker), do)

        pool.each_by_calls(part, pool.ranges(self.blocks.rows, self.nanoseconds))


class Blocks:
    """How the output of a step is cut: into rows along its first long axis, and these into blocks of STRIP_BYTES."""

    def __init__(self, step: Node) -> None:
        shape = step.output.shape
        # inputs that do not broadcast are one long line, which cuts evenly
        self.flat = all(value.shape == shape or value.type.size == 1 for value in step.used_inputs())
        if self.flat:
            shape = (step.output.type.size,)
        self.axis = max(range(len(shape)), key=lambda axis: (shape[axis] > 1, -axis), default=0)
        self.rows = shape[self.axis] if shape else 1
        # a row may be long itself, and is then cut along the next axis
        inner = shape[self.axis + 1 :]
        elements = STRIP_BYTES // 4
        self.count = max(1, elements // max(1, prod(inner)))
        self.inner = min(inner[0], max(1, elements // prod(inner[1:]))) if inner and self.count == 1 else 0
        self.extent = inner[0] if inner else 0
        self.largest = self.count * prod(inner) if not self.inner else self.inner * prod(inner[1:])

    def shaped(self, inputs: Tensors, y: np.ndarray) -> tuple[list[np.ndarray | None], np.ndarray]:
        """Inputs and output as the blocks cut them."""
        if not self.flat:
            return list(inputs), y
        return [None if x is None else x.reshape(-1 if x.size > 1 else ()) for x in inputs], y.reshape(-1)

    def within(self, rows: Range) -> Iterator[Index]:
        """The blocks of some rows."""
        lead = (slice(None),) * self.axis
        for first in range(rows[0], rows[1], self.count):
            whole = (*lead, slice(first, min(first + self.count, rows[1])))
            if not self.inner:
                yield whole
            else:
                for second in range(0, self.extent, self.inner):
                    yield (*whole, slice(second, second + self.inner))


Index = tuple[slice, ...]


def cut(x: np.ndarray, index: Index, rank: int) -> np.ndarray:
    """The part of ``x`` under a block of an output of ``rank`` axes; all of it along axes that it broadcasts along."""
    missing = rank - x.ndim
    if missing == 0 and 1 not in x.shape:
        return x[index]
    own = index[missing:]
    whole = tuple(slice(None) if x.shape[axis] == 1 else part for axis, part in enumerate(own))
    return x[whole] if whole else x[...]  # of a scalar, too, a view
