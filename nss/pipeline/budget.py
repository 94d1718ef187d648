"""How much memory the photos in work may take, whatever their sizes.

A photo's share is reserved before it is decoded, by what its header says, and released when its file is written. So a
photo of 200 megapixels among small ones waits for room, and those behind it wait for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from types import TracebackType

WAIT_S = 0.2
"""How long a thread waits at a time; on Windows signals are handled only in between."""


def default_bytes() -> int:
    """Half of the memory that is free now, at least one byte: what waits for more than there is gets it alone."""
    import engine

    return max(1, engine.available_memory() // 2)


class BudgetClosedError(Exception):
    """The budget was closed: nothing more is to be begun."""


class Lease:
    """A part of a `MemoryBudget`, until it is released; as a context manager, to the end of the block.

    Attributes:
        nbytes: how many bytes it is.
    """

    def __init__(self, budget: MemoryBudget, nbytes: int) -> None:
        self.nbytes = nbytes
        self._budget = budget
        # setdefault is atomic: of two threads that release it, or of one that a signal interrupts, one gives it back
        self._released: dict[str, object] = {}

    def release(self) -> None:
        """Give it back; again does nothing. From any thread."""
        token = object()
        if self._released.setdefault("by", token) is token:
            self._budget._give_back(self.nbytes)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class MemoryBudget:
    """Bytes that are given out in the order in which they are asked for.

    Nobody goes before one who waits, however little it wants: else a large photo would wait for the end of the batch.
    A request larger than the whole budget waits until it is alone, and then is granted, since no wait would help it.

    Attributes:
        nbytes: how many there are.
    """

    def __init__(self, nbytes: int) -> None:
        """Raises ValueError where ``nbytes`` is not positive."""
        if nbytes <= 0:
            raise ValueError(f"a memory budget of {nbytes} bytes: a positive number is wanted")
        self.nbytes = nbytes
        self._lock = threading.Lock()
        self._reserved = 0
        self._waiting: deque[_Request] = deque()
        self._is_closed = False

    @property
    def reserved(self) -> int:
        """Bytes that are given out."""
        return self._reserved

    def try_reserve(self, nbytes: int) -> Lease | None:
        """A part of this size if there is room now and no one waits; else None.

        Raises:
            BudgetClosedError: the budget is closed.
        """
        with self._lock:
            self._check_open()
            if self._waiting or not self._has_room(nbytes):
                return None
            self._reserved += nbytes
        return Lease(self, nbytes)

    def reserve(self, nbytes: int, timeout: float | None = None) -> Lease | None:
        """A part of this size, once there is room and those who asked before have theirs.

        A signal that comes meanwhile is handled, and what its handler raises ends the wait, and the request with it.

        Args:
            nbytes: bytes, 0 or more.
            timeout: seconds after which to give up, with None as the result; without, it is waited for as long as it
                takes.

        Raises:
            BudgetClosedError: the budget is closed, or was while it was waited for.
        """
        request = _Request(nbytes)
        try:
            with self._lock:
                self._check_open()
                self._waiting.append(request)
                self._grant()
            request.wait(timeout)
            if self._withdraw(request):
                return None
            if not request.is_granted:
                raise BudgetClosedError
            return Lease(self, nbytes)
        except BaseException:
            if not self._withdraw(request) and request.is_granted:
                self._give_back(nbytes)
            raise

    def close(self) -> None:
        """Give out nothing more: whoever waits, or comes later, gets a BudgetClosedError. Leases stay as they are."""
        with self._lock:
            self._is_closed = True
            while self._waiting:
                self._waiting.popleft().wake()

    def _check_open(self) -> None:
        if self._is_closed:
            raise BudgetClosedError

    def _has_room(self, nbytes: int) -> bool:
        return self._reserved == 0 or self._reserved + nbytes <= self.nbytes

    def _grant(self) -> None:
        """Serve those who wait, in their order, as far as there is room. The lock is held."""
        while self._waiting and self._has_room(self._waiting[0].nbytes):
            request = self._waiting.popleft()
            self._reserved += request.nbytes
            request.is_granted = True
            request.wake()

    def _give_back(self, nbytes: int) -> None:
        with self._lock:
            self._reserved -= nbytes
            self._grant()

    def _withdraw(self, request: _Request) -> bool:
        """Take a request back if it still waits, and say whether it did."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
                self._grant()  # those behind it may be smaller
                return True
            return False


class _Request:
    """Someone who waits.

    Attributes:
        nbytes: for how many bytes.
        is_granted: whether they are reserved for it.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.is_granted = False
        self._answer: SimpleQueue[None] = SimpleQueue()  # signals do no harm to it, unlike a Condition

    def wake(self) -> None:
        self._answer.put(None)

    def wait(self, timeout: float | None) -> None:
        """Until it has its answer, or for so many seconds."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                self._answer.get(timeout=min(WAIT_S, left))
            except Empty:
                continue
            return
