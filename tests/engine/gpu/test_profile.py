"""Times by the GPU's own clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import BackendError
from engine.gpu.device.device import Device
from engine.gpu.run import profile
from engine.gpu.run.executor import GpuExecutor
from engine.gpu.run.profile import command_seconds, gpu_seconds
from engine.kernel_time import kernel_time
from tests.engine.gpu.gpu import device
from tests.engine.models import feeds, load_graph, model, node

WEIGHTS = np.ones((8, 8, 3, 3), np.float32)
CHAIN = model(
    [
        node("Conv", "x w", "a", name="first", pads=[1] * 4),
        node("MaxPool", "a", "b", name="middle", kernel_shape=[2, 2]),
        node("Conv", "b w", "y", name="last", pads=[1] * 4),
    ],
    {"x": [1, 8, 32, 32]},
    "y",
    {"w": WEIGHTS},
)


@pytest.fixture
def executor() -> Iterator[GpuExecutor]:
    if not device().timestamps:
        pytest.skip(f"{device().adapter} has no timestamps: TIMING IS NOT TESTED")
    executor = GpuExecutor(load_graph(CHAIN), device())
    yield executor
    executor.close()


def test_every_command_gets_a_time(executor: GpuExecutor) -> None:
    executor.run(feeds(load_graph(CHAIN)))
    durations = command_seconds(executor)
    assert len(durations) == len(executor.plan.commands)
    assert all(0 <= duration < 60 for duration in durations)
    assert sum(durations) > 0


@pytest.mark.wall_clock
def test_whole_runs_take_about_what_their_commands_take(executor: GpuExecutor) -> None:
    executor.run(feeds(load_graph(CHAIN)))
    gpu_seconds(executor, 1)
    whole, parts = min(gpu_seconds(executor, 5)), min(sum(command_seconds(executor)) for _ in range(5))
    assert len(gpu_seconds(executor, 2)) == 2
    assert whole > 0
    assert parts / 20 < whole < parts * 20


def test_observing_changes_no_result(executor: GpuExecutor) -> None:
    inputs = feeds(load_graph(CHAIN))
    rows: list[tuple[str, str, float]] = []
    (plain,) = executor.run(inputs)
    (observed,) = executor.run(inputs, lambda *row: rows.append(row))
    assert np.array_equal(plain, observed)
    assert {"first", "middle", "last"} <= {name for _, name, _ in rows}


def test_more_passes_than_one_query_set_holds(executor: GpuExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "QUERIES", 64)  # resolved at multiples of 256 bytes
    seconds = gpu_seconds(executor, 70)
    assert len(seconds) == 70
    assert min(seconds) > 0


def test_a_device_without_timestamps_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = GpuExecutor(load_graph(CHAIN), device())
    monkeypatch.setattr(device(), "timestamps", False)
    with pytest.raises(BackendError, match="has no timestamp queries"):
        command_seconds(executor)


class Ticks(Device):
    """A device whose clock reads what a test says."""

    def __init__(self, ticks: list[int]) -> None:
        self._ticks = np.array(ticks, np.uint64)

    @property
    def tick_seconds(self) -> float:
        return 0.5

    def read(self, *_: object) -> np.ndarray:
        return self._ticks.view(np.uint8)


def test_passes_that_overlap_are_not_counted_twice() -> None:
    watch = profile.Stopwatch.__new__(profile.Stopwatch)
    watch._nbytes, watch._staging, watch._device = 64, None, Ticks([10, 20, 12, 26, 30, 34, 31, 33])
    assert watch.seconds() == [5.0, 3.0, 2.0, 0.0]


def test_figures_of_a_command(executor: GpuExecutor) -> None:
    command = next(command for command in executor.plan.commands if command.dispatch.flops)
    assert command.share == 1
    whole = kernel_time(command, 0.5)
    assert whole.kernel == command.dispatch.kernel
    assert whole.flops == command.dispatch.flops > 2 * 8 * 8 * 9 * 30 * 30
    assert whole.nbytes >= 2 * 8 * 32 * 32 * 4 + WEIGHTS.nbytes
    assert kernel_time(replace(command, share=0.25), 0.5).flops == round(whole.flops / 4)
