"""One Python thread for each core, each with single-threaded BLAS.

NumPy releases the interpreter lock in copies, arithmetic and matrix products, so threads over strips of a layer keep
every core busy with all three. BLAS's own threads would speed up the products alone, and fight these for the cores.
Calls should be long: below some tens of microseconds, handing the lock from thread to thread costs more than it gains.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from queue import SimpleQueue
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, finalize

import numpy as np
import threadpoolctl

from engine.cores import available_cores
from engine.forks import in_child, numerics

Item = TypeVar("Item")
Range = tuple[int, int]
Task = Callable[[], None]
"""What a worker is woken for."""
Do = Callable[..., object]
"""Makes a call: ``do(np.add, a, b, out)``. Views of memory are given to it, and no numbers that were read there."""

WAKE_NS = 50_000
"""What it costs to hand work to another thread and hear that it is done."""

LONG_NS = 4_000_000
"""Work of this length is cut finer, so that workers that are held up do not hold up the others."""


_TURN = threading.Lock()
_GUARD = threading.Lock()


def call(compute: Callable[..., object], *operands: object) -> None:
    """The call itself."""
    compute(*operands)


class _Visit:
    """One entry into ``single_threaded_blas``."""


_holders: WeakKeyDictionary[_Visit, int] = WeakKeyDictionary()
"""The visits that have not ended, and the thread of each. One whose end is interrupted goes with its frame."""
_limits: list[Any] = []
"""The BLAS limit that holds for them."""


@cache
def _blas() -> threadpoolctl.ThreadpoolController:
    """The BLAS libraries of this process; NumPy's is loaded by the time anyone asks."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Each BLAS call on the thread that makes it, for as long as any thread is within.

    BLAS has one limit for the process, so the first to come sets it, and the last to go puts back what was there. How
    BLAS splits a product shows in its last bits: within, that does not depend on the number of cores. Where a run cuts
    its steps does depend on the number of its threads, and can show in the last bits, too. A thread may enter again. A
    fork waits for the end of it.
    """
    with numerics.shared(), _limited_blas():
        yield


@contextmanager
def _limited_blas() -> Iterator[None]:
    visit = _Visit()
    try:
        with numerics.shared(), _GUARD:
            _holders[visit] = threading.get_ident()
            if not _limits:
                _free_control()
                _limits.append(_blas().limit(limits=1))
        yield
    finally:
        with numerics.shared(), _GUARD:
            # an interrupt before this line leaves the limit to whoever goes next
            _holders.pop(visit, None)
            if not _holders:
                _lift_limits()


@contextmanager
def turn() -> Iterator[None]:
    """One run of the process at a time, with each BLAS call on the thread that makes it.

    A run uses every core, so two at once would only be in each other's way. Not re-entrant: a run cannot start another.
    A fork does not wait for the end of it, but for that of some steps that together take a few milliseconds by
    estimate, or of a longer one: these take ``numerics`` themselves.
    """
    with _TURN, _limited_blas():
        yield


def _renew_locks() -> None:
    """In a forked child: the locks of threads that it does not have are nobody's."""
    global _TURN, _GUARD
    _TURN, _GUARD = threading.Lock(), threading.Lock()
    for visit, thread in list(_holders.items()):
        if thread != threading.get_ident():
            del _holders[visit]


in_child(_renew_locks)


def _lift_limits() -> None:
    _free_control()
    while _limits:
        _limits[-1].__exit__(None, None, None)
        # only now: an interrupt before this line leaves the limit to the next one to lift
        _limits.pop()
    _free_control()


def _free_control() -> None:
    """threadpoolctl 3.8 ignores every thread but the first that set a limit, as long as that one lives."""
    clear = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)
    if clear:
        clear(force=True)


