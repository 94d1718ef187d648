"""The pipeline with several lanes, lost lanes, memory, and which stage holds the others up."""

from __future__ import annotations

import gc
import math
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from nss.pipeline import busy
from nss.pipeline.budget import MemoryBudget
from nss.pipeline.lanes import CallLane, Lane, LaneLostError, Ready
from nss.pipeline.pipeline import Pipeline
from tests.nss.pipeline.pipeline_stages import Reports, identity, pipeline_threads, work_through
from tests.wall_clock import wait_until


def test_a_lost_lane_gives_its_jobs_to_the_others_before_newer_ones() -> None:
    lost: list[int] = []
    others: list[int] = []
    begun, both = threading.Event(), threading.Event()

    class Lost(Lane[int, int, int]):
        depth = 3

        def submit(self, job: int, _: int) -> Any:
            lost.append(job)
            begun.set()
            return self

        def result(self) -> int:
            assert both.wait(60)
            raise LaneLostError("pulled out")

    class Other(Lane[int, int, int]):
        def submit(self, job: int, loaded: int) -> Any:
            assert begun.wait(60)
            both.set()
            wait_until(lambda: lanes() == 1)
            others.append(job)
            return Ready(loaded)

    def lanes() -> int:
        return sum(thread.name == "nss-pipeline-lane" for thread in pipeline_threads())

    pipeline = Pipeline(int, [Lost(), Other()], identity, workers=4)
    assert list(pipeline.results(range(12))) == [(n, n) for n in range(12)]
    assert 1 <= len(lost) <= 3
    assert sorted(others) == list(range(12))
    assert others[1 : 1 + len(lost)] == lost  # behind the one that the other lane had begun on


def test_the_last_lane_that_is_lost_fails_its_jobs() -> None:
    class Lost(Lane[int, int, int]):
        def submit(self, job: int, _: int) -> Any:
            raise LaneLostError(f"lost at {job}")

    for workers in (1, 3):
        results = Pipeline(int, [Lost(), Lost()], identity, workers=workers).results(range(5))
        assert [(job, str(result)) for job, result in results] == [(n, f"lost at {n}") for n in range(5)]


def test_all_lanes_work_at_once() -> None:
    together = threading.Barrier(3, timeout=30)

    class Meeting(Lane[int, int, int]):
        def submit(self, _: int, loaded: int) -> Any:
            together.wait()
            return Ready(loaded)

    pipeline = Pipeline(int, [Meeting() for _ in range(3)], identity, workers=3)
    assert list(pipeline.results(range(9))) == [(n, n) for n in range(9)]


def test_a_slow_first_one_does_not_hold_up_others_that_need_no_order() -> None:
    release = threading.Event()

    def load(job: int) -> int:
        if job == 0:
            assert release.wait(30)
        return job

    order = []
    for job, _ in Pipeline(load, [CallLane(identity)], identity, workers=2, ordered=False).results(range(20)):
        order.append(job)
        if len(order) == 19:
            release.set()
    assert order[-1] == 0
    assert sorted(order) == list(range(20))


def test_what_the_jobs_raise_comes_behind_those_before() -> None:
    def jobs() -> Iterator[int]:
        yield from range(7)
        raise OSError("the list is torn")

    for workers in (1, 3):
        reports = Reports()
        with pytest.raises(OSError, match="torn"):
            work_through(int, identity, identity, reports, jobs(), workers=workers)
        assert reports == [(n, n) for n in range(7)]


def test_jobs_that_come_slowly_do_not_hold_up_results() -> None:
    """As frames from a pipe: the first is told while the second is waited for."""
    told = threading.Event()

    def jobs() -> Iterator[int]:
        yield 0
        assert told.wait(30)
        yield 1

    for job, _ in Pipeline(int, [CallLane(identity)], identity, workers=2).results(jobs()):
        told.set()
        assert job in (0, 1)


