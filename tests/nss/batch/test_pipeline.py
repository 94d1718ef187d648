"""Stages that overlap: order, failures, what is held at a time, and how an interrupt ends them."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import nss
from nss.batch.pipeline import Pipeline, Stop, finish_on_interrupt

ROOT = Path(nss.__file__).parents[1]
Listing = Callable[[Path], list[str]]
WORKERS = (1, 2, 5)


def identity(_: Any, value: Any) -> Any:
    return value


class Told(list):
    """What was reported: a list of (job, result), errors as their text."""

    def __call__(self, job: Any, result: Any) -> None:
        self.append((job, str(result) if isinstance(result, Exception) else result))


def nap(seed: object) -> None:
    time.sleep(random.Random(str(seed)).random() * 0.004)


@pytest.mark.parametrize("workers", WORKERS)
def test_results_and_their_order_do_not_depend_on_workers(workers: int) -> None:
    def load(job: int) -> int:
        nap((workers, job))
        return job * job

    def finish(job: int, inferred: int) -> tuple[int, str]:
        nap((job, workers))
        return job, str(inferred)

    told, threads = Told(), set()

    def infer(_: int, loaded: int) -> int:
        threads.add(threading.current_thread())
        return loaded + 1

    Pipeline(load, infer, finish, told).run(iter(range(40)), workers)
    assert told == [(n, (n, str(n * n + 1))) for n in range(40)]
    assert threads == {threading.current_thread()}


def test_one_worker_is_a_loop_without_threads() -> None:
    seen: list[tuple[str, int]] = []

    def stage(name: str) -> Callable[..., int]:
        def call(job: int, *_: object) -> int:
            assert threading.current_thread() is threading.main_thread()
            seen.append((name, job))
            return job

        return call

    before = set(threading.enumerate())
    Pipeline(stage("load"), stage("infer"), stage("finish"), stage("report")).run([0, 1], 1)
    assert seen == [(name, job) for job in (0, 1) for name in ("load", "infer", "finish", "report")]
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", WORKERS)
def test_threads_end_with_the_run_and_an_empty_batch_is_none(workers: int) -> None:
    before = set(threading.enumerate())  # threads of other tests' may end meanwhile
    Pipeline(lambda _: None, identity, identity, lambda *_: None).run([], workers)
    Pipeline(lambda _: None, identity, identity, lambda *_: None).run(range(9), workers)
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.005)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("workers", WORKERS)
def test_a_failure_in_any_stage_is_that_of_its_job_alone(workers: int) -> None:
    def failing(remainder: int) -> Callable[..., int]:
        def stage(job: int, value: int | None = None) -> int:
            nap((remainder, job))
            if job % 4 == remainder:
                raise (MemoryError if remainder == 3 else ValueError)(f"{job} in {remainder}")
            return job if value is None else value + 1

        return stage

    told = Told()
    Pipeline(failing(1), failing(2), failing(3), told).run(range(20), workers)
    assert told == [(n, f"{n} in {n % 4}" if n % 4 else n + 2) for n in range(20)]


def test_stages_overlap() -> None:
    def stage(*_: object) -> None:
        time.sleep(0.02)

    def seconds(workers: int) -> float:
        start = time.perf_counter()
        Pipeline(stage, stage, stage, lambda *_: None).run(range(15), workers)
        return time.perf_counter() - start

    alone, together = seconds(1), min(seconds(3) for _ in range(2))
    assert alone >= 15 * 3 * 0.02
    assert alone / together >= 1.8  # 2.6 measured, and 3 where nothing is lost at either end


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

    decoded, masks, results = Kind(), Kind(), Kind()

    def late(stage: str, job: int) -> None:
        if stage == slow or (slow == "first finish" and stage == "finish" and job == 0):
            time.sleep(0.05 if job == 0 else 0.001)

    def load(job: int) -> Kind.Pixels:
        pixels = decoded.make()
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
        Pipeline(load, infer, finish, lambda job, _: late("report", job)).run(range(36), workers)
        left = [len(kind.alive) for kind in (decoded, masks, results)]
    finally:
        gc.enable()
    ahead = 1 if workers == 1 else workers + 1
    assert decoded.most <= ahead
    # a failed one keeps its mask, in the traceback, until it is reported
    assert masks.most <= (3 * workers if slow == "all fail" else ahead)
    assert results.most <= 3 * workers + 1
    assert left == [0, 0, 0]


@pytest.mark.parametrize("workers", WORKERS)
def test_what_the_network_was_given_is_let_go_before_the_rest_is_done(workers: int) -> None:
    class Pixels:
        pass

    given: dict[int, weakref.ref[Pixels]] = {}

    def load(job: int) -> Pixels:
        pixels = Pixels()
        given[job] = weakref.ref(pixels)
        return pixels

    def finish(job: int, _: int) -> bool:
        time.sleep(0.005)  # for the calling thread to get there
        return given[job]() is None

    told = Told()
    Pipeline(load, lambda job, _: job, finish, told).run(range(9), workers)
    assert told == [(n, True) for n in range(9)]


def test_each_is_reported_as_soon_as_it_can_be() -> None:
    release, told = threading.Event(), Told()

    def load(job: int) -> int:
        if job == 1:
            assert release.wait(10)
        return job

    def report(job: int, result: int) -> None:
        told(job, result)
        release.set()  # so that the second is loaded only when the first has been reported

    Pipeline(load, identity, identity, report).run(range(2), 2)
    assert told == [(0, 0), (1, 1)]


@pytest.mark.parametrize("workers", WORKERS)
def test_stop_finishes_what_is_in_hand_and_begins_nothing(workers: int) -> None:
    stop, told, inferred, loaded = Stop(), Told(), [], []

    def infer(job: int, _: None) -> int:
        inferred.append(job)
        assert stop.in_hand >= 1
        if job == 5:
            stop.requested = True
        return job

    def finish(job: int, _: int) -> int:
        time.sleep(0.01)
        return job

    Pipeline(loaded.append, infer, finish, told).run(count(), workers, stop)
    assert inferred == list(range(6))
    assert told == [(n, n) for n in range(6)]
    assert stop.in_hand == 0
    assert len(loaded) <= 6 + workers


@pytest.mark.parametrize("workers", [2, 4])
def test_stop_does_not_wait_for_a_load(workers: int) -> None:
    stop, told, never = Stop(), Told(), threading.Event()

    def load(job: int) -> int:
        if job:
            never.wait(20)
        return job

    def finish(job: int, _: int) -> int:
        time.sleep(0.02)
        stop.requested = True
        return job

    start = time.perf_counter()
    Pipeline(load, identity, finish, told).run(range(9), workers, stop)
    assert time.perf_counter() - start < 5
    assert told == [(0, 0)]
    never.set()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_no_finish_half_done_and_reports_those_that_are(
    workers: int, kind: type[BaseException]
) -> None:
    told, begun, ended = Told(), [], []

    def infer(job: int, value: int) -> int:
        if job == 4:
            raise kind
        return value

    def finish(job: int, value: int) -> int:
        begun.append(job)
        time.sleep(0.03)
        ended.append(job)
        return value

    with pytest.raises(kind):
        Pipeline(lambda job: job, infer, finish, told).run(range(20), workers)
    assert sorted(begun) == sorted(ended)
    assert told == [(n, n) for n in sorted(begun)]
    time.sleep(0.05)
    assert max(begun, default=0) < 4


def test_an_interrupt_begins_no_load() -> None:
    loaded: list[int] = []
    busy = threading.Semaphore(0)

    def load(job: int) -> int:
        loaded.append(job)
        if job == 3:
            busy.release()
            time.sleep(0.2)
        return job

    def infer(job: int, _: int) -> int:
        if job == 2:
            for _ in range(3):  # all threads are, so that the load of 4 waits
                assert busy.acquire(timeout=10)
            raise KeyboardInterrupt
        return job

    def finish(_: int, __: int) -> None:
        busy.release()
        time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt):
        Pipeline(load, infer, finish, lambda *_: None).run(range(9), 3)
    time.sleep(0.02)
    assert sorted(loaded) == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_report_that_raises_ends_the_run(workers: int) -> None:
    begun, ended, told = [], [], []

    def finish(job: int, _: int) -> None:
        begun.append(job)
        time.sleep(0.01)
        ended.append(job)

    def report(job: int, _: object) -> None:
        told.append(job)
        raise OSError("standard output is gone")

    with pytest.raises(OSError, match="is gone"):
        Pipeline(lambda job: job, identity, finish, report).run(range(50), workers)
    assert told == [0]
    assert sorted(begun) == sorted(ended)
    assert len(begun) <= 2 * workers


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("stage", ["load", "finish"])
def test_what_is_no_exception_ends_the_run_from_any_thread(workers: int, stage: str) -> None:
    def ending(name: str) -> Callable[..., int]:
        def call(job: int, *_: int) -> int:
            if name == stage and job == 3:
                raise SystemExit(7)
            return job

        return call

    told = Told()
    with pytest.raises(SystemExit):
        Pipeline(ending("load"), identity, ending("finish"), told).run(range(20), workers)
    assert told[:3] == [(0, 0), (1, 1), (2, 2)]
    assert 3 not in [job for job, _ in told]


@pytest.fixture
def handled() -> Iterator[None]:
    """Python's own handler of Ctrl-C, before and after."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("handled")
