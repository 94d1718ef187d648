"""Memory is given out in order, never more than there is, and nobody waits for ever."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import SimpleNamespace

import pytest

from nss.pipeline import budget as budget_module
from nss.pipeline.budget import BudgetClosedError, Lease, MemoryBudget
from tests.project import ROOT
from tests.wall_clock import wait_until

SECONDS = 60


class Askers:
    """Threads that reserve, begun one after the other so that their order is known."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.pool = ThreadPoolExecutor(16)

    def ask(self, nbytes: int) -> Future[Lease | None]:
        before = len(self.budget._waiting)
        future = self.pool.submit(self.budget.reserve, nbytes)
        wait_until(lambda: future.done() or len(self.budget._waiting) > before)
        return future


def lease_of(future: Future[Lease | None]) -> Lease:
    lease = future.result(SECONDS)
    assert lease is not None
    return lease


def test_there_is_room_until_there_is_not() -> None:
    budget = MemoryBudget(100)
    first, second = budget.reserve(60), budget.reserve(40)
    assert first
    assert second
    assert budget.reserved == 100
    assert budget.try_reserve(1) is None
    assert budget.reserve(1, timeout=0.01) is None
    second.release()
    second.release()  # does nothing
    assert budget.reserved == 60
    with budget.reserve(40) or first:
        assert budget.reserved == 100
    assert budget.reserved == 60


def test_in_the_order_of_the_requests() -> None:
    budget = MemoryBudget(100)
    held = budget.try_reserve(80)
    askers = Askers(budget)
    large, small = askers.ask(90), askers.ask(10)
    assert held
    assert not large.done()
    assert not small.done(), "it would fit, and goes before nobody"
    assert budget.try_reserve(1) is None
    held.release()
    lease_of(large)
    lease_of(small)
    assert budget.reserved == 100


def test_what_is_larger_than_all_waits_until_it_is_alone() -> None:
    budget = MemoryBudget(100)
    held = [budget.try_reserve(10), budget.try_reserve(10)]
    askers = Askers(budget)
    giant, after = askers.ask(5000), askers.ask(10)
    for lease in held:
        assert lease
        assert not giant.done()
        lease.release()
    granted = lease_of(giant)
    assert budget.reserved == 5000
    assert not after.done()
    granted.release()
    lease_of(after)


def test_one_that_gives_up_lets_those_behind_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(budget_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    budget = MemoryBudget(100)
    budget.try_reserve(80)
    askers = Askers(budget)
    impatient = askers.pool.submit(budget.reserve, 90, 5)
    wait_until(lambda: budget._waiting)
    behind = askers.ask(20)
    assert not impatient.done()
    clock[0] = 6
    assert impatient.result(SECONDS) is None
    lease_of(behind)
    assert budget.reserved == 100


def test_closing_wakes_all() -> None:
    budget = MemoryBudget(100)
    held = budget.try_reserve(100)
    askers = Askers(budget)
    waiting = [askers.ask(1) for _ in range(3)]
    budget.close()
    for future in waiting:
        with pytest.raises(BudgetClosedError):
            future.result(SECONDS)
    for call in (budget.reserve, budget.try_reserve):
        with pytest.raises(BudgetClosedError):
            call(1)
    assert held
    held.release()
    assert budget.reserved == 0


@pytest.mark.parametrize("seed", range(4))
def test_never_more_than_there_is(seed: int) -> None:
    budget, most = MemoryBudget(1000), 0
    lock, held = threading.Lock(), []

    def photo(nbytes: int, delay: float) -> None:
        nonlocal most
        lease = budget.reserve(nbytes)
        assert lease
        with lock:
            held.append(nbytes)
            total = sum(held)
            most = max(most, total)
            within = total <= 1000 or total == max(held)  # alone, but for those that take nothing
        time.sleep(delay)
        with lock:
            held.remove(nbytes)
        lease.release()
        assert within

    chance = random.Random(seed)
    with ThreadPoolExecutor(8) as pool:
        sizes = [chance.choice([0, 1, 50, 300, 999, 1000, 4000]) for _ in range(150)]
        done = [pool.submit(photo, nbytes, chance.random() / 1000) for nbytes in sizes]
        assert not wait(done, SECONDS).not_done
        for future in done:
            future.result()
    assert budget.reserved == 0
    assert most >= 1000


@pytest.mark.skipif(os.name == "nt", reason="this system sends no SIGINT to one process")
def test_a_signal_ends_the_wait_and_the_request() -> None:
    code = """
import threading, time
from nss.pipeline.budget import MemoryBudget
budget = MemoryBudget(10)
held = budget.try_reserve(10)

def tell():
    while not budget._waiting:
        time.sleep(0.001)
    print("waits", flush=True)

threading.Thread(target=tell).start()
try:
    budget.reserve(5)
except KeyboardInterrupt:
    held.release()
    print(budget.reserved, len(budget._waiting), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=SECONDS)[0] == "0 0\n"


def test_nothing_is_no_budget() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        MemoryBudget(0)
