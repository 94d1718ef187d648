"""One Python thread for each core, each with single-threaded BLAS.

NumPy releases the interpreter lock in copies, arithmetic and matrix products, so threads over strips of a layer keep
every core busy with all three. BLAS's own threads would speed up the products alone, and fight these for the cores.
Calls should be long: below some tens of microseconds, handing the lock from thread to thread costs more than it gains.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")

SHARE = 1 << 15
"""Elements below which an element-wise step is not worth handing to another thread."""


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool:
    """Workers that share out the parts of one step at a time, with a scratch buffer each; the caller is worker 0."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available_cores()
        self._others = ThreadPoolExecutor(self.threads - 1, "engine-cpu") if self.threads > 1 else None
        self._blas = ThreadpoolController().select(user_api="blas")
        self._scratch = [np.empty(0, np.float32) for _ in range(self.threads)]

    @contextmanager
    def single_threaded_blas(self) -> Iterator[None]:
        """Within it, each BLAS call of this process stays on the thread that makes it."""
        with self._blas.limit(limits=1):
            yield

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

    def each(self, work: Callable[[int, Item], None], items: Iterable[Item]) -> None:
        """Call ``work(worker, item)`` once for each item, in any order; returns when all are done.

        The first error, an interrupt among them, is raised here once every worker has stopped.
        """
        queue = list(items)[::-1]

        def drain(worker: int) -> None:
            while True:
                try:
                    item = queue.pop()
                except IndexError:
                    return
                work(worker, item)

        others = min(self.threads, len(queue)) - 1
        futures = [self._others.submit(drain, worker + 1) for worker in range(others)] if self._others else []
        try:
            drain(0)
        finally:
            queue.clear()
            errors = [future.exception() for future in futures]
        for error in errors:
            if error is not None:
                raise error

    def ranges(self, count: int, elements: int) -> list[tuple[int, int]]:
        """``count`` rows of ``elements`` in all, cut into a range for each worker; a single one when that is little."""
        parts = max(1, min(self.threads, count, elements // SHARE))
        edges = [count * part // parts for part in range(parts + 1)]
        return list(pairwise(edges))

    def close(self) -> None:
        """Stop the workers."""
        if self._others:
            self._others.shutdown(wait=True)
