"""Assertions on time that hold on a machine with much else to do. The tests that use them are marked ``wall_clock``.

They are for changes of kind: a wait that nothing ends, work that has become an order of magnitude more. So a limit is
several times what was measured on an idle machine, and as much longer as the machine is busy; one of time on the cores,
as much longer as these are slower.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAMPLE_S = 0.05
"""Time on a core that the look at how busy the machine is takes."""

PIECE_S = 0.0055
"""Time on a core that `_piece` takes on the machine on which the limits of time on the cores were measured."""


def busyness() -> float:
    """How much longer work takes now than its time on a core: 1 on an idle machine, 2 where two share each core."""
    start, until = time.perf_counter(), time.thread_time() + SAMPLE_S
    while time.thread_time() < until:
        pass
    return max(1.0, (time.perf_counter() - start) / SAMPLE_S)


def slowness() -> float:
    """How much longer a core of this machine takes than one on which the limits were measured; at least 1."""
    return max(1.0, min(_piece() for _ in range(3)) / PIECE_S)


def _piece() -> float:
    start, total = time.thread_time(), 0
    for number in range(100_000):
        total += number * number % 7
    return time.thread_time() - start


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Assert that the block takes at most so many seconds, as on an idle machine."""
    busy = busyness()
    start = time.perf_counter()
    yield
    elapsed = time.perf_counter() - start
    limit = seconds * max(busy, busyness())
    assert elapsed <= limit, f"it took {elapsed:.2f} s; {limit:.2f} s are allowed on this machine now"


@contextmanager
def computed_within(seconds: float) -> Iterator[None]:
    """Assert that the block takes at most so many seconds on the cores, of all threads of this process together."""
    start = time.process_time()
    yield
    cpu_seconds = time.process_time() - start
    limit = seconds if cpu_seconds <= seconds else seconds * slowness()
    assert cpu_seconds <= limit, f"it took {cpu_seconds:.2f} s on the cores; {limit:.2f} s are allowed on this machine"


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for what comes sooner than that on any machine; TimeoutError where it does not. No assertion on time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"what was waited for has not come in {seconds} s")
        time.sleep(0.002)


def child_seconds(run: Callable[[], object]) -> float:
    """The seconds on the cores of the child processes that ``run`` waits for; wall time where no one counts them."""
    start, before = time.perf_counter(), os.times()
    run()
    after = os.times()
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu_seconds or time.perf_counter() - start
