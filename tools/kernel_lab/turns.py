"""Turns of processes at one adapter: any number that prepare and check, or one that measures, alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.context import SpawnContext

CONTEXT: SpawnContext = multiprocessing.get_context("spawn")
"""How processes begin: a driver does not survive a fork."""


class Turns:
    """What ``processes`` that were begun with it take turns by. One that waits to be alone lets no other begin."""

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self._gate, self._places = CONTEXT.Lock(), CONTEXT.Semaphore(processes)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Use the adapter beside others that do not measure."""
        with self._gate:
            self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Use the adapter as the only one."""
        with ExitStack() as places, self._gate:
            for _ in range(self.processes):
                places.enter_context(self._places)
            yield
