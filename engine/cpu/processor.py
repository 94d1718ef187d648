"""What the executors that run on the processor have in common: time node by node, and no GPU to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from engine.cpu.kernel import Observer
from engine.errors import BackendError
from engine.kernel_time import KernelTime


class ComputedRun:
    """A run that was computed when it was submitted."""

    done, overflowed = True, False

    def __init__(self, results: list[np.ndarray]) -> None:
        self._results = results

    def result(self) -> list[np.ndarray]:
        """The outputs."""
        return self._results

    def drop(self) -> None:
        """There is no place that another run waits for."""


class ProcessorExecutor:
    """The base of both; ``backend`` is the name by which a session knows it."""

    backend: ClassVar[str]
    looks_for_nan: bool = False
    under_way: int = 0
    """Runs are computed as they are submitted."""

    milliseconds: Mapping[str, float] = MappingProxyType({})
    """Wall time of the stages of the last run: there are none beside the nodes."""

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]:
        """The graph's outputs, in order, as arrays of their own; ``inputs`` fit the graph's inputs."""
        raise NotImplementedError

    def submit(self, inputs: Sequence[np.ndarray], *, allow_nan: bool) -> ComputedRun:  # noqa: ARG002 (one signature)
        """Compute the outputs; what was asked is done when this returns."""
        return ComputedRun(self.run(inputs))

    def profile(self, inputs: Sequence[np.ndarray]) -> list[KernelTime]:
        """Run once; the wall time of each node."""
        times: list[KernelTime] = []
        self.run(inputs, lambda op, node, seconds: times.append(KernelTime(op, node, op, seconds)))
        return times

    def gpu_seconds(self, runs: int = 1) -> list[float]:  # noqa: ARG002 (one signature for all)
        """Raises BackendError: nothing runs on a GPU."""
        raise BackendError(f"backend '{self.backend}' runs on the processor; there is no GPU to ask")
