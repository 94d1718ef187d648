"""Several steps that all workers go through together, without being called for each of them.

To wake a worker for a step and to hear from it takes 50 µs, as long as many a layer. Here a worker that is done with a
step goes on to the next one by itself, once the others are done with that one, too: whoever comes last does not wait.
What stands between the calls of a short step is done once, since all memory is fixed: with the interpreter's lock held,
it keeps the other workers from their own calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from engine.cpu.threads import Do, Item, Pool
from engine.graph.ir import Node
from engine.ops.registry import MISFITS, misfit

MOST_KEPT = 4
"""Items of a step for each worker up to which their calls are kept: views of arrays, some 300 bytes a call."""


@dataclass(frozen=True, slots=True)
class Job:
    """The items of a step, in any order, and what is called for each of them; errors name the ``node``."""

    node: Node
    work: Callable[[int, Any], None]
    items: Sequence[Any]

    def run(self, worker: int, item: Any) -> None:
        """Compute one item."""
        try:
            self.work(worker, item)
        except MISFITS as error:
            raise misfit(self.node, error) from error


class Recorder(Pool):
    """Notes what kernels hand to the workers of ``pool``, instead of having it done.

    With ``lane`` it is one worker's, whichever that is, in the scratch of this number.
    """

    def __init__(self, pool: Pool, lane: int | None = None) -> None:
        self.threads, self._pool, self._lane = pool.threads if lane is None else 1, pool, lane
        self._node: Node
        self._jobs: list[Job] = []

    def record(self, node: Node, run: Callable[[Pool], None]) -> list[Job] | None:
        """The jobs that ``run`` hands over; None where they would read a copy of what is there now."""
        self._node, self._jobs = node, []
        try:
            run(self)
        except _CopyError:
            return None
        return self._jobs

    def reshaped(self, array: np.ndarray, *shape: int) -> np.ndarray:
        result = super().reshaped(array, *shape)
        if not np.may_share_memory(result, array):
            raise _CopyError
        return result

    def each(self, work: Callable[[int, Item], None], items: Iterable[Item]) -> None:
        self._jobs.append(Job(self._node, work, list(items)))

    def each_by_calls(self, make: Callable[[Do, int, Item], None], items: Iterable[Item]) -> None:
        items = list(items)
        if len(items) > MOST_KEPT * self.threads:  # long work, of which what it prepares is a small part
            super().each_by_calls(make, items)
            return
        tapes = min(len(items), self.threads)
        edges = [len(items) * tape // tapes for tape in range(tapes + 1)] if tapes else []
        parts = [items[first:last] for first, last in pairwise(edges)]
        self.each(lambda _, tape: tape.play(), [_Tape(make, *part) for part in enumerate(parts)])

    def scratch(self, worker: int) -> np.ndarray:
        return self._pool.scratch(worker if self._lane is None else self._lane)


class _CopyError(Exception):
    """A step is to be prepared once, and has copied something: a later run would read what the first one was given."""


class _Tape:
    """The calls of some items, in scratch of their own among those of a step: whichever worker makes them."""

    def __init__(self, make: Callable[[Do, int, Any], None], scratch: int, items: Sequence[Any]) -> None:
        self._make: Callable[[Do, int, Any], None] | None = make
        self._scratch, self._items = scratch, items
        self._calls: list[Callable[[], object]] = []

    def play(self) -> None:
        """Make the calls."""
        if self._make is None:
            for each in self._calls:
                each()
            return
        calls: list[Callable[[], object]] = []

        def do(compute: Callable[..., object], *operands: object) -> None:
            calls.append(partial(compute, *operands))
            compute(*operands)

        for item in self._items:
            self._make(do, self._scratch, item)
        self._make, self._calls = None, calls


def joined(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, with those that follow each other and have one item as one: nobody waits between them."""
    result: list[Job] = []
    single: list[Job] = []

    def close() -> None:
        if single:
            result.append(single[0] if len(single) == 1 else Job(single[0].node, _run_all, [tuple(single)]))
            single.clear()

    for job in jobs:
        if len(job.items) == 1:
            single.append(job)
        elif job.items:
            close()
            result.append(job)
    close()
    return result


def beside(lanes: Sequence[Sequence[Job]]) -> list[Job]:
    """One job of which each item is all that a lane does: the lanes do not wait for each other."""
    return [Job(lanes[0][0].node, _run_all, [tuple(jobs) for jobs in lanes])] if lanes[0] else []


def _run_all(worker: int, jobs: Sequence[Job]) -> None:
    for job in jobs:
        for item in job.items:
            job.run(worker, item)


class March:
    """One pass of the workers over some jobs. Each of them calls ``run``, and may come late or not at all."""

    def __init__(self, jobs: Sequence[Job], threads: int) -> None:
        self._jobs = jobs
        self._queues = [iter(job.items) for job in jobs]
        self._done: list[list[int]] = [[] for _ in jobs]
        self._gates = [threading.Lock() for _ in range(threads)]
        for gate in self._gates:
            gate.acquire()
        self._waiting: list[int] = []
        self._stopped = False

    def run(self, worker: int) -> None:
        """Go through the jobs until all are done, or until someone stops."""
        for index, job in enumerate(self._jobs):
            for item in self._queues[index]:
                if self._stopped:
                    return
                job.run(worker, item)
                # one call that the interpreter's lock makes atomic, as are those below
                self._done[index].append(worker)
                if self._is_done(index):
                    self._wake()
            while not self._is_done(index):
                if self._stopped:
                    return
                self._wait(worker, index)

    def stop(self) -> None:
        """Let nobody begin with anything else.

        Opens all gates: who is interrupted after taking a worker from the list never opens that one's.
        """
        self._stopped = True
        for gate in self._gates:
            _open(gate)

    def _is_done(self, index: int) -> bool:
        return len(self._done[index]) == len(self._jobs[index].items)

    def _wait(self, worker: int, index: int) -> None:
        """Sleep until someone wakes this worker, which may be too early."""
        self._waiting.append(worker)
        if self._is_done(index) or self._stopped:
            try:
                self._waiting.remove(worker)
            except ValueError:
                pass  # someone has taken the worker from the list, and opens its gate
            else:
                return
        self._gates[worker].acquire()

    def _wake(self) -> None:
        while self._waiting:
            try:
                worker = self._waiting.pop()
            except IndexError:
                return
            _open(self._gates[worker])


def _open(gate: threading.Lock) -> None:
    """Let through who waits there, or comes next."""
    with suppress(RuntimeError):  # someone else has opened it
        gate.release()
