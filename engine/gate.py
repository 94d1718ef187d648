"""A gate before what many threads use and any of them may close."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Gate:
    """Lets threads in until it is closed, and then waits for those that are inside.

    A thread that is inside may enter again. A forked child finds the gate as it was, with nobody inside.
    """

    def __init__(self, refusal: Callable[[], Exception]) -> None:
        """``refusal`` makes the error that entering a closed gate raises."""
        self._refusal = refusal
        self._closed = False
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._condition = threading.Condition()
        self._inside: dict[object, int] = {}

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside for the time of the context; raises the refusal where the gate is closed."""
        if self._process != os.getpid():
            self._renew()
        thread, visit = threading.get_ident(), object()
        try:
            with self._condition:
                if self._closed and thread not in self._inside.values():
                    raise self._refusal()
                self._inside[visit] = thread
            yield
        finally:
            # also where an interrupt came between the two lines above
            with self._condition:
                self._inside.pop(visit, None)
                self._condition.notify_all()

    def close(self) -> bool:
        """Close the gate and wait until all other threads have left. Returns whether it was open."""
        if self._process != os.getpid():
            self._renew()
        own = threading.get_ident()
        with self._condition:
            was_open, self._closed = not self._closed, True
            self._condition.wait_for(lambda: all(thread == own for thread in self._inside.values()))
        return was_open
