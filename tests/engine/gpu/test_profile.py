"""Times by the GPU's own clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from engine.errors import BackendError
from engine.gpu.device.device import Device
from engine.gpu.run import profile
from engine.gpu.run.executor import GpuExecutor
from tests.engine.gpu.gpu import device, executor_of
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
    executor = executor_of(load_graph(CHAIN))
    yield executor
    executor.close()


def test_every_command_gets_a_time(executor: GpuExecutor) -> None:
    durations = [time.seconds for time in executor.profile(feeds(load_graph(CHAIN)))]
    assert len(durations) == len(executor.plan.commands)
    assert all(0 <= duration < 60 for duration in durations)
    assert sum(durations) > 0


@pytest.mark.wall_clock
def test_whole_runs_take_about_what_their_commands_take(executor: GpuExecutor) -> None:
    inputs = feeds(load_graph(CHAIN))
    executor.run(inputs)
    executor.gpu_seconds(1)
    whole = min(executor.gpu_seconds(5))
    parts = min(sum(time.seconds for time in executor.profile(inputs)) for _ in range(5))
    assert len(executor.gpu_seconds(2)) == 2
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
    seconds = executor.gpu_seconds(70)
    assert len(seconds) == 70
    assert min(seconds) > 0


def test_a_device_without_timestamps_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = executor_of(load_graph(CHAIN))
    monkeypatch.setattr(device(), "timestamps", False)
    with pytest.raises(BackendError, match="has no timestamp queries"):
        executor.profile(feeds(load_graph(CHAIN)))


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
    times = executor.profile(feeds(load_graph(CHAIN)))
    first = next(time for time in times if (time.node, time.kernel) == ("first", "conv"))
    assert first.op == "Conv"
    assert first.flops == 2 * 8 * 8 * 9 * 32 * 32
    assert first.nbytes >= 2 * 8 * 32 * 32 * 4 + WEIGHTS.nbytes


def test_a_run_that_is_cut_is_measured_whole(executor: GpuExecutor) -> None:
    executor.run(feeds(load_graph(CHAIN)))
    executor.submissions.flops_per_second = 1.0
    assert len(executor.submissions.ranges()) == len(executor.plan.commands)
    assert len(executor.gpu_seconds(3)) == 3
    times = executor.profile(feeds(load_graph(CHAIN)))
    assert [time.node for time in times] == [command.node for command in executor.plan.commands]