def test_ctrl_c_asks_once_and_then_interrupts() -> None:
    said = threading.Event()
    with finish_on_interrupt(said.set) as stop:
        with pytest.raises(KeyboardInterrupt):  # nothing is in hand
            signal.raise_signal(signal.SIGINT)
        assert not stop.requested
        stop.in_hand = 1
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        assert said.wait(5)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("handled")
def test_the_notice_may_need_a_lock_that_is_held_where_the_signal_comes() -> None:
    lock, said = threading.Lock(), threading.Event()

    def notify() -> None:
        with lock:
            said.set()

    with finish_on_interrupt(notify) as stop:
        stop.in_hand = 1
        with lock:
            signal.raise_signal(signal.SIGINT)
            assert not said.is_set()
        assert said.wait(5)


@pytest.mark.usefixtures("handled")
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


SCRIPT = """
    import os, sys, time
    from pathlib import Path
    from nss.batch.pipeline import Pipeline, finish_on_interrupt
    from nss.stop_signals import Terminated, stop_signals

    out, workers, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

    def load(job):
        if mode == "nothing in hand" or (mode == "stuck" and job > 3):
            if job == 0:
                print("loading", flush=True)
            time.sleep(60)
        return job

    def infer(job, loaded):
        time.sleep(0.005)
        return loaded

    def finish(job, inferred):
        temporary = out / f"{job:03}.tmp"
        temporary.write_text("half")
        print("writing", job, flush=True)
        time.sleep(1 if mode == "slow" else 0.3)
        temporary.write_text("whole")
        temporary.replace(out / f"{job:03}.png")
        return job

    told = []
    try:
        with stop_signals(), finish_on_interrupt(lambda: print("finishing", flush=True)) as stop:
            Pipeline(load, infer, finish, lambda job, result: told.append(result)).run(range(200), workers, stop)
        ended = "requested" if stop.requested else "all done"
    except (KeyboardInterrupt, Terminated) as end:
        ended = type(end).__name__
    print(ended, *told, flush=True)
"""


