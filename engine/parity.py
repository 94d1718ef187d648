"""Two backends on one model: how far apart node by node, how far apart at the end.

A backend is compared with the oracle twice. Each node is fed the oracle's own inputs, which tells a wrong kernel from
inherited error; and the whole graph runs with its intermediate values as outputs, which shows how error grows. Both are
measured after the passes: a fused operator is one node, and has a reference of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine import arguments
from engine.errors import BackendError
from engine.graph.ir import Graph, Node, Value
from engine.graph.load import load
from engine.graph.model_file import ModelFile
from engine.graph.passes import optimize
from engine.session import Session, TensorInfo

RTOL = {"f32": 1e-3, "f32-strict": 1e-3, "f16": 1e-2}
"""The tolerance by precision, as a part of the largest magnitude of what is compared."""

INTERMEDIATE_BYTES = 512 << 20
"""Bytes of intermediate values that one run of the whole graph outputs; more of them take several runs."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest error: ``absolute``, and ``relative`` to the largest magnitude that the oracle has there.

    Infinite where one side is NaN or infinite and the other is not.
    """

    absolute: float
    relative: float


@dataclass(frozen=True, slots=True)
class NodeError:
    """One node, or one output of the model: its error on the oracle's inputs, and on what came before it (drift)."""

    op: str
    name: str
    shape: tuple[int, ...]
    error: Difference
    drift: Difference | None = None


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What was compared, and how it came out.

    ``outputs`` are the model's outputs from end to end, unchanged graph against unchanged graph; ``nodes`` are in
    running order, and empty unless they were asked for. ``rtol`` is the tolerance for both.
    """

    backend: str
    device: str
    against: str
    precision: str
    rtol: float
    outputs: tuple[NodeError, ...]
    nodes: tuple[NodeError, ...] = field(default=())

    @property
    def first_over(self) -> NodeError | None:
        """The first node over tolerance, or else the first output, or None."""
        return next((item for item in (*self.nodes, *self.outputs) if not item.error.relative <= self.rtol), None)


def compare(
    model: str | Path | bytes | ModelFile,
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    backend: str = "webgpu",
    against: str = "reference",
    per_node: bool = False,
    adapter: str | None = None,
    precision: str = "f32",
    rtol: float | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | str | None = None,
    input_values: Mapping[str, np.ndarray] | None = None,
) -> ParityReport:
    """Run ``model`` on ``backend`` and on ``against``, "reference" or "numpy", and compare.

    ``inputs`` are by name; without them normal deviates, always the same. ``rtol`` is RTOL's by default; what else
    there is means the same as for Session, and raises the same.
    """
    if against not in ("reference", "numpy"):
        raise BackendError(f"'{against}' is no oracle; compare against reference or numpy")
    file = model if isinstance(model, ModelFile) else ModelFile.read(model)
    options: dict[str, Any] = {"input_shapes": input_shapes, "outputs": outputs, "input_values": input_values}
    with (
        Session(file, backend=backend, adapter=adapter, precision=precision, **options) as candidate,
        Session(file, backend=against, **options) as oracle,
    ):
        feeds = deviates(candidate.inputs) if inputs is None else dict(arguments.mapping("inputs", inputs, "arrays"))
        results, expected = candidate.run(feeds), oracle.run(feeds)
        output_errors = tuple(
            NodeError("output", name, array.shape, difference(results[name], array)) for name, array in expected.items()
        )
        nodes: tuple[NodeError, ...] = ()
        if per_node:
            graph = load(file, **options)
            optimize(graph, candidate.pass_target)
            nodes = _Walk(graph, candidate, oracle, [feeds[value.name] for value in graph.inputs]).nodes()
        tolerance = RTOL[precision] if rtol is None else rtol
        info = candidate.info
        return ParityReport(
            backend=info.backend,
            device=info.device,
            against=against,
            precision=precision,
            rtol=tolerance,
            outputs=output_errors,
            nodes=nodes,
        )


def deviates(inputs: Sequence[TensorInfo]) -> dict[str, np.ndarray]:
    """An array for each input: normal deviates, or integers from 0 to 9, or to its limit; the same at every call."""
    random = np.random.default_rng(0)

    def array(info: TensorInfo) -> np.ndarray:
        if info.dtype.kind == "f":
            return np.asarray(random.standard_normal(info.shape))
        return np.asarray(random.integers(0, min(10, info.limits[1] + 1 if info.limits else 10), info.shape))

    return {info.name: array(info).astype(info.dtype) for info in inputs}


def difference(result: np.ndarray, expected: np.ndarray) -> Difference:
    """The largest error of ``result``; equal infinities and two NaN agree."""
    if not expected.size:
        return Difference(0.0, 0.0)
    with np.errstate(all="ignore"):
        a, b = result.astype(np.float64), expected.astype(np.float64)
        errors = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    absolute = float(np.where(np.isnan(errors), np.inf, errors).max())
    magnitude = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    return Difference(absolute, absolute / magnitude if magnitude else (np.inf if absolute else 0.0))


class _Walk:
    """A graph under the oracle, node by node, with the other backend beside it."""

    def __init__(self, graph: Graph, candidate: Session, oracle: Session, inputs: Sequence[np.ndarray]) -> None:
        self._graph, self._candidate, self._oracle, self._inputs = graph, candidate, oracle, inputs
        self._arrays = dict(zip(graph.inputs, inputs, strict=True))
        self._last = {value: step for step, node in enumerate(graph.nodes) for value in node.used_inputs()}
        self._rows: list[NodeError] = []
        self._pending: list[tuple[int, Value, np.ndarray]] = []

    def nodes(self) -> tuple[NodeError, ...]:
        for step, node in enumerate(self._graph.nodes):
            self._step(node)
            for value in set(node.used_inputs()):
                if self._last[value] == step:
                    self._arrays.pop(value, None)
            if sum(array.nbytes for _, _, array in self._pending) >= INTERMEDIATE_BYTES:
                self._drift(step + 1)
        self._drift(len(self._graph.nodes))
        return tuple(self._rows)

    def _step(self, node: Node) -> None:
        values = [value for value in node.used_outputs() if value in self._last or value in self._graph.outputs]
        if not values:
            return
        inputs = [value for value in dict.fromkeys(node.used_inputs()) if not value.is_constant]
        alone = Graph(inputs, values, [node], node.name)
        arrays = [self._arrays[value] for value in inputs]
        expected, results = self._run(self._oracle, alone, arrays), self._run(self._candidate, alone, arrays)
        for value, array, other in zip(values, expected, results, strict=True):
            self._arrays[value] = array
            self._pending.append((len(self._rows), value, array))
            name = node.name or value.name
            self._rows.append(NodeError(node.op, name, value.shape, difference(other, array)))

    def _drift(self, steps: int) -> None:
        """Run the first ``steps`` nodes as one graph, and compare their outputs with the pending ones."""
        if not self._pending:
            return
        values = [value for _, value, _ in self._pending]
        part = Graph(self._graph.inputs, values, self._graph.nodes[:steps], self._graph.name)
        for (row, _, expected), result in zip(
            self._pending, self._run(self._candidate, part, self._inputs), strict=True
        ):
            self._rows[row] = replace(self._rows[row], drift=difference(result, expected))
        self._pending = []

    def _run(self, session: Session, part: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with closing(session.executor(part, self._graph)) as executor:
            return executor.run(inputs)
