"""How a stop, an interrupt and a failing report end a run of the pipeline, and what Ctrl-C asks for."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from nss.pipeline.lanes import CallLane
from nss.pipeline.pipeline import Pipeline
from nss.pipeline.stop import Stop, finish_on_interrupt
from tests.nss.pipeline.pipeline_stages import WORKERS, Reports, identity, work_through


class EndingLane(CallLane[int, int, int]):
    """Tells when the run begins nothing more, while something is in progress."""

    def __init__(self, infer: Callable[[int, int], int], ended: threading.Event) -> None:
        super().__init__(infer)
        self._ended = ended

    def interrupt(self) -> None:
        self._ended.set()


@pytest.mark.parametrize("workers", WORKERS)
def test_stop_finishes_what_is_in_hand_and_begins_nothing(workers: int) -> None:
    stop, reports, outputs, inputs = Stop(), Reports(), [], []

    def infer(job: int, _: None) -> int:
        outputs.append(job)
        assert stop.in_hand >= 1
        if job == 5:
            stop.requested = True
        return job

    def finish(job: int, _: int) -> int:
        time.sleep(0.01)
        return job

    work_through(inputs.append, infer, finish, reports, count(), workers=workers, stop=stop)
    assert outputs == list(range(6))
    assert reports == [(n, n) for n in range(6)]
    assert stop.in_hand == 0
    assert len(inputs) <= 6 + workers


@pytest.mark.parametrize("workers", [2, 4])
def test_stop_does_not_wait_for_a_load(workers: int) -> None:
    stop, reports, over, loaded = Stop(), Reports(), threading.Event(), list[int]()

    def load(job: int) -> int:
        if 0 < job < workers:  # all threads but one
            over.wait(60)
            loaded.append(job)
        return job

    def finish(job: int, _: int) -> int:
        stop.requested = True
        return job

    work_through(load, identity, finish, reports, range(9), workers=workers, stop=stop)
    assert reports == [(0, 0)]
    assert loaded == []
    over.set()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_no_finish_half_done_and_reports_those_that_are(
    workers: int, kind: type[BaseException]
) -> None:
    reports, starts, ends = Reports(), [], []

    def infer(job: int, value: int) -> int:
        if job == 4:
            raise kind
        return value

    def finish(job: int, value: int) -> int:
        starts.append(job)
        time.sleep(0.03)
        ends.append(job)
        return value

    with pytest.raises(kind):
        work_through(lambda job: job, infer, finish, reports, range(20), workers=workers)
    assert sorted(starts) == sorted(ends)
    assert reports == [(n, n) for n in sorted(starts)]
    time.sleep(0.05)
    assert max(starts, default=0) < 4


def test_an_interrupt_begins_no_load() -> None:
    inputs: list[int] = []
    busy, interrupted = threading.Semaphore(0), threading.Event()

    def load(job: int) -> int:
        inputs.append(job)
        if job == 3:
            busy.release()
            assert interrupted.wait(60)
        return job

    def infer(job: int, _: int) -> int:
        if job == 2:
            for _ in range(3):  # all threads are, so that the load of 4 waits
                assert busy.acquire(timeout=60)
            raise KeyboardInterrupt
        return job

    def finish(_: int, __: int) -> None:
        busy.release()
        assert interrupted.wait(60)

    pipeline = Pipeline(load, [EndingLane(infer, interrupted)], finish, workers=3)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(range(9), lambda *_: None)
    time.sleep(0.02)
    assert sorted(inputs) == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_report_that_raises_ends_the_run(workers: int) -> None:
    starts, ends, reports, ended = [], [], [], threading.Event()

    def finish(job: int, _: int) -> None:
        starts.append(job)
        assert job == 0 or ended.wait(60)
        ends.append(job)

    def report(job: int, _: object) -> None:
        reports.append(job)
        raise OSError("standard output is gone")

    pipeline = Pipeline(int, [EndingLane(identity, ended)], finish, workers=workers)
    with pytest.raises(OSError, match="is gone"):
        pipeline.run(range(50), report)
    assert reports == [0]
    assert sorted(starts) == sorted(ends)
    assert len(starts) <= 1 + workers


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("stage", ["load", "finish"])
def test_what_is_no_exception_ends_the_run_from_any_thread(workers: int, stage: str) -> None:
    def ending(name: str) -> Callable[..., int]:
        def call(job: int, *_: int) -> int:
            if name == stage and job == 3:
                raise SystemExit(7)
            return job

        return call

    reports = Reports()
    with pytest.raises(SystemExit):
        work_through(ending("load"), identity, ending("finish"), reports, range(20), workers=workers)
    assert reports[:3] == [(0, 0), (1, 1), (2, 2)]
    assert 3 not in [job for job, _ in reports]


@pytest.fixture
def default_handler() -> Iterator[None]:
    """Python's own handler of Ctrl-C, before and after."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_handler")
def test_ctrl_c_asks_once_and_then_interrupts() -> None:
    notice = threading.Event()
    with finish_on_interrupt(notice.set) as stop:
        with pytest.raises(KeyboardInterrupt):  # nothing is in hand
            signal.raise_signal(signal.SIGINT)
        assert not stop.requested
        stop.in_hand = 1
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        assert notice.wait(60)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("default_handler")
def test_the_notice_may_need_a_lock_that_is_held_where_the_signal_comes() -> None:
    lock, notice = threading.Lock(), threading.Event()

    def notify() -> None:
        with lock:
            notice.set()

    with finish_on_interrupt(notify) as stop:
        stop.in_hand = 1
        with lock:
            signal.raise_signal(signal.SIGINT)
            assert not notice.is_set()
        assert notice.wait(60)


@pytest.mark.usefixtures("default_handler")
def test_the_handler_goes_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), finish_on_interrupt(lambda: None):
        raise ZeroDivisionError


def test_ctrl_c_that_is_ignored_or_handled_stays_so() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.SIG_IGN, lambda *_: None):
            signal.signal(signal.SIGINT, handler)
            with finish_on_interrupt(lambda: None) as stop:
                stop.in_hand = 1
                signal.raise_signal(signal.SIGINT)
                assert not stop.requested
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_handler_is_set_outside_of_the_main_thread() -> None:
    stops: list[Stop] = []

    def work() -> None:
        with finish_on_interrupt(lambda: None) as stop:
            stops.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert stops == [Stop()]
