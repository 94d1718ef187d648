"""The NumPy executor: kernels and memory are fixed at load, a run calls one kernel after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from math import inf

import numpy as np

from engine.cpu.batch import part_of
from engine.cpu.chain import is_chain
from engine.cpu.fuse_chains import fuse_chains
from engine.cpu.kernel import Kernel, Observer, ReferenceKernel, Tensors
from engine.cpu.lower import lower
from engine.cpu.march import Job, March, Recorder, beside, joined
from engine.cpu.plan import VIEWS, MemoryPlan, plan_memory
from engine.cpu.processor import ProcessorExecutor
from engine.cpu.threads import Pool, single_threaded_blas, turn
from engine.errors import TooLargeError
from engine.forks import numerics
from engine.graph import bounds
from engine.graph.bounds import needs_direct
from engine.graph.ir import Graph, Node, Value
from engine.ops.registry import MISFITS, evaluation_bytes, misfit

Step = tuple[Node, Kernel, Tensors, Tensors]
"""A node without data, what computes it, what it reads and what it writes."""

Jobs = list[Job]
"""What static steps that follow each other hand to the workers."""

FORK_WAIT = 1e-3
"""Seconds after which a fork may go ahead between two steps; to hold it back takes as long as a small step."""

MARCH_NS = 3e6
"""What steps that workers go through together may take in all, by estimate: a fork waits for all of them."""

RUN = "a run of the model on the processor"
"""How messages name what takes the memory."""


class NumpyExecutor(ProcessorExecutor):
    """Runs a graph on the CPU; runs take turns, whichever thread and executor they come from.

    Where the images of a batch can be computed apart, each thread goes through all steps with images of its own, in
    memory of its own (`engine.cpu.batch`); otherwise all threads share each step.

    ``direct`` is what ``needs_direct`` says of the graph, for a caller who knows: it reads all weights. Raises
    TooLargeError where the planned memory is more than the machine has.
    """

    backend = "numpy"

    def __init__(self, graph: Graph, threads: int | None = None, *, direct: bool | None = None) -> None:
        self.pool = Pool(threads)
        direct = needs_direct(graph) if direct is None else direct
        self._types = [value.type for value in graph.outputs]
        part = part_of(graph, self.pool.threads)
        lanes = 1 if part is None else self.pool.threads
        graph = fuse_chains(part or graph)
        with single_threaded_blas():  # threads of BLAS cost more in waiting for each other than small transforms take
            kernels = [lower(node, direct=direct) for node in graph.nodes]
        plan = plan_memory(graph, [kernel.in_place for kernel in kernels])
        scratch = max((kernel.scratch for kernel in kernels), default=0)
        reference_bytes = [evaluation_bytes(kernel.node) for kernel in kernels if isinstance(kernel, ReferenceKernel)]
        nbytes = lanes * (plan.nbytes + max(reference_bytes, default=0)) + 4 * scratch * self.pool.threads
        bounds.require(nbytes, RUN)
        try:
            self.pool.reserve(scratch)
            self._memory = np.empty((lanes, plan.nbytes), np.uint8)
        except MemoryError as error:
            raise TooLargeError(f"{RUN} takes {nbytes:,} bytes, which this machine has not left") from error
        self.activation_bytes, self.scratch_bytes = self._memory.nbytes, self.pool.scratch_bytes
        self.peak_bytes = self._memory.nbytes
        self.weight_bytes = sum(value.type.nbytes for value in graph.constants())
        self._lanes = [_Lane(graph, kernels, plan, block) for block in self._memory]
        self._steps = self._lanes[0].steps
        self._marches: list[Jobs | Step] = []

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]:
        """The graph's outputs, in order, as arrays of their own; ``inputs`` fit the graph's inputs.

        With ``observe`` the steps run one by one, which takes a little longer.
        """
        with turn():
            self.pool.settle()
            self._take(inputs)
            if observe is None:
                self._run_marches()
            else:
                steps = zip(*[lane.steps for lane in self._lanes], strict=True)
                while self._run_some(steps, observe):
                    pass
            try:
                return self._results()
            except MemoryError as error:
                raise TooLargeError(f"{RUN}: there is no memory left for its outputs") from error

    def _take(self, inputs: Sequence[np.ndarray]) -> None:
        """Copy the inputs to where each lane reads its part of them."""
        for number, lane in enumerate(self._lanes):
            for target, array in zip(lane.inputs, inputs, strict=True):
                np.copyto(target, array if len(self._lanes) == 1 else _part_of(array, number, len(self._lanes)))

    def _results(self) -> list[np.ndarray]:
        """Copies of the outputs, put together of the lanes' parts."""
        if len(self._lanes) == 1:
            return [np.array(output) for output in self._lanes[0].outputs]
        results = [np.empty(kind.shape, kind.dtype) for kind in self._types]
        for number, lane in enumerate(self._lanes):
            for result, output in zip(results, lane.outputs, strict=True):
                np.copyto(_part_of(result, number, len(self._lanes)), output)
        return results

    def _run_marches(self) -> None:
        """Run all steps, of which static ones that follow each other are one march."""
        if not self._marches:
            self._marches = list(self._record())
        for part in self._marches:
            with numerics.shared(), np.errstate(all="ignore"):  # infinities and NaN are results
                if isinstance(part, list):
                    march = March(part, self.pool.threads)
                    self.pool.together(march.run, march.stop, max((len(job.items) for job in part), default=1))
                else:
                    _run_step(part, self.pool)

    def _record(self) -> Iterator[Jobs | Step]:
        """The jobs of static steps, as many at a time as a fork may wait for, and the other steps between them."""
        alone = len(self._lanes) > 1
        recorders = [Recorder(self.pool, number if alone else None) for number in range(len(self._lanes))]
        together: list[Jobs] = [[] for _ in self._lanes]
        taken = 0.0

        def march() -> Jobs:
            jobs = beside(together) if alone else joined(together[0])
            together[:] = [[] for _ in self._lanes]
            return jobs

        for steps in zip(*[lane.steps for lane in self._lanes], strict=True):
            node, kernel, *_ = steps[0]
            jobs = [
                recorder.record(node, partial(_run_step, step)) if kernel.static else None
                for recorder, step in zip(recorders, steps, strict=True)
            ]
            takes = self._nanoseconds(kernel, jobs[0] or [])
            if together[0] and (jobs[0] is None or taken + takes > MARCH_NS):
                yield march()
                taken = 0.0
            for step, lane, some in zip(steps, together, jobs, strict=True):
                if some is None:
                    yield step
                else:
                    lane += some
            taken += takes
        if together[0]:
            yield march()

    def _nanoseconds(self, kernel: Kernel, jobs: Jobs) -> float:
        """What the jobs of a step, or of one lane of it, take about, with as many workers as they have items for."""
        items = max((len(job.items) for job in jobs), default=0)
        if not items:
            return 0.0
        if not kernel.nanoseconds:
            return inf
        return kernel.nanoseconds / (1 if len(self._lanes) > 1 else min(items, self.pool.threads))

    def _run_some(self, steps: Iterator[tuple[Step, ...]], observe: Observer) -> bool:
        """Run steps for as long as a fork may have to wait, one at least. Whether there was one."""
        begin = None
        with numerics.shared(), np.errstate(all="ignore"):
            for lanes in steps:
                start = time.perf_counter()
                begin = start if begin is None else begin
                for step in lanes:
                    _run_step(step, self.pool)
                end = time.perf_counter()
                node, *_ = lanes[0]
                observe(node.op, node.name, end - start)
                if end - begin > FORK_WAIT:
                    break
        return begin is not None

    def close(self) -> None:
        """Stop the workers."""
        self.pool.close()


