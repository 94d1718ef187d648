"""What the threads of a pool hand each other: requests, places for workers, and photos between their halves."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from nss.workers.messages import Named
    from nss.workers.process import WorkerProcess


class Request:
    """What a thread waits for."""

    def __init__(
        self, job: Named, held: HeldPhoto | None = None, arrays: Sequence[np.ndarray] = (), output: Any = None
    ) -> None:
        self.job, self.held, self.arrays, self.output = job, held, arrays, output
        self.rest: Any = job
        self.is_first_half = False
        self.deaths = 0
        self.answer: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def wait(self) -> Any:
        """The answer, once it is there. Raises what the work raised."""
        value, error = self.answer.get()
        if error is not None:
            raise error
        return value


class Place:
    """Where a worker is: another process takes its place where it dies."""

    def __init__(self) -> None:
        self.process: WorkerProcess | None = None
        self.own: deque[Request] = deque()
        """Second halves, which no other worker can do so cheaply."""
        self.dropped: deque[HeldPhoto] = deque()
        self.free: list[int] = []
        """The numbers of its blocks that no photo has."""
        self.idle_deaths = 0
        self.is_given_up = False


@dataclass(eq=False)
class HeldPhoto:
    """A photo between its halves.

    Attributes:
        job: what it is.
        rest: what its second half needs of the job, from the worker that keeps the photo.
        summary: what the first half had to say.
        arrays: what it has made, in memory that is shared: they hold until `WorkerPool.finish` is called, and after
            that they are another photo's.
    """

    job: Named
    rest: Any = field(repr=False)
    summary: Any
    arrays: list[np.ndarray] = field(repr=False)
    _place: Place = field(repr=False)
    _process: WorkerProcess = field(repr=False)
    _block: int | None
    _key: int
    _is_done: bool = False

    def __del__(self) -> None:
        # one that nobody wants any more, for instance because of an interrupt; called by the collector, so from
        # anywhere: nothing here waits for a lock
        if not self._is_done:
            self._is_done = True
            self.arrays = []
            self._place.dropped.append(self)
