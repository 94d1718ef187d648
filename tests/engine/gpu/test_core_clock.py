"""A GPU that was idle is woken before it is measured: for long once, and no longer than it takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from types import SimpleNamespace

import pytest

from engine.gpu.device import core_clock
from engine.gpu.device.core_clock import AWAKE_SECONDS, IDLE_SECONDS, LONGEST, WAKE_SECONDS, CoreClock
from engine.gpu.device.device import Device
from tests.engine.gpu.gpu import device, executor_of
from tests.engine.models import feeds, load_graph, model, node


class Work:
    """A measurement that takes ``seconds`` of the GPU and ``beside`` of the host, and gives ``figures``."""

    def __init__(self, now: list[float], clock: CoreClock, seconds: float, *, beside: float = 0.0) -> None:
        self.now, self.clock, self.seconds, self.beside = now, clock, seconds, beside
        self.figures: Iterator[float] = repeat(1.0)
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        self.now[0] += self.seconds + self.beside
        self.clock.worked(self.seconds)
        return next(self.figures)


@pytest.fixture(name="now")
def _now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(core_clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_what_was_idle_is_woken_for_long_and_once(now: list[float]) -> None:
    clock = CoreClock(varies=True)
    assert clock.is_down
    work = Work(now, clock, WAKE_SECONDS / 8)
    clock.wake(work)
    assert work.count == 8
    assert not clock.is_down
    clock.wake(work)
    assert work.count == 8 + 1
    now[0] += 0.9 * IDLE_SECONDS
    work()  # what is measured meanwhile keeps it awake
    now[0] += 0.9 * IDLE_SECONDS
    assert not clock.is_down
    now[0] += 0.2 * IDLE_SECONDS
    assert clock.is_down


def test_a_measurement_of_an_idle_gpu_does_not_wake_it(now: list[float]) -> None:
    clock = CoreClock(varies=True)
    work = Work(now, clock, WAKE_SECONDS / 8)
    clock.wake(work)
    now[0] += 2 * IDLE_SECONDS
    work()
    assert clock.is_down


def test_a_long_measurement_is_no_pause(now: list[float]) -> None:
    clock = CoreClock(varies=True)
    work = Work(now, clock, 4 * IDLE_SECONDS)
    clock.wake(work)
    work()
    assert not clock.is_down


def test_it_waits_for_a_figure_that_stands_and_not_for_ever(now: list[float]) -> None:
    clock = CoreClock(varies=True)
    work = Work(now, clock, WAKE_SECONDS)
    work.figures = chain([5.0, 3.0, 1.5], repeat(1.0))
    assert clock.wake(work) == 1.0
    assert work.count == 5
    work = Work(now, CoreClock(varies=True), WAKE_SECONDS / 100, beside=WAKE_SECONDS / 10)
    work.clock.wake(work)
    assert work.count * WAKE_SECONDS * 0.11 == pytest.approx(LONGEST * WAKE_SECONDS, rel=0.05)


def test_a_software_adapter_has_no_clock_to_wake(now: list[float]) -> None:
    clock = CoreClock(varies=False)
    assert not clock.is_down
    work = Work(now, clock, AWAKE_SECONDS / 2)
    clock.wake(work)
    assert work.count == 2
    work = Work(now, clock, 2 * LONGEST * AWAKE_SECONDS)
    clock.wake(work)
    assert work.count == 1


def test_every_measurement_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    if not device().timestamps:
        pytest.skip(f"{device().adapter} has no timestamps: NOTHING IS MEASURED")
    noted: list[float] = []
    monkeypatch.setattr(CoreClock, "worked", lambda _, seconds: noted.append(seconds))
    graph = load_graph(model([node("Exp", "x", "y")], {"x": [4096]}, "y"))
    executor = executor_of(graph)
    try:
        profile = executor.profile(feeds(graph))
        assert noted == [sum(kernel.seconds for kernel in profile)]
        together = sum(executor.gpu_seconds(3))
        assert noted[1:] == [together]
    finally:
        executor.close()


def test_hardware_has_one() -> None:
    opened: Device = device()
    assert opened.core_clock.varies is not opened.adapter.software