def test_a_cost_that_fails_is_the_failure_of_its_job() -> None:
    def cost(job: int) -> int:
        if job == 2:
            raise ValueError("no size")
        return 1

    for workers in (1, 2):
        pipeline = Pipeline(int, [CallLane(identity)], identity, workers=workers, budget=MemoryBudget(10), cost=cost)
        assert [str(result) for _, result in pipeline.results(range(4))] == ["0", "1", "no size", "3"]


def test_results_that_hold_pixels_keep_their_memory_until_the_next_is_asked_for() -> None:
    budget = MemoryBudget(3)
    pipeline = Pipeline(
        int,
        [CallLane(identity)],
        identity,
        workers=4,
        budget=budget,
        cost=lambda _: 1,
        results_hold_pixels=True,
    )
    done: list[int] = []
    with closing(pipeline.results(count())) as results:
        for job, _ in results:
            time.sleep(0.01)
            done.append(budget.reserved)
            if job == 9:
                break
    assert max(done) <= 3
    assert min(done) >= 1
    wait_until(lambda: budget.reserved == 0)


@pytest.mark.parametrize("slow", ["decode", "network", "write"])
def test_the_stage_that_holds_the_others_up_is_known(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    monkeypatch.setattr(busy, "WINDOW_S", 0.05)
    monkeypatch.setattr(busy, "LEAST_S", math.inf)
    begun, known = threading.Event(), threading.Event()

    def stage(name: str) -> int:
        if name == slow:  # the others have soon nothing to do
            begun.set()
            assert known.wait(60)
        return 0

    pipeline: Pipeline[int, int, int, int] = Pipeline(
        lambda _: stage("decode"),
        [CallLane(lambda *_: stage("network"))],
        lambda *_: stage("write"),
        workers=2,
    )
    assert pipeline.bottleneck() == ""
    results: list[tuple[int, Any]] = []
    run = threading.Thread(target=lambda: results.extend(pipeline.results(range(20))))
    run.start()
    try:
        assert begun.wait(60)
        assert pipeline.bottleneck() == "", "there is too little to look at"
        monkeypatch.setattr(busy, "LEAST_S", 0.04)
        wait_until(lambda: pipeline.bottleneck() == slow)
    finally:
        known.set()
        run.join()
    assert results == [(n, 0) for n in range(20)]


@pytest.mark.parametrize("slow", ["decode", "network", "write"])
def test_what_is_over_counts_for_its_stage_while_it_is_not_long_ago(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    clock = [0.0]
    monkeypatch.setattr(busy, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    watched = busy.Busy(threads=1, lanes=1)

    def work(stage: str, seconds: float) -> None:
        with watched.at(stage):
            clock[0] += seconds

    assert watched.bottleneck() == ""
    for _ in range(40):
        for stage in ("decode", "network", "write"):
            work(stage, 0.03 if stage == slow else 0.005)
    assert watched.bottleneck() == slow
    clock[0] += 10
    assert watched.bottleneck() == "", "nothing was done of late"
    other = "write" if slow == "network" else "network"
    work(other, 1)
    assert watched.bottleneck() == other


def test_lanes_are_told_of_the_end_and_waited_for() -> None:
    entered, told, ended = threading.Event(), threading.Event(), threading.Event()

    class Long(Lane[int, int, int]):
        def submit(self, *_: int) -> Any:
            entered.set()
            assert told.wait(30)
            time.sleep(0.02)
            ended.set()
            raise RuntimeError("interrupted")

        def interrupt(self) -> None:
            told.set()

    pipeline = Pipeline(int, [CallLane(identity), Long()], identity, workers=2, ordered=False)
    with closing(pipeline.results(count())) as results:
        while not entered.is_set():
            next(results)
    assert ended.is_set()


def test_ten_thousand_jobs_take_no_more_memory_than_a_hundred() -> None:
    def peak(total: int) -> int:
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        told = 0
        pipeline = Pipeline(bytearray, [CallLane(identity), CallLane(identity)], lambda *_: None, workers=3)
        for _ in pipeline.results(1000 for _ in range(total)):
            told += 1
        assert told == total
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        peak(100)
        few, many = peak(200), peak(10_000)
    finally:
        tracemalloc.stop()
    assert many < few + 60_000  # a kilobyte a job would be 10 MB
