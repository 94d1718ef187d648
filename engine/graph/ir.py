"""The intermediate representation: a static graph in single-assignment form.

Every value has one producer, a dtype and a shape of plain integers. Nothing in it is symbolic: the loader binds the
input shapes first, so passes, planners and executors never meet an unknown dimension.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from engine.errors import ModelError
from engine.graph.dtypes import name_of

INTERNAL_DOMAIN = "engine"
"""The domain of the fused operators that passes make and that no model file contains."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """The dtype and the static shape of a tensor; a scalar has shape ``()``."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the dense tensor."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{name_of(self.dtype)}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Quantized:
    """What a float32 constant was dequantised from: ``data`` is (integers - zero) scale, rounded once.

    ``integers`` are int8 or uint8, of the constant's shape. ``scale`` (float32) and ``zero`` (int32) broadcast to it.
    Those of a matrix may be in blocks along ``axis``: with a ``block`` other than 0 both have one entry for so many
    positions there, of which the last block may have fewer.
    """

    integers: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    block: int = 0
    axis: int = 0


@dataclass(eq=False, slots=True)
class Value:
    """An edge of the graph. ``data`` holds the array of a constant and is None for what only a run can know.

    ``quantized`` says of a constant which integers in the file it came from, so that a backend can keep these.
    ``narrow`` is the 4-bit type that elements of an input of bytes have in the file, "int4" or "uint4", "" for others.
    ``whole`` is the type for all images of a batch, where the value holds some of them alone.
    """

    name: str
    type: TensorType
    data: np.ndarray | None = None
    quantized: Quantized | None = None
    narrow: str = ""
    whole: TensorType | None = None

    @property
    def named_type(self) -> TensorType:
        """The type by which messages name the value: that of the user's model."""
        return self.whole or self.type

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @staticmethod
    def constant(name: str, data: np.ndarray) -> Value:
        """A value that is known before anything runs."""
        return Value(name, TensorType(data.dtype, data.shape), data)


@dataclass(eq=False, slots=True)
class Node:
    """One operator applied to values.

    ``version`` is the operator-set version the model imports for ``domain`` (not the operator's own since-version): an
    operator whose meaning changed compares against it. An omitted optional input or output is None.
    """

    op: str
    inputs: list[Value | None]
    outputs: list[Value | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    version: int = 1
    name: str = ""

    def attr(self, name: str, default: Any = None) -> Any:
        """The attribute's value, or ``default`` where the model leaves it out."""
        return self.attributes.get(name, default)

    def input(self, index: int) -> Value:
        """The input at ``index``; ModelError when it is left out."""
        value = self.optional_input(index)
        if value is None:
            raise ModelError(f"{self.label}: required input {index} is missing")
        return value

    def optional_input(self, index: int) -> Value | None:
        """The input at ``index``, or None where the node leaves it out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> np.ndarray | None:
        """The array of the constant input at ``index``; None where it is left out or only known at run time."""
        value = self.optional_input(index)
        return None if value is None else value.data

    @property
    def output(self) -> Value:
        """The first output, which every operator has."""
        value = self.outputs[0]
        if value is None:
            raise ModelError(f"{self.label}: the first output is missing")
        return value

    @property
    def label(self) -> str:
        """How messages name this node."""
        return f"{self.op} '{self.name}'" if self.name else self.op

    def used_inputs(self) -> Iterator[Value]:
        """The inputs that are given, in order."""
        return (value for value in self.inputs if value is not None)

    def used_outputs(self) -> Iterator[Value]:
        """The outputs that are named, in order."""
        return (value for value in self.outputs if value is not None)


@dataclass(eq=False, slots=True)
class Graph:
    """Nodes in an order in which they can run, between named inputs and outputs."""

    inputs: list[Value]
    outputs: list[Value]
    nodes: list[Node]
    name: str = ""

    def producers(self) -> dict[Value, Node]:
        """For each value that a node makes, that node."""
        return {value: node for node in self.nodes for value in node.used_outputs()}

    def consumers(self) -> dict[Value, list[Node]]:
        """For each value that a node reads, its readers in running order (a node that reads it twice stands once)."""
        readers: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.used_inputs()):
                readers.setdefault(value, []).append(node)
        return readers

    def constants(self) -> list[Value]:
        """Every constant that a node reads or that is an output, each once."""
        inputs = (value for node in self.nodes for value in node.used_inputs())
        return [value for value in dict.fromkeys([*inputs, *self.outputs]) if value.is_constant]

    def replace_values(self, replacement: dict[Value, Value]) -> None:
        """Make every reader of a key read its value instead; chains of replacements are followed."""
        if not replacement:
            return

        def final(value: Value) -> Value:
            while value in replacement:
                value = replacement[value]
            return value

        for node in self.nodes:
            node.inputs = [None if value is None else final(value) for value in node.inputs]
        self.outputs = [final(value) for value in self.outputs]

    def histogram(self) -> Counter[str]:
        """How many nodes of each operator there are."""
        return Counter(node.op for node in self.nodes)
