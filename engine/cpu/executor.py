"""The NumPy executor: kernels and memory are fixed at load, a run calls one kernel after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from engine.cpu.kernel import Observer, Tensors
from engine.cpu.lower import lower
from engine.cpu.plan import VIEWS, plan_memory
from engine.cpu.threads import Pool, turn
from engine.graph.ir import Graph, Value


class NumpyExecutor:
    """Runs a graph on the CPU; runs take turns, whichever thread and executor they come from."""

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        self.pool = Pool(threads)
        kernels = [lower(node) for node in graph.nodes]
        plan = plan_memory(graph, [kernel.in_place for kernel in kernels])
        self.pool.reserve(max((kernel.scratch for kernel in kernels), default=0))
        self.activation_bytes, self.scratch_bytes = plan.nbytes, self.pool.scratch_bytes
        self._memory = np.empty(plan.nbytes, np.uint8)

        def tensor(value: Value | None) -> np.ndarray | None:
            if value is None or value.data is not None:
                return None if value is None else value.data
            start = plan.offsets[value]
            return self._memory[start : start + value.type.nbytes].view(value.dtype).reshape(value.shape)

        def tensors(values: Sequence[Value | None]) -> Tensors:
            return [tensor(value) for value in values]

        self._inputs = tensors(graph.inputs)
        self._outputs = tensors(graph.outputs)
        self._steps = [
            (node.op, node.name, kernel, tensors(node.inputs), tensors(node.outputs))
            for node, kernel in zip(graph.nodes, kernels, strict=True)
            if node.op not in VIEWS or node.domain
        ]

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]:
        """The graph's outputs, in order, as arrays of their own; ``inputs`` fit the graph's inputs."""
        with turn():
            for target, array in zip(self._inputs, inputs, strict=True):
                if target is not None:
                    np.copyto(target, array)
            for op, name, kernel, sources, targets in self._steps:
                started = time.perf_counter()
                kernel.run(sources, targets, self.pool)
                if observe is not None:
                    observe(op, name, time.perf_counter() - started)
            return [np.array(output) for output in self._outputs]

    def close(self) -> None:
        """Stop the workers."""
        self.pool.close()
