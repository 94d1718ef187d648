"""The distinct layers of a model, each as a graph of one node that can be compiled and run alone.

A layer is what a table chooses a row for (engine/gpu/lowering/table.py), and equal keys are equal layers. Its tensors
have the types and the order of axes that they have in the model's plan, so that a case costs what the layer does there.
What is fused into it from other nodes is left out, apart from the activation of a FusedConv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.caps import Caps, Precision
from engine.compiled.model import CompiledModel
from engine.compiler import read_graph
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.lowering.missing_kernels import check
from engine.gpu.lowering.split_operands import allowed_caps
from engine.gpu.lowering.table import Decision
from engine.gpu.plan.compile_graph import compile_graph
from engine.gpu.plan.target import WebgpuTarget
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Graph, Node, TensorType, Value
from engine.graph.model_file import ModelFile

TOLERANCE = {"f32": 3e-5, "f32-strict": 3e-5, "f16": 5e-3}
"""The error that a row may have by precision, as a part of the layer's largest result."""

BYTE_TOLERANCE = 1 / 127
"""The same for results of 8 bits: one step."""

NAME = "layer"
"""The name of the one node that is measured."""


@dataclass(frozen=True, slots=True)
class Case:
    """One layer of a model, to be run alone.

    Attributes:
        key: its tuning key, which begins with the family.
        node: the node as the model has it, for its operator and name.
        graph: the graph of that node alone, between transpositions that cost nothing.
        outside: values that are stored as float32 in half precision too.
        precision: "f32" or "f16".
        caps: what the rows were chosen for.
        row: the row that the table takes of itself.
        rows: all rows that support the layer, in the table's order.
        count: how many layers of the model have this key.
        flops: the multiplications and additions of the first of them with that row.
    """

    key: str
    node: Node
    graph: Graph
    outside: frozenset[Value]
    precision: Precision
    caps: Caps
    row: str
    rows: tuple[str, ...]
    count: int = 1
    flops: int = 0
    _oracles: dict[int, tuple[list[np.ndarray], list[np.ndarray]]] = field(default_factory=dict, repr=False)

    @property
    def family(self) -> str:
        """The family whose table has the rows."""
        return self.key.split(" ", 1)[0]

    @property
    def tolerance(self) -> float:
        """The error that a row may have, as a part of the largest magnitude of the result."""
        dtype = self.graph.outputs[0].dtype
        if dtype.kind == "f":
            return TOLERANCE[self.precision]
        return BYTE_TOLERANCE if dtype.itemsize == 1 else 0.0

    def compile(self, row: str) -> CompiledModel:
        """The layer compiled with that row. Raises UnsupportedError where the row does not support it."""
        return compile_graph(
            self.graph, self.caps, precision=self.precision, outside=self.outside, choices={self.key: row}
        )

    def inputs(self, seed: int) -> list[np.ndarray]:
        """Random inputs: floats from -√3 to √3, which float16 holds in half precision, and integers."""
        random = np.random.default_rng(seed)
        return [_random(random, value, half=self.precision == "f16") for value in self.graph.inputs]

    def oracle(self, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The inputs of that seed, and the outputs that the NumPy executor has for them; those asked for last."""
        from engine.cpu.executor import NumpyExecutor

        if seed not in self._oracles:
            inputs, executor = self.inputs(seed), NumpyExecutor(self.graph)
            try:
                outputs = executor.run(inputs)
            finally:
                executor.close()
            self._oracles.clear()
            self._oracles[seed] = inputs, outputs
        return self._oracles[seed]

    def forget(self) -> None:
        """Let go of the oracle's arrays."""
        self._oracles.clear()


def cases(
    model: str | Path | bytes | ModelFile,
    caps: Caps,
    precision: Precision = "f32",
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> list[Case]:
    """The distinct layers of a model's plan for devices of those capabilities, in running order.

    Constants are the model's own. Raises what ``engine.compile`` raises.
    """
    half = precision == "f16"
    read = read_graph(
        model, input_shapes=input_shapes, outputs=None, input_values=None, pass_target=WebgpuTarget(caps, half)
    )
    return cases_of(read.graph, caps, precision)


def cases_of(graph: Graph, caps: Caps, precision: Precision = "f32") -> list[Case]:
    """``cases`` of a graph that the passes have gone over."""
    half = precision == "f16"
    check(graph, caps, half=half)
    caps = allowed_caps(graph, caps, precision)
    lowering = Lowering(graph, caps, half=half)
    lowering.run()
    by_key: dict[str, list[Decision[object]]] = {}
    for decision in lowering.decisions:
        by_key.setdefault(decision.key, []).append(decision)
    return [_case(key, decisions, lowering, precision) for key, decisions in by_key.items()]


def _case(key: str, decisions: Sequence[Decision[object]], lowering: Lowering, precision: Precision) -> Case:
    first = decisions[0]
    graph, outside = _alone(first.node, lowering)
    rows = {first.row.name, *first.alternatives}
    dispatches = [each for each, node in zip(lowering.dispatches, lowering.nodes, strict=True) if node is first.node]
    return Case(
        key=key,
        node=first.node,
        graph=graph,
        outside=outside,
        precision=precision,
        caps=lowering.caps,
        row=first.row.name,
        rows=tuple(row.name for row in first.table.rows if row.name in rows),
        count=len(decisions),
        flops=sum(dispatch.flops for dispatch in dispatches),
    )


def _alone(node: Node, lowering: Lowering) -> tuple[Graph, frozenset[Value]]:
    """The graph of one node of a lowered graph, and the values in it that stay float32."""
    outside: set[Value] = set()
    inputs: list[Value] = []
    views: list[Node] = []
    alone: dict[Value, Value] = {}
    for value in dict.fromkeys(node.used_inputs()):
        if value.is_constant:
            alone[value] = value
            continue
        tensor = lowering.tensor(_stored(value, lowering))
        source, view, transpose = _in_order(value, _order(tensor))
        inputs.append(source)
        views += transpose
        alone[value] = view
        if tensor.dtype == "f32":
            outside |= {source, view}
    outputs = [
        Value(value.name, value.type) if value is not None and lowering.is_read(node, index) else None
        for index, value in enumerate(node.outputs)
    ]
    outside |= {
        copy
        for copy, value in zip(outputs, node.outputs, strict=True)
        if copy is not None and value in lowering.graph.outputs
    }
    copy = Node(
        node.op,
        [None if value is None else alone[value] for value in node.inputs],
        [*outputs],
        node.attributes,
        domain=node.domain,
        version=node.version,
        name=NAME,
    )
    results = list(copy.used_outputs())
    nodes = [*views, copy]
    trial = Lowering(Graph(inputs, results, nodes), lowering.caps, half=lowering.half, outside=outside)
    trial.run()
    ends: list[Value] = []
    for value in results:
        order = _order(trial.tensor(value))
        end = value
        if order != tuple(range(len(order))):
            end = Value(f"{value.name}:dense", TensorType(value.dtype, tuple(value.shape[axis] for axis in order)))
            nodes.append(Node("Transpose", [value], [end], {"perm": list(order)}, version=13))
            outside |= {end} if value in outside else set()
        ends.append(end)
    return Graph(inputs, ends, nodes, node.label), frozenset(outside)


def _stored(value: Value, lowering: Lowering) -> Value:
    """``value``, or what the product that reads it normalises, which lies as ``value`` would."""
    joined = (node for node in lowering.joined if node.op == "LayerNormalization" and node.output is value)
    return next((node.input(0) for node in joined), value)


def _order(tensor: Tensor) -> tuple[int, ...]:
    """The axes of a tensor from the outermost to the innermost; those that do not move stay where they are."""
    if tensor.is_dense() or 0 in tensor.strides:
        return tuple(range(tensor.rank))
    return tuple(sorted(range(tensor.rank), key=lambda axis: -tensor.strides[axis]))


def _in_order(value: Value, order: tuple[int, ...]) -> tuple[Value, Value, list[Node]]:
    """An input that lies in that order of axes, the view of it with the axes of ``value``, and what makes the view."""
    if order == tuple(range(len(order))):
        source = Value(value.name, value.type)
        return source, source, []
    shape = tuple(value.shape[axis] for axis in order)
    source, view = Value(f"{value.name}:dense", TensorType(value.dtype, shape)), Value(value.name, value.type)
    permutation = [order.index(axis) for axis in range(len(order))]
    return source, view, [Node("Transpose", [source], [view], {"perm": permutation}, version=13)]


def _random(random: np.random.Generator, value: Value, *, half: bool) -> np.ndarray:
    dtype, shape = value.dtype, value.shape
    if dtype.kind == "f":
        array = (random.random(shape, np.float32) * 2 - 1) * np.float32(3**0.5)
        return (array.astype(np.float16) if half else array).astype(dtype)
    if dtype == np.bool_:
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return random.integers(0, 10, shape).astype(dtype)
