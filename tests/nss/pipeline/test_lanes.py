"""The pipeline with several lanes, under random delays and failures: order, bounds, memory, lost lanes, and its end."""

from __future__ import annotations

import gc
import random
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any

import pytest

from nss.pipeline.budget import MemoryBudget
from nss.pipeline.lanes import CallLane, Lane, LaneLostError, Ready
from nss.pipeline.pipeline import Pipeline
from nss.pipeline.stop import Stop
from tests.nss.pipeline.pipeline_stages import Reports, identity, nap, work_through

SEEDS = range(24)


def pipeline_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("nss-pipeline-")]


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 60  # which no machine needs, and only a thread that stays takes
    while pipeline_threads() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert pipeline_threads() == []


class CountedLane(Lane[int, int, int]):
    """Doubles numbers, fails for some, is lost at one, and holds what is in flight to its depth."""

    def __init__(self, depth: int, seed: object, lost_at: int | None, fails: set[int]) -> None:
        self.depth, self.seed, self.lost_at, self.fails = depth, seed, lost_at, fails
        self.in_flight: list[int] = []
        self.most = 0
        self.thread: int | None = None
        self.runs = 0

    def submit(self, job: int, loaded: int) -> Any:
        self._check(loaded == job)
        nap((self.seed, job))
        self._lose()
        if job in self.fails and job % 2:
            raise ValueError(f"submit {job}")
        self.in_flight.append(job)
        self.most = max(self.most, len(self.in_flight))
        return _Pending(self, job)

    def _check(self, fits: bool) -> None:
        assert fits
        own = threading.get_ident()
        self.thread = self.thread or own
        assert self.thread == own

    def _lose(self) -> None:
        self.runs += 1
        if self.lost_at is not None and self.runs > self.lost_at:
            raise LaneLostError("pulled out")


class _Pending:
    def __init__(self, lane: CountedLane, job: int) -> None:
        self.lane, self.job = lane, job

    def result(self) -> int:
        assert self.lane.in_flight.pop(0) == self.job  # in the order of submission
        self.lane._check(True)
        nap((self.lane.seed, -self.job))
        self.lane._lose()
        if self.job in self.lane.fails:
            raise ValueError(f"result {self.job}")
        return 2 * self.job