class Pool:
    """Workers that share out the parts of one step at a time, with a scratch buffer each; the caller is worker 0."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available_cores()
        self._scratch = [np.empty(0, np.float32) for _ in range(self.threads)]
        self._start_workers()

    def _start_workers(self) -> None:
        self._process = os.getpid()
        self._halt: Callable[[], object] = _nothing
        self._busy = [threading.Lock() for _ in range(self.threads)]
        self._inboxes: list[SimpleQueue[Task | None]] = [SimpleQueue() for _ in self._busy[1:]]
        self._workers: list[threading.Thread] = []
        self._stop = finalize(self, _stop, self._inboxes)

    def _inboxes_of_workers(self) -> Sequence[SimpleQueue[Task | None]]:
        """Where each worker but the caller takes its tasks from; they begin with the first one."""
        if not self._workers:
            self._workers = [
                # those that are idle hold nobody back who leaves without closing
                threading.Thread(target=_serve, args=(inbox,), name=f"engine-cpu_{number}", daemon=True)
                for number, inbox in enumerate(self._inboxes)
            ]
            for worker in self._workers:
                worker.start()
        return self._inboxes

    def reserve(self, elements: int) -> None:
        """Make every worker's scratch at least that many float32 elements long."""
        if elements > self._scratch[0].size:
            self._scratch = [np.empty(elements, np.float32) for _ in range(self.threads)]

    @property
    def scratch_bytes(self) -> int:
        """Bytes of all scratch buffers."""
        return sum(buffer.nbytes for buffer in self._scratch)

    def scratch(self, worker: int) -> np.ndarray:
        """The float32 scratch of one worker; it holds whatever the last step left there."""
        return self._scratch[worker]

    def ranges(self, count: int, nanoseconds: float, max_rows: int | None = None) -> list[Range]:
        """``count`` rows, which take one core about that long, cut into even ranges of at most ``max_rows`` rows.

        There are as many ranges for every worker, unless the work is too short to be worth waking one.
        """
        parts = 1 if nanoseconds < 2 * WAKE_NS else self.threads * (2 if nanoseconds > LONG_NS else 1)
        if max_rows is not None:
            parts = max(parts, -(-count // max_rows))
        if nanoseconds >= 2 * WAKE_NS:
            parts = -(-parts // self.threads) * self.threads
        edges = [count * part // parts for part in range(parts + 1)]
        return [(first, last) for first, last in pairwise(edges) if last > first]

    def each(self, work: Callable[[int, Item], None], items: Iterable[Item]) -> None:
        """Call ``work(worker, item)`` once for each item, in any order; returns when all are done.

        The first error of a worker is raised here once every worker has stopped. An interrupt is raised at once: what
        the workers have in hand then ends behind its back, and ``settle`` waits for it.
        """
        queue = list(items)[::-1]
        if len(queue) == 1 or self.threads == 1:
            # the caller's own: what an interrupted call left behind has nothing of its scratch
            while queue:
                work(0, queue.pop())
            return

        def drain(worker: int) -> None:
            while queue:
                try:
                    item = queue.pop()
                except IndexError:
                    return
                work(worker, item)

        self.together(drain, queue.clear, len(queue))

    def each_by_calls(self, make: Callable[[Do, int, Item], None], items: Iterable[Item]) -> None:
        """As ``each``, of work that is nothing but calls, the same each time: ``make(do, worker, item)`` makes them."""
        self.each(partial(make, call), items)

    def reshaped(self, array: np.ndarray, *shape: int) -> np.ndarray:
        """``array`` in that shape, a view where that is possible: for what calls of ``each_by_calls`` read or write."""
        return array.reshape(shape)

    def together(self, run: Callable[[int], None], stop: Callable[[], object], workers: int | None = None) -> None:
        """Call ``run(worker)`` on each of the workers, or on so many of them; returns when those are done that began.

        One that wakes later must find nothing left to do. Errors and interrupts are as in ``each``; ``stop`` is called
        at the end in any case, and after it ``run`` must come to its end.
        """
        self.settle()
        self._halt = stop
        busy = self._busy
        errors: list[BaseException] = []

        def help_out(worker: int) -> None:
            with busy[worker]:
                try:
                    run(worker)
                except BaseException as error:
                    errors.append(error)
                    stop()

        try:
            if workers is None or workers > 1:
                for worker, inbox in enumerate(self._inboxes_of_workers()[: workers and workers - 1], 1):
                    inbox.put(partial(help_out, worker))
            with busy[0]:
                run(0)
        finally:
            stop()
        # a worker that is not busy by now has nothing left to begin with, and nobody waits for it
        self._wait()
        self._halt = _nothing
        for error in errors:
            raise error

    def settle(self) -> None:
        """Wait until no worker is at anything that an interrupted ``each`` left behind; a forked child gets its own."""
        if self._process != os.getpid():
            self._start_workers()
        self._halt()
        self._wait()

    def _wait(self) -> None:
        """Until no worker is busy."""
        for busy in self._busy:
            with busy:
                pass

    def close(self) -> None:
        """Stop the workers; those of a forked child's parent are none of its own."""
        if self._process == os.getpid():
            with self._busy[0]:  # what a caller is at comes to its end; what it was interrupted at is stopped
                self._halt()
        self._stop()
        if self._process == os.getpid():
            for worker in self._workers:
                worker.join()


def _nothing() -> None:
    """What stops workers that do nothing."""


def _serve(inbox: SimpleQueue[Task | None]) -> None:
    """A worker's life: one task after the other, until there is None."""
    with np.errstate(all="ignore"):  # infinities and NaN are results; the state is each thread's own
        while (task := inbox.get()) is not None:
            task()
            del task  # it holds the pool


def _stop(inboxes: Iterable[SimpleQueue[Task | None]]) -> None:
    for inbox in inboxes:
        inbox.put(None)
