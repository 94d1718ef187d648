"""Runs that are cut into submissions: how many, that they compute the same, and that an interrupt is seen between."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from engine.compiled.model import Command
from engine.gpu.device.device import Device
from engine.gpu.run.executor import GpuExecutor
from engine.gpu.run.submissions import FIRST_FLOPS, FIRST_SOFTWARE_FLOPS, SUBMISSION_SECONDS, Submissions
from tests.engine.gpu.gpu import executor_of
from tests.engine.models import feeds, load_graph, model, node

FAST, SLOW = 1e18, 4e8
"""Operations a second: with the first everything fits one submission, with the second the network takes several."""

LAYERS = 8
CHAIN = model(
    [node("Conv", f"t{index} w", f"t{index + 1}", pads=[1] * 4) for index in range(LAYERS)],
    {"t0": [1, 16, 64, 64]},
    f"t{LAYERS}",
    {"w": np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32) / 12},
)


@pytest.fixture
def executor() -> Iterator[GpuExecutor]:
    executor = executor_of(load_graph(CHAIN))
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    return feeds(load_graph(CHAIN))


def test_results_are_the_same_however_a_run_is_cut(executor: GpuExecutor, inputs: list[np.ndarray]) -> None:
    executor.submissions.flops_per_second = FAST
    (whole,) = executor.run(inputs)
    assert executor.submissions.count == 1
    counts = []
    for rate in (SLOW, SLOW / 3, 1.0):
        executor.submissions.flops_per_second = rate
        (cut,) = executor.run(inputs)
        assert np.array_equal(cut, whole)
        counts.append(executor.submissions.count)
    assert 1 < counts[0] < counts[1] < counts[2] == len(executor.plan.commands)


def test_a_submission_takes_no_longer_than_it_may(executor: GpuExecutor) -> None:
    submissions, commands = executor.submissions, executor.plan.commands
    submissions.flops_per_second, submissions.count = SLOW, 7
    ranges = submissions.ranges()
    assert submissions.count == 7  # that of the last run
    assert [first for first, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == len(commands)
    for first, end in ranges:
        seconds = sum(command.flops for command in commands[first:end]) / SLOW
        assert seconds <= SUBMISSION_SECONDS or end == first + 1


def test_the_rate_of_a_run_decides_how_the_next_is_cut(executor: GpuExecutor, inputs: list[np.ndarray]) -> None:
    assert executor.submissions.flops_per_second is None
    executor.run(inputs)
    measured = executor.submissions.flops_per_second
    assert measured is not None
    assert measured > 0
    executor.submissions.flops_per_second = FAST
    executor.run(inputs)
    assert executor.submissions.flops_per_second < FAST / 1e3


def test_an_interrupt_between_submissions_leaves_a_session_that_runs_again(
    executor: GpuExecutor, inputs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = executor.run(inputs)
    executor.submissions.flops_per_second = SLOW
    reads = 0
    read = Device.read

    def interrupted(self: Device, staging: object, nbytes: int) -> np.ndarray:
        nonlocal reads
        reads += 1
        if reads == 2:
            raise KeyboardInterrupt
        return read(self, staging, nbytes)

    with monkeypatch.context() as patch:
        patch.setattr(Device, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.run(inputs)
    assert reads == 2 > executor.submissions.count
    for _ in range(2):
        assert np.array_equal(executor.run(inputs)[0], expected)


def command(flops: int) -> Command:
    return Command(
        "", "", "", flops=flops, bytes=0, program=0, uniform=0, uniform_bytes=16, bindings=(), grid=(1, 1, 1)
    )


def simulated(
    commands: list[Command], rate: float, *, software: bool, once: float = 0.0, runs: int = 2
) -> list[list[float]]:
    """The seconds of each submission of each run on a device of that rate, which does something ``once`` at first."""
    submissions, seconds = Submissions(commands, software=software), []
    for _ in range(runs):
        submissions.begin()
        seconds.append([])
        first = 0
        while first < len(commands):
            end = submissions.end(first)
            taken = sum(each.flops for each in commands[first:end]) / rate + once
            once = 0.0
            seconds[-1].append(taken)
            submissions.finished(first, end, taken)
            first = end
    return seconds


NETWORK = [command(10**8)] * 15000
"""As much as Swin-L at 1024², in pieces."""


def test_a_fast_device_takes_one_submission_from_the_second_run_on() -> None:
    # an H200 does 20 TFLOP/s, and its driver 0.2 s of work at the first submission
    first, *later = simulated(NETWORK, 2e13, software=False, once=0.2, runs=4)
    assert len(first) <= 3
    assert [len(run) for run in later] == [1, 1, 1]
    assert len(simulated(NETWORK, 2e13, software=False)[0]) == 2


@pytest.mark.parametrize(("rate", "software"), [(1e11, False), (1e12, False), (5e9, True), (5e10, True)])
def test_a_slow_device_is_never_held_for_long(rate: float, software: bool) -> None:
    runs = simulated(NETWORK, rate, software=software)
    assert max(map(max, runs)) <= 1.01 * SUBMISSION_SECONDS
    assert runs[0][0] * rate == (FIRST_SOFTWARE_FLOPS if software else FIRST_FLOPS)
    # nor are there more of them than that takes, but for those that the first run begins with
    least = sum(map(sum, runs)) / len(runs) / SUBMISSION_SECONDS
    assert len(runs[1]) <= len(runs[0]) <= 1.1 * least + 4
