"""What the calling thread waits for: a queue to which signals do no harm."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue

WAIT_S = 0.2
"""How long the calling thread waits at a time; on Windows signals are handled only in between."""


class Events:
    """Tells one thread that others have come further."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()

    def tell(self) -> None:
        """Something has happened. From any thread."""
        self._queue.put(None)

    def wait(self) -> None:
        """Until something may have happened since it was last looked."""
        with suppress(Empty):
            self._queue.get(timeout=WAIT_S)
        self.forget()

    def forget(self) -> None:
        """What was told is looked at next: the queue does not grow where there is no need to wait."""
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
