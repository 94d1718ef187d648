"""The reference executor, the oracle: every node by its operator's reference, in order, nothing fused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from engine.cpu.kernel import Observer
from engine.cpu.processor import ProcessorExecutor
from engine.errors import TooLargeError
from engine.graph import bounds
from engine.graph.ir import Graph, Node, Value
from engine.ops import evaluate
from engine.ops.registry import evaluation_bytes

RUN = "a run of the model by its reference operators"
"""How messages name what takes the memory."""


class ReferenceExecutor(ProcessorExecutor):
    """Interprets a graph; an activation is freed once its last reader has run.

    Raises TooLargeError where the planned memory is more than the machine has.
    """

    backend = "reference"

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        last_use = {value: step for step, node in enumerate(graph.nodes) for value in node.used_inputs()}
        outputs = set(graph.outputs)
        self._dead_after: list[list[Value]] = [[] for _ in graph.nodes]
        for value, step in last_use.items():
            if value not in outputs and not value.is_constant:
                self._dead_after[step].append(value)
        self.activation_bytes, self.scratch_bytes = self._peak(_output_bytes), 0
        self.peak_bytes = self.activation_bytes
        self.weight_bytes = sum(value.type.nbytes for value in graph.constants())
        bounds.require(self._peak(evaluation_bytes), RUN)

    def _peak(self, node_bytes: Callable[[Node], int]) -> int:
        """The most bytes of activations alive at once, where a node takes that many while it runs."""
        alive = sum(value.type.nbytes for value in self.graph.inputs)
        peak = alive
        for node, dead in zip(self.graph.nodes, self._dead_after, strict=True):
            peak = max(peak, alive + node_bytes(node))
            alive += _output_bytes(node) - sum(value.type.nbytes for value in dead)
        return peak

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]:
        """The graph's outputs, in order; ``inputs`` fit the graph's inputs."""
        arrays: dict[Value, np.ndarray] = dict(zip(self.graph.inputs, inputs, strict=True))

        def array_of(value: Value | None) -> np.ndarray | None:
            if value is None:
                return None
            return arrays[value] if value.data is None else value.data

        for node, dead in zip(self.graph.nodes, self._dead_after, strict=True):
            start = time.perf_counter()
            results = evaluate(node, [array_of(value) for value in node.inputs])
            if observe is not None:
                observe(node.op, node.name, time.perf_counter() - start)
            arrays.update(
                (value, array) for value, array in zip(node.outputs, results, strict=False) if value is not None
            )
            for value in dead:
                del arrays[value]
        try:
            return [np.array(array_of(value)) for value in self.graph.outputs]
        except MemoryError as error:
            raise TooLargeError(f"{RUN}: there is no memory left for its outputs") from error

    def close(self) -> None:
        """Nothing to stop."""


def _output_bytes(node: Node) -> int:
    return sum(value.type.nbytes for value in node.used_outputs())
