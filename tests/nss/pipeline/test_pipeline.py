"""Stages that overlap: order, failures, and what is held at a time."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from nss.errors import NssError
from tests.nss.pipeline.pipeline_stages import WORKERS, Reports, identity, nap, work_through
from tests.wall_clock import wait_until


@pytest.mark.parametrize("workers", WORKERS)
def test_results_and_their_order_do_not_depend_on_workers(workers: int) -> None:
    def load(job: int) -> int:
        nap((workers, job))
        return job * job

    def finish(job: int, outputs: int) -> tuple[int, str]:
        nap((job, workers))
        return job, str(outputs)

    reports, threads = Reports(), set()

    def infer(_: int, inputs: int) -> int:
        threads.add(threading.current_thread())
        return inputs + 1

    work_through(load, infer, finish, reports, iter(range(40)), workers=workers)
    assert reports == [(n, (n, str(n * n + 1))) for n in range(40)]
    assert len(threads) == 1
    assert (threads == {threading.current_thread()}) == (workers == 1)


def test_one_worker_is_a_loop_without_threads() -> None:
    calls: list[tuple[str, int]] = []

    def stage(name: str) -> Callable[..., int]:
        def call(job: int, *_: object) -> int:
            assert threading.current_thread() is threading.main_thread()
            calls.append((name, job))
            return job

        return call

    before = set(threading.enumerate())
    work_through(stage("load"), stage("infer"), stage("finish"), stage("report"), [0, 1], workers=1)
    assert calls == [(name, job) for job in (0, 1) for name in ("load", "infer", "finish", "report")]
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", WORKERS)
def test_threads_end_with_the_run_and_an_empty_batch_is_none(workers: int) -> None:
    before = set(threading.enumerate())  # threads of other tests' may end meanwhile
    work_through(lambda _: None, identity, identity, lambda *_: None, [], workers=workers)
    work_through(lambda _: None, identity, identity, lambda *_: None, range(9), workers=workers)
    wait_until(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_failure_in_any_stage_is_that_of_its_job_alone(workers: int) -> None:
    def failing(remainder: int) -> Callable[..., int]:
        def stage(job: int, value: int | None = None) -> int:
            nap((remainder, job))
            if job % 4 == remainder:
                raise (MemoryError if remainder == 3 else ValueError)(f"{job} in {remainder}")
            return job if value is None else value + 1

        return stage

    reports = Reports()
    work_through(failing(1), failing(2), failing(3), reports, range(20), workers=workers)
    assert reports == [(n, f"{n} in {n % 4}" if n % 4 else n + 2) for n in range(20)]


def test_stages_overlap() -> None:
    """One photo is written while the network is at the next and the one behind that is loaded: each waits for both."""
    together = threading.Barrier(3, timeout=60)

    def stage(remainder: int) -> Callable[..., int]:
        def call(job: int, *_: int) -> int:
            if job % 3 == remainder:
                together.wait()
            return job

        return call

    reports = Reports()
    work_through(stage(2), stage(1), stage(0), reports, range(15), workers=3)
    assert reports == [(n, n) for n in range(15)]


@pytest.mark.parametrize("slow", ["load", "infer", "finish", "first finish", "report", "all fail"])
@pytest.mark.parametrize("workers", WORKERS)
def test_what_is_alive_at_a_time_does_not_grow_with_the_batch(workers: int, slow: str) -> None:
    class Kind:
        """Counts what of a kind is alive."""

        def __init__(self) -> None:
            self.alive: weakref.WeakSet[Kind.Pixels] = weakref.WeakSet()
            self.most = 0

        class Pixels:
            pass

        def make(self) -> Kind.Pixels:
            pixels = Kind.Pixels()
            self.alive.add(pixels)
            self.most = max(self.most, len(self.alive))
            return pixels

    photos, masks, results = Kind(), Kind(), Kind()

    def late(stage: str, job: int) -> None:
        if stage == slow or (slow == "first finish" and stage == "finish" and job == 0):
            time.sleep(0.05 if job == 0 else 0.001)

    def load(job: int) -> Kind.Pixels:
        pixels = photos.make()
        late("load", job)
        return pixels

    def infer(job: int, _: Kind.Pixels) -> Kind.Pixels:
        late("infer", job)
        return masks.make()

    def finish(job: int, mask: Kind.Pixels) -> Kind.Pixels:
        late("finish", job)
        if slow == "all fail":
            raise ValueError(job, id(mask))
        return results.make()

    gc.collect()
    gc.disable()  # what only a collection would free counts as alive
    try:
        work_through(load, infer, finish, lambda job, _: late("report", job), range(36), workers=workers)
        leaks = [len(kind.alive) for kind in (photos, masks, results)]
    finally:
        gc.enable()
    ahead = 1 if workers == 1 else workers + 1
    assert photos.most <= ahead
    # a failed one keeps its mask, in the traceback, until it is reported
    assert masks.most <= (3 * workers if slow == "all fail" else ahead)
    assert results.most <= 3 * workers + 1
    assert leaks == [0, 0, 0]


@pytest.mark.parametrize("workers", WORKERS)
def test_what_the_network_was_given_is_let_go_before_the_rest_is_done(workers: int) -> None:
    class Pixels:
        pass

    pixels_of: dict[int, weakref.ref[Pixels]] = {}

    def load(job: int) -> Pixels:
        pixels = Pixels()
        pixels_of[job] = weakref.ref(pixels)
        return pixels

    def finish(job: int, _: int) -> bool:
        return pixels_of[job]() is None

    reports = Reports()
    work_through(load, lambda job, _: job, finish, reports, range(9), workers=workers)
    assert reports == [(n, True) for n in range(9)]


def test_each_is_reported_as_soon_as_it_can_be() -> None:
    release, reports = threading.Event(), Reports()

    def load(job: int) -> int:
        if job == 1:
            assert release.wait(60)
        return job

    def report(job: int, result: int) -> None:
        reports(job, result)
        release.set()  # so that the second is loaded only when the first has been reported

    work_through(load, identity, identity, report, range(2), workers=2)
    assert reports == [(0, 0), (1, 1)]


@pytest.mark.parametrize("threads", range(3))
def test_where_the_system_gives_no_thread_it_is_said(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """The threads that take jobs, serve the lane and work: the first that cannot be started ends it."""
    _limit_threads(monkeypatch, threads)
    with pytest.raises(NssError, match="no thread can be started"):
        work_through(lambda job: job, identity, identity, lambda *_: None, range(9), workers=3)


def test_fewer_threads_do_the_work_where_the_system_gives_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _limit_threads(monkeypatch, 3)
    reports = Reports()
    work_through(lambda job: job, identity, identity, reports, range(9), workers=3)
    assert reports == [(n, n) for n in range(9)]


def _limit_threads(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let a pipeline start this many threads."""
    start = threading.Thread.start
    left = [count]

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("nss-pipeline-"):
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
