"""The reference executor, the oracle: every node by its operator's reference, in order, nothing fused."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from engine.cpu.kernel import Observer
from engine.graph.ir import Graph, Value
from engine.ops import evaluate


class ReferenceExecutor:
    """Interprets a graph; an activation is freed once its last reader has run."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        last = {value: step for step, node in enumerate(graph.nodes) for value in node.used_inputs()}
        kept = set(graph.outputs)
        self._freed: list[list[Value]] = [[] for _ in graph.nodes]
        for value, step in last.items():
            if value not in kept and not value.is_constant:
                self._freed[step].append(value)
        self.activation_bytes, self.scratch_bytes = self._peak(), 0

    def _peak(self) -> int:
        alive = sum(value.type.nbytes for value in self.graph.inputs)
        peak = alive
        for node, freed in zip(self.graph.nodes, self._freed, strict=True):
            alive += sum(value.type.nbytes for value in node.used_outputs())
            peak = max(peak, alive)
            alive -= sum(value.type.nbytes for value in freed)
        return peak

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]:
        """The graph's outputs, in order; ``inputs`` fit the graph's inputs."""
        arrays: dict[Value, np.ndarray] = dict(zip(self.graph.inputs, inputs, strict=True))

        def known(value: Value | None) -> np.ndarray | None:
            if value is None:
                return None
            return arrays[value] if value.data is None else value.data

        for node, freed in zip(self.graph.nodes, self._freed, strict=True):
            started = time.perf_counter()
            results = evaluate(node, [known(value) for value in node.inputs])
            if observe is not None:
                observe(node.op, node.name, time.perf_counter() - started)
            arrays.update(
                (value, array) for value, array in zip(node.outputs, results, strict=False) if value is not None
            )
            for value in freed:
                del arrays[value]
        return [np.array(known(value)) for value in self.graph.outputs]

    def close(self) -> None:
        """Nothing to stop."""
