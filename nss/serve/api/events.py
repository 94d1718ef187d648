"""What changes, told as it does: a bounded log of events, and readers of it by server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 1024
"""Events that the log holds: a reader that is further behind gets the present state instead."""

ALIVE_S = 15.0
"""Seconds of silence after which a reader gets a comment, so that nothing between takes the connection for dead."""

BEFORE_ALL = 0
"""The number of an event behind which a reader has everything to come."""

ENDED = frozenset({"done", "failed", "cancelled", "removed"})
"""States behind which nothing more is told of a job."""


@dataclass(frozen=True, slots=True)
class Event:
    """A job's state, as it was told.

    Attributes:
        number: one more than that of the event before.
        id: of the job.
        is_last: nothing follows of this job but that it was removed.
        text: as a reader gets it.
    """

    number: int
    id: str
    is_last: bool
    text: bytes


class EventLog:
    """The last events, numbered. Of one thread, that of the loop.

    Attributes:
        last: the number of the newest. The first numbers are those of the time at which the log began, so that one that
            a reader has of an earlier process is not taken for one of these.
        is_closed: nothing more is told, and readers end.
    """

    def __init__(self, most: int = MOST, first: int | None = None) -> None:
        self.last = (time.time_ns() // 1_000_000 if first is None else first) - 1
        self.is_closed = False
        self._events: deque[Event] = deque(maxlen=most)
        self._news = asyncio.Event()

    def add(self, job: Mapping[str, Any]) -> None:
        """Tell a job's state; ``job`` is its JSON, with "id" and "state" at least."""
        self.last += 1
        self._events.append(_event(self.last, job))
        self._wake()

    def close(self) -> None:
        """Let readers end when they have what is there."""
        self.is_closed = True
        self._wake()

    def holds(self, number: int) -> bool:
        """Whether all that came after this event is still there."""
        return self.last - len(self._events) <= number <= self.last

    def after(self, number: int) -> Event | None:
        """The event after one that `holds` is true of; None where that is the newest."""
        return None if number == self.last else self._events[number - self.last + len(self._events)]

    async def wait(self, number: int, seconds: float) -> bool:
        """Wait for an event after this one, or the end of the log; false where none came within so many seconds."""
        news = self._news  # before it is looked: there is no other thread, and no await between
        if self.is_closed or self.last != number:
            return True
        try:
            await asyncio.wait_for(news.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


async def stream(
    log: EventLog,
    present: Callable[[], Sequence[Mapping[str, Any]]],
    last_number: int | None,
    *,
    of: str | None = None,
    alive: float = ALIVE_S,
) -> AsyncIterator[bytes]:
    """What a reader gets, piece by piece, as it takes it: nothing is held for one that is slow.

    Args:
        log: the events.
        present: gives the JSON of each job that it is to hear of as it is now.
        last_number: what it had before; without it, or where the log has not all since, it begins with the present.
        of: the id of the job that it wants; the stream then ends with that job. None for all, until the log is closed.
        alive: seconds after which silence is broken.
    """
    position = last_number
    while True:
        if position is None or not log.holds(position):
            position = log.last
            jobs = present()
            for index, job in enumerate(jobs, 1):
                # whoever is cut off in the middle has not yet got all up to this number, and is to begin anew
                event = _event(position if index == len(jobs) else BEFORE_ALL, job)
                yield event.text
                if of is not None and event.is_last:
                    return
            continue
        if (following := log.after(position)) is not None:
            position = following.number
            if of in (None, following.id):
                yield following.text
                if of is not None and following.is_last:
                    return
        elif log.is_closed:
            return
        elif of is not None and not any(job["state"] not in ENDED for job in present()):
            return  # it had ended before the reader came
        elif not await log.wait(position, alive):
            yield b": alive\n\n"


def _event(number: int, job: Mapping[str, Any]) -> Event:
    data = json.dumps(job, ensure_ascii=False, separators=(",", ":"))
    return Event(number, job["id"], job["state"] in ENDED, f"id: {number}\ndata: {data}\n\n".encode())
