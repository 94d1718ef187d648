"""Where runs are computed once more whose numbers a first session does not hold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A session, as far as it is of interest here."""

    def close(self) -> None:
        """Free what it holds."""


Session = TypeVar("Session", bound=Closable)


class Repeats(Generic[Session]):
    """A session that is opened for the first run that needs it; any thread may ask."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open, self._lock = open_session, threading.Lock()
        self._session: Session | None = None

    def session(self) -> Session:
        """The session. Raises what opening one does."""
        with self._lock:
            if self._session is None:
                self._session = self._open()
            return self._session

    def close(self) -> None:
        """Close the session, if there is one."""
        with self._lock:
            if self._session is not None:
                self._session.close()
