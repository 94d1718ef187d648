"""Threads that compile: an implementation lets go of the interpreter lock while it does."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from engine.cores import available_cores
from engine.errors import BackendError
from engine.forks import in_child

IDLE_S = 5.0
"""Seconds after which a thread without work ends."""

EXIT_S = 30.0
"""Seconds that the end of the process waits for what is being compiled: a driver's exit handlers would take away what
it works on."""

Job = tuple["Future[Any]", Callable[[], Any]]


class Compiler:
    """A pool of daemon threads, as many as there are cores and no more than the work asks for, which end when idle."""

    def __init__(self) -> None:
        self._renew()
        in_child(self._renew)
        atexit.register(self._stop)

    def _renew(self) -> None:
        self._condition = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._threads = self._busy = 0

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """The future of ``job()``; it raises BackendError where the system gives the pool no thread at all."""
        future: Future[Any] = Future()
        with self._condition:
            if self._threads < min(self._busy + len(self._jobs) + 1, available_cores()):
                try:
                    threading.Thread(target=self._work, name="nss-compile", daemon=True).start()
                    self._threads += 1
                except RuntimeError as error:
                    if not self._threads:
                        text = f"compiling kernels: {error}; allow this process more threads, or use backend 'numpy'"
                        future.set_exception(BackendError(text))
                        return future
            self._jobs.append((future, job))
            self._condition.notify()
        return future

    def _work(self) -> None:
        condition = self._condition
        while True:
            with condition:
                if not condition.wait_for(lambda: self._jobs, IDLE_S):
                    self._threads -= 1
                    return
                future, job = self._jobs.popleft()
                self._busy += 1
            try:
                if future.set_running_or_notify_cancel():
                    _run(future, job)
            finally:
                del future, job
                with condition:
                    self._busy -= 1
                    condition.notify_all()

    def _stop(self) -> None:
        """Begin nothing any more, and wait for what has begun."""
        with self._condition:
            self._jobs.clear()
            self._condition.wait_for(lambda: not self._busy, EXIT_S)


def _run(future: Future[Any], job: Callable[[], Any]) -> None:
    try:
        result = job()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
