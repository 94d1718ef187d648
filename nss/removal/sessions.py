"""The sessions of one model, one for each shape of its input, since a plan has one shape."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import engine

MOST = 4
"""How many are kept: photos of a camera come in two shapes, and each session has weights of its own."""

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Kept:
    """A session, and the gate that whoever uses it is inside of, from before it was handed out until after its run."""

    session: engine.Session
    gate: engine.Gate


class Sessions:
    """Sessions by the shape of the input, of which those used last are kept; any thread may use them.

    A forked child finds those of its parent.
    """

    def __init__(self, session: engine.Session, shape: Shape, open_session: Callable[[Shape], engine.Session]) -> None:
        """Begin with one session.

        Args:
            session: the first.
            shape: of its input.
            open_session: makes a session for an input of another shape; what it raises, whoever asks for one gets.
        """
        self._open = open_session
        self._closed = False
        self._renew()
        self._kept = {shape: _Kept(session, engine.Gate(_closed))}

    def _renew(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()

    @property
    def newest(self) -> engine.Session:
        """The one that was asked for last."""
        return next(reversed(self._kept.values())).session

    @contextmanager
    def entered(self, shape: Shape) -> Iterator[engine.Session]:
        """The session for an input of this shape, which stays open for the time of the context.

        Where as many are open as are kept, the one that was asked for longest ago is closed first, once nobody is
        inside. Raises BackendError when all are closed, and what opening a session raises.
        """
        with ExitStack() as inside:
            with self._locked():
                kept = self._asked_for(shape)
                inside.enter_context(kept.gate.entered())
            yield kept.session

    def close(self) -> None:
        """Wait for the runs of other threads, and close all."""
        with self._locked(), ExitStack() as closing:  # which calls them all, though one fails
            self._closed = True
            for kept in self._kept.values():
                closing.callback(_close, kept)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._process != os.getpid():  # forked: a thread of the parent may have held the lock
            self._renew()
        with self._lock:
            yield

    def _asked_for(self, shape: Shape) -> _Kept:
        if self._closed:
            raise _closed()
        kept = self._kept.pop(shape, None)
        if kept is None:
            if len(self._kept) >= MOST:
                self._close_oldest()
            kept = _Kept(self._opened(shape), engine.Gate(_closed))
        self._kept[shape] = kept
        return kept

    def _opened(self, shape: Shape) -> engine.Session:
        while True:
            try:
                return self._open(shape)
            except (engine.TooLargeError, MemoryError):
                if not self._kept:
                    raise
                self._close_oldest()  # its weights lie in the memory that is short

    def _close_oldest(self) -> None:
        _close(self._kept.pop(next(iter(self._kept))))


def _close(kept: _Kept) -> None:
    kept.gate.close()
    kept.session.close()


def _closed() -> engine.BackendError:
    return engine.BackendError("the model is closed; open it again to run it")
