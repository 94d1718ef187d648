"""What a layer takes with a row of its table, by the GPU's own clock, and how far its result is from the oracle's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.compiled.model import CompiledModel, GpuPlan
from engine.gpu.device.device import Device
from engine.gpu.run.executor import GpuExecutor
from engine.parity import difference
from engine.tuning.cases import NAME, Case

PASS_SECONDS = 1e-3
"""Seconds of a measurement at the least: shorter layers run several times in one."""

MOST_REPEATS = 64
"""Runs of a layer in one measurement at the most."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a layer took with a row.

    ``seconds`` is the median of several measurements. ``error`` is the largest one, as a part of the largest magnitude
    of the oracle's result, and infinite where NaN is left. ``flops`` are the multiplications and additions of the
    direct algorithm, ``nbytes`` what is read and written at the least, both of all dispatches of the layer.
    """

    key: str
    row: str
    seconds: float
    error: float
    tolerance: float
    flops: int
    nbytes: int
    dispatches: int
    kernels: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether the result is within the tolerance."""
        return self.error <= self.tolerance


class Trial:
    """A case compiled with one of its rows, on a device: its result held to the oracle's, and its time.

    ``model`` is what ``compile_ahead`` gave. ``error`` is NaN until ``check`` has run. Raises UnsupportedError where
    the row does not support the layer, BackendError where the device fails or has no timestamps, TooLargeError where
    its memory is too small.
    """

    def __init__(self, device: Device, case: Case, row: str, model: CompiledModel | None = None) -> None:
        self.case, self.row, self.error = case, row, float("nan")
        self._executor = GpuExecutor(model or case.compile(row), device, in_flight=1)
        plan: GpuPlan = self._executor.plan
        self._commands = [index for index, command in enumerate(plan.commands) if command.node == NAME]
        commands = [plan.commands[index] for index in self._commands]
        self.flops = sum(command.flops for command in commands)
        self.nbytes = sum(command.bytes for command in commands)
        self.kernels = tuple(plan.programs[command.program].kernel for command in commands)
        self._repeats = 1

    def check(self, seed: int = 0) -> float:
        """Hold the ``outputs`` on fresh inputs to the oracle's. Returns the error, which ``error`` keeps."""
        return self.compare(seed, self.outputs(seed))

    def outputs(self, seed: int) -> list[np.ndarray]:
        """What the device has for the inputs of that seed, with NaN where the results will be."""
        inputs, _ = self.case.oracle(seed)
        self._executor.fill_outputs(0xFF)
        return self._executor.run(inputs)

    def compare(self, seed: int, outputs: Sequence[np.ndarray]) -> float:
        """The error of ``outputs`` for that seed, which ``error`` keeps."""
        _, expected = self.case.oracle(seed)
        self.error = max((_error(result, array) for result, array in zip(outputs, expected, strict=True)), default=0.0)
        return self.error

    @property
    def is_right(self) -> bool:
        """Whether the last ``check`` was within the tolerance."""
        return self.error <= self.case.tolerance

    def sample(self) -> float:
        """The seconds of the layer by one measurement, on the inputs of the last ``check``."""
        (together,) = self._executor.part_seconds(self._commands * self._repeats)
        seconds = together / self._repeats
        self._repeats = max(1, min(MOST_REPEATS, round(PASS_SECONDS / max(seconds, 1e-9))))
        return seconds

    def wake(self) -> float:
        """``sample`` until the device's clock is up and the figure stands; the last one."""
        return self._executor.device.core_clock.wake(self.sample)

    def timing(self, seconds: float) -> Timing:
        """The record of a layer that took ``seconds``."""
        return Timing(
            key=self.case.key,
            row=self.row,
            seconds=seconds,
            error=self.error,
            tolerance=self.case.tolerance,
            flops=self.flops,
            nbytes=self.nbytes,
            dispatches=len(self._commands),
            kernels=self.kernels,
        )

    def close(self) -> None:
        """Free what it holds on the device."""
        self._executor.close()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _error(result: np.ndarray, expected: np.ndarray) -> float:
    """The largest error of a result as a part of the largest magnitude of what is expected."""
    if expected.dtype != np.float32 or not expected.size:
        return difference(result, expected).relative
    with np.errstate(invalid="ignore"):
        errors = result - expected
    largest = max(-float(errors.min()), float(errors.max()))
    magnitude = max(-float(expected.min()), float(expected.max()))
    # the long way where one of them is NaN or infinite, and where all is 0
    return (
        abs(largest) / magnitude
        if 0 < magnitude < np.inf and largest < np.inf
        else difference(result, expected).relative
    )


def compile_ahead(device: Device, case: Case, row: str) -> CompiledModel:
    """A case compiled with a row; threads have begun to compile its programs, which they do while another is measured.

    Raises what ``case.compile`` raises.
    """
    model = case.compile(row)
    assert isinstance(model.plan, GpuPlan)
    for program in model.plan.programs:
        device.compile(program, trusted=True)
    return model
