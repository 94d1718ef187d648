"""The pipeline under random delays and failures: every job told once, within the bounds, and its end at any point."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from nss.pipeline.budget import MemoryBudget
from nss.pipeline.lanes import Lane, LaneLostError
from nss.pipeline.pipeline import Pipeline
from nss.pipeline.stop import Stop
from tests.nss.pipeline.pipeline_stages import nap, pipeline_threads
from tests.wall_clock import wait_until

SEEDS = range(24)


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
    wait_until(lambda: not pipeline_threads())  # for loads, which nothing waits for
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
        wait_until(lambda: watched.budget.reserved == 0)  # loads that nothing waits for