def started(folder: Path, workers: int, mode: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), str(workers), mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith(word):
        assert line, "the process ended"


def ended(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    """How the run ended, and the names of the files that it reported."""
    out, err = process.communicate(timeout=30)
    assert err == ""
    assert process.returncode == 0
    word, *told = out.splitlines()[-1].split()
    return word, [f"{int(n):03}.png" for n in told]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_real_ctrl_c_finishes_the_files_in_hand(tmp_path: Path, listing: Listing, workers: int) -> None:
    process = started(tmp_path, workers)
    read_until(process, f"writing {workers}")
    process.send_signal(signal.SIGINT)
    read_until(process, "finishing")
    word, told = ended(process)
    assert word == "requested"
    assert told == listing(tmp_path) == [f"{n:03}.png" for n in range(len(told))]
    assert workers < len(told) <= 3 * workers + 1


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(("workers", "then"), [(1, "SIGINT"), (2, "SIGINT"), (4, "SIGINT"), (2, "SIGTERM")])
def test_a_second_signal_ends_at_once_without_a_half_file(
    tmp_path: Path, listing: Listing, workers: int, then: str
) -> None:
    process = started(tmp_path, workers, "slow")
    read_until(process, f"writing {workers - 1}")
    process.send_signal(signal.SIGINT)
    read_until(process, "finishing")
    for _ in range(1 if workers == 1 else 4):  # more of them change nothing
        process.send_signal(getattr(signal, then))
        time.sleep(0.02)
    word, told = ended(process)
    assert word == "Terminated"
    files = listing(tmp_path)
    if (
        workers == 1
    ):  # the script's own finish is interrupted in the calling thread; nss.files.export removes its file then
        files = [name for name in files if not name.endswith(".tmp")]
    assert told == files


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_real_ctrl_c_acts_at_once_where_nothing_is_in_hand(tmp_path: Path, listing: Listing, workers: int) -> None:
    process = started(tmp_path, workers, "nothing in hand")
    read_until(process, "loading")
    start = time.perf_counter()
    process.send_signal(signal.SIGINT)
    assert ended(process) == ("Terminated", [])
    assert time.perf_counter() - start < 10  # it does not wait for what is being loaded
    assert listing(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_load_that_is_stuck_does_not_hold_up_a_ctrl_c(tmp_path: Path, listing: Listing) -> None:
    process = started(tmp_path, 3, "stuck")
    read_until(process, "writing 3")
    process.send_signal(signal.SIGINT)
    assert ended(process) == ("requested", [f"{n:03}.png" for n in range(4)])
    assert listing(tmp_path) == [f"{n:03}.png" for n in range(4)]
