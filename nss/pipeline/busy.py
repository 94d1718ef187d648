"""Which stage holds the others up, from how busy each was of late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_S = 1.5
"""How far back is looked, in seconds."""

MOST = 400
"""How many calls are looked at, at most."""

LEAST_S = 0.3
"""How much there must be to look at."""

IDLE = 0.25
"""Where all are busy for less than this share of the time, what holds them up is none of the stages."""


class Busy:
    """How busy the threads that load and finish, and the lanes of the network, were of late. Any thread may use it.

    The stages are "decode", "network" and "write".
    """

    def __init__(self, threads: int, lanes: int) -> None:
        self._start = time.monotonic()
        self._threads, self._lanes = threads, lanes
        self._running: dict[object, tuple[str, float]] = {}
        self._past: deque[tuple[str, float, float]] = deque(maxlen=MOST)

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """One thread or lane is at this stage for the time of the context."""
        self.begin(key := object(), stage)
        try:
            yield
        finally:
            self.end(key)

    def begin(self, key: object, stage: str) -> None:
        """As the context; once more with the same ``key`` does nothing."""
        self._running.setdefault(key, (stage, time.monotonic()))

    def end(self, key: object) -> None:
        """The end of what began with ``key``, where it has begun."""
        if (entry := self._running.pop(key, None)) is not None:
            self._past.append((*entry, time.monotonic()))

    def bottleneck(self) -> str:
        """The stage that the others wait for, or "" where that cannot be said."""
        now = time.monotonic()
        past, running = list(self._past), list(self._running.values())  # each made in one step of the interpreter
        since = max(self._start, now - WINDOW_S)
        if now - since < LEAST_S:
            return ""
        if len(past) == MOST:
            since = max(since, past[0][2])
        seconds = {"decode": 0.0, "network": 0.0, "write": 0.0}
        for stage, start, end in [*past, *((*entry, now) for entry in running)]:
            seconds[stage] += max(0.0, end - max(start, since))
        threads = (seconds["decode"] + seconds["write"]) / (self._threads * (now - since))
        lanes = seconds["network"] / (self._lanes * (now - since))
        if max(threads, lanes) < IDLE:
            return ""
        if lanes >= threads:
            return "network"
        return "decode" if seconds["decode"] >= seconds["write"] else "write"