class _Lane:
    """The steps of a graph in ``memory``: that of all images of a batch, or of as many as one thread computes."""

    def __init__(self, graph: Graph, kernels: Sequence[Kernel], plan: MemoryPlan, memory: np.ndarray) -> None:
        def tensor(value: Value) -> np.ndarray:
            if value.data is not None:
                # a weight in a mapped file begins at any byte: aligned once, or each product would copy it
                value.data = np.require(value.data, requirements="A")
                return value.data
            start = plan.offsets[value]
            return memory[start : start + value.type.nbytes].view(value.dtype).reshape(value.shape)

        def tensors(values: Sequence[Value | None]) -> Tensors:
            return [None if value is None else tensor(value) for value in values]

        self.inputs = [tensor(value) for value in graph.inputs]
        self.outputs = [tensor(value) for value in graph.outputs]
        self.steps: list[Step] = [
            (_without_data(node), kernel, tensors(_run_inputs(node, kernel)), tensors(node.outputs))
            for node, kernel in zip(graph.nodes, kernels, strict=True)
            # without elements there is nothing to compute, and many kernels take no empty tensor
            if (node.op not in VIEWS or node.domain) and any(value.type.size for value in node.used_outputs())
        ]


def _part_of(array: np.ndarray, number: int, parts: int) -> np.ndarray:
    """One of equal parts along the first axis."""
    size = len(array) // parts
    return array[number * size : (number + 1) * size]


def _run_step(step: Step, pool: Pool) -> None:
    node, kernel, sources, targets = step
    try:
        kernel.run(sources, targets, pool)
    except MISFITS as error:
        raise misfit(node, error) from error


def _run_inputs(node: Node, kernel: Kernel) -> list[Value | None]:
    """The node's inputs without those that the kernel has prepacked, so that their arrays can be freed."""
    return [None if index in kernel.prepacked else value for index, value in enumerate(node.inputs)]


def _without_data(node: Node) -> Node:
    """The node as errors and observers name it, holding no weights; of a chain, all of its operators."""
    types = [None if value is None else Value(value.name, value.named_type) for value in node.inputs]
    op = "+".join(member.op for member in node.attributes["nodes"]) if is_chain(node) else node.op
    return Node(op, list(types), [], domain=node.domain, version=node.version, name=node.name)