class Watched:
    """Stages with random delays and failures, that count what is in work."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        choice = random.Random(seed)
        self.workers = choice.choice((1, 2, 3, 6))
        self.ordered = choice.random() < 0.6
        self.total = choice.choice((0, 1, 30, 60))
        self.fails = {
            stage: set(choice.sample(range(60), choice.choice((0, 5)))) for stage in ("load", "run", "finish")
        }
        lanes = choice.choice((1, 1, 2, 3))
        self.lanes = [
            CountedLane(
                choice.choice((1, 3)), (seed, n), choice.randrange(20) if n < lanes - 1 else None, self.fails["run"]
            )
            for n in range(lanes)
        ]
        self.lock = threading.Lock()
        self.taken = self.loading = self.finishing = self.told = 0
        self.most: Counter[str] = Counter()
        self.sizes = [choice.choice((1, 5, 40, 250)) for _ in range(60)]
        self.budget = MemoryBudget(100) if choice.random() < 0.5 else None
        self.pixels = 0

    def jobs(self) -> Iterator[int]:
        for job in range(self.total):
            with self.lock:
                self.taken += 1
                self.most["taken"] = max(self.most["taken"], self.taken - self.told)
            yield job

    def load(self, job: int) -> int:
        with self.lock:
            if self.budget is not None:
                assert self.budget.reserved <= max(100, max(self.sizes))
                assert self.budget.reserved <= 100 or self.budget.reserved == self.sizes[job] == 250
            self.loading += 1
            self.most["loading"] = max(self.most["loading"], self.loading)
        nap((self.seed, job, "load"))
        with self.lock:
            self.loading -= 1
        if job in self.fails["load"]:
            raise OSError(f"load {job}")
        return job

    def finish(self, job: int, output: int) -> str:
        with self.lock:
            self.finishing += 1
            self.most["finishing"] = max(self.most["finishing"], self.finishing + self.loading)
        nap((self.seed, job, "finish"))
        with self.lock:
            self.finishing -= 1
        if job in self.fails["finish"]:
            raise MemoryError(f"finish {job}")
        assert output == 2 * job
        return str(job)

    def expected(self, job: int) -> str:
        for stage in ("load", "run", "finish"):
            if job in self.fails[stage]:
                return f"{'submit' if job % 2 else 'result'} {job}" if stage == "run" else f"{stage} {job}"
        return str(job)

    def pipeline(self) -> Pipeline[int, int, int, str]:
        return Pipeline(
            self.load,
            self.lanes,
            self.finish,
            workers=self.workers,
            budget=self.budget,
            cost=self.sizes.__getitem__,
            ordered=self.ordered,
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_every_job_is_told_once_within_the_bounds(seed: int) -> None:
    watched = Watched(seed)
    stop, results = Stop(), []
    for job, result in watched.pipeline().results(watched.jobs(), stop):
        results.append((job, str(result)))
        with watched.lock:
            watched.told += 1
        assert stop.in_hand >= 1
    expected = [(job, watched.expected(job)) for job in range(watched.total)]
    assert results == expected if watched.ordered else sorted(results) == expected
    assert stop.in_hand == 0
    in_flight = sum(min(lane.depth, watched.workers) for lane in watched.lanes)
    assert watched.most["loading"] <= watched.workers
    assert watched.most["finishing"] <= watched.workers
    assert watched.most["taken"] <= 3 * watched.workers + in_flight + 1
    for lane in watched.lanes:
        assert lane.most <= min(lane.depth, watched.workers)
    if watched.budget is not None:
        assert watched.budget.reserved == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_closing_at_any_point_finishes_what_is_being_finished_and_begins_nothing(seed: int) -> None:
    watched = Watched(1000 + seed)
    watched.total = 60
    begun: list[int] = []
    ended: list[int] = []

    def finish(job: int, output: int) -> str:
        begun.append(job)
        try:
            return Watched.finish(watched, job, output)
        finally:
            ended.append(job)

    watched.finish = finish  # type: ignore[method-assign]
    with closing(watched.pipeline().results(watched.jobs())) as results:
        for _ in range(random.Random(seed).randrange(12)):
            next(results)
        time.sleep(random.Random(seed).random() * 0.02)
    assert sorted(begun) == sorted(ended)
    count_then = len(begun)
    deadline = time.monotonic() + 30  # for loads, which nothing waits for
    while pipeline_threads() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert len(begun) == count_then
    if watched.budget is not None:
        assert watched.budget.reserved == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_at_any_point_tells_all_that_is_in_hand(seed: int) -> None:
    watched, stop = Watched(2000 + seed), Stop()
    watched.total = 60
    in_lanes: set[int] = set()
    for lane in watched.lanes:
        submit = lane.submit

        def noted(job: int, loaded: int, submit: Any = submit) -> Any:
            in_lanes.add(job)
            return submit(job, loaded)

        lane.submit = noted  # type: ignore[method-assign]
    last = random.Random(seed).randrange(1, 30)
    told = []
    for job, result in watched.pipeline().results(watched.jobs(), stop):
        told.append((job, str(result)))
        if len(told) == last:
            stop.requested = True
    assert in_lanes <= {job for job, _ in told}
    assert all(result == watched.expected(job) for job, result in told)
    if watched.ordered:
        assert [job for job, _ in told] == list(range(len(told)))
    assert len(told) < 60
    if watched.budget is not None:
        deadline = time.monotonic() + 30
        while watched.budget.reserved and time.monotonic() < deadline:
            time.sleep(0.002)  # loads that nothing waits for
        assert watched.budget.reserved == 0


def test_a_lost_lane_gives_its_jobs_to_the_others_before_newer_ones() -> None:
    lost: list[int] = []
    others: list[int] = []
    begun = threading.Event()

    class Lost(Lane[int, int, int]):
        depth = 3

        def submit(self, job: int, _: int) -> Any:
            lost.append(job)
            begun.set()
            return self

        def result(self) -> int:
            time.sleep(0.05)
            raise LaneLostError("pulled out")

    class Other(Lane[int, int, int]):
        def submit(self, job: int, loaded: int) -> Any:
            assert begun.wait(30)
            others.append(job)
            time.sleep(0.04)
            return Ready(loaded)

    pipeline = Pipeline(int, [Lost(), Other()], identity, workers=4)
    assert list(pipeline.results(range(12))) == [(n, n) for n in range(12)]
    assert 1 <= len(lost) <= 3
    assert sorted(others) == list(range(12))
    again = [others.index(job) for job in lost]
    assert again == sorted(again)
    assert max(again) <= 5  # behind those that the other lane had begun on


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
    deadline = time.monotonic() + 30
    while budget.reserved and time.monotonic() < deadline:
        time.sleep(0.002)
    assert budget.reserved == 0


@pytest.mark.parametrize("slow", ["decode", "network", "write"])
def test_the_stage_that_holds_the_others_up_is_known(slow: str) -> None:
    def stage(name: str, *_: object) -> int:
        time.sleep(0.03 if name == slow else 0.001)
        return 0

    pipeline: Pipeline[int, int, int, int] = Pipeline(
        lambda _: stage("decode"),
        [CallLane(lambda *_: stage("network"))],
        lambda *_: stage("write"),
        workers=2,
    )
    assert pipeline.bottleneck() == ""
    words = []
    with closing(pipeline.results(count())) as results:
        end = time.monotonic() + 0.8
        for _ in results:
            words.append(pipeline.bottleneck())
            if time.monotonic() > end:
                break
    assert words[0] == ""
    assert words[-1] == slow


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
