"""What a forked child finds: workers of its own on the processor, and one clear error on the GPU. Never a hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from engine import Session
from engine.cpu import blas
from engine.cpu.threads import single_threaded_blas
from engine.forks import ForkLock, numerics
from tests.engine.forking import SOON_S, outcome_of_child
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import IMAGES, SMALL
from tests.project import ROOT, environment

REFUSAL = (
    "WebGPU was in use before this process was forked, and does not survive that; make it after the fork, or use spawn"
)


@pytest.mark.parametrize("busy", [False, True])
def test_a_child_has_its_own_workers_on_numpy(busy: bool) -> None:
    """Also where another thread of the parent was in the middle of a run."""
    with Session(SMALL, backend="numpy") as session:
        expected = session.run({"x": IMAGES[0]})["y"]
        running, stop = threading.Event(), threading.Event()

        def run() -> None:
            while not stop.is_set():
                session.run({"x": IMAGES[1]})
                running.set()

        other = threading.Thread(target=run)
        if busy:
            other.start()
            running.wait(60)
        try:
            for _ in range(5 if busy else 1):
                assert outcome_of_child(lambda: np.array_equal(session.run({"x": IMAGES[0]})["y"], expected)) == "True"
            assert outcome_of_child(lambda: _reopen(session, expected)) == "True"
        finally:
            stop.set()
            if busy:
                other.join()
        assert np.array_equal(session.run({"x": IMAGES[0]})["y"], expected)


def test_a_fork_waits_for_numerics_of_other_threads_but_not_for_its_own() -> None:
    """OpenBLAS and threadpoolctl have locks of their own; a child cannot free one that was held at the fork."""
    inside, order = threading.Event(), []

    def hold() -> None:
        with numerics.shared():
            inside.set()
            time.sleep(0.3)
            with numerics.shared():  # a fork that waits does not stop who is inside
                order.append("out")

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(60)
    with numerics.shared():
        assert outcome_of_child(lambda: order) == "['out']"
        assert outcome_of_child(_in_a_thread) == "True"  # nobody of the parent's is inside
    other.join()
    assert _in_a_thread()  # and the lock is open again


@pytest.fixture
def _blas_unknown() -> Iterator[None]:
    """Nobody has asked which BLAS there is, neither before the test nor in it."""
    blas.own_libraries.cache_clear()
    yield
    blas.own_libraries.cache_clear()


@pytest.mark.usefixtures("_blas_unknown")
def test_a_fork_waits_for_a_thread_that_asks_which_blas_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of a batch that writes records may be the first, and threadpoolctl walks the process's libraries."""
    inside, order = threading.Event(), []

    def threadpool_info() -> list[dict[str, str]]:
        inside.set()
        time.sleep(0.3)
        order.append("out")
        return [{"user_api": "blas", "internal_api": "a test", "filepath": np.__file__}]

    monkeypatch.setattr(blas, "threadpool_info", threadpool_info)
    other = threading.Thread(target=blas.describe, args=(1,))
    other.start()
    inside.wait(60)
    assert outcome_of_child(lambda: order) == "['out']"
    other.join()


def test_a_fork_waits_for_what_is_computed_on_one_thread_of_blas() -> None:
    inside, order = threading.Event(), []

    def compute() -> None:
        with single_threaded_blas():
            inside.set()
            time.sleep(0.2)
            order.append("out")

    other = threading.Thread(target=compute)
    other.start()
    inside.wait(60)
    assert outcome_of_child(lambda: order) == "['out']"
    other.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork: LOCKS AT A FORK ARE NOT TESTED")
def test_a_thread_that_comes_to_the_lock_at_the_fork_stays_outside_and_leaves_the_child_a_free_one() -> None:
    locks: list[ForkLock] = []
    inside: list[bool] = []

    def block_each_lock() -> None:
        for lock in locks:
            late = threading.Thread(target=lambda lock=lock: inside.append(_enter(lock)), daemon=True)
            late.start()
            late.join(0.1)
            holding = threading.Event()
            threading.Thread(target=_hold_for_a_moment, args=(lock, holding), daemon=True).start()
            holding.wait(60)

    os.register_at_fork(before=block_each_lock)  # the first to be registered is the last to be called
    lock = ForkLock()
    locks.append(lock)
    try:
        assert outcome_of_child(lambda: (list(inside), _enter(lock))) == "([], True)"
    finally:
        locks.clear()


def _hold_for_a_moment(lock: ForkLock, holding: threading.Event) -> None:
    with lock._condition:
        holding.set()
        time.sleep(0.2)


def _enter(lock: ForkLock) -> bool:
    with lock.shared():
        return True


def _in_a_thread() -> bool:
    inside = threading.Event()

    def enter() -> None:
        with numerics.shared():
            inside.set()

    threading.Thread(target=enter, daemon=True).start()
    return inside.wait(30)


def _reopen(session: Session, expected: np.ndarray) -> bool:
    session.close()
    with Session(SMALL, backend="numpy") as another:
        return np.array_equal(another.run({"x": IMAGES[0]})["y"], expected)


SCRIPT = """
import json, os, sys, time
import engine
from tests.engine.in_threads import IMAGES, SMALL, on_gpu

session = on_gpu()
session.run({"x": IMAGES[0]})

def new():
    on_gpu()

def numpy():
    with engine.Session(SMALL, backend="numpy") as own:
        own.run({"x": IMAGES[0]})

calls = {
    "inherited": lambda: session.run({"x": IMAGES[0]}),
    "new": new,
    "numpy": numpy,
    "probe": lambda: engine.devices(probe=True),
    "close": session.close,
}
call = calls[sys.argv[1]]
child = os.fork()
start = time.process_time()
if child == 0:
    try:
        call()
        outcome = "done"
    except engine.EngineError as error:
        outcome = str(error)
    print(json.dumps([outcome, time.process_time() - start]), flush=True)
    del session
    sys.exit(7)  # the whole way out: Python's end, and the driver's exit handlers
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork: A FORKED CHILD ON WEBGPU IS NOT TESTED")
@pytest.mark.parametrize(
    ("what", "expected"),
    [("inherited", REFUSAL), ("new", REFUSAL), ("numpy", "done"), ("probe", "done"), ("close", "done")],
)
def test_a_child_is_told_that_webgpu_does_not_survive_a_fork(what: str, expected: str) -> None:
    device()
    process = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, what],  # of forks beside threads
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=3 * SOON_S,
    )
    assert process.stderr == ""
    (outcome, seconds), status = (json.loads(line) for line in process.stdout.splitlines())
    assert outcome.endswith(expected)
    assert status == 7
    if what != "numpy":
        assert seconds < 0.5, "it computed, or asked the driver: 0.02 s on an idle machine"
