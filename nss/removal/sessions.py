"""The sessions of one model, one for each shape of its input, since a plan has one shape."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

import engine

MOST = 4
"""How many stay open: photos of a camera come in two shapes, and each session has weights of its own."""

Shape = tuple[int, ...]
Outputs = Mapping[str, np.ndarray]


class Handle(Protocol):
    """A run that the engine was given. ``repeated``, once there are outputs: as `Flight` has it."""

    @property
    def repeated(self) -> bool: ...

    def result(self) -> Outputs:
        """Wait for its outputs, by name."""
        ...


class Flight:
    """A run that has been begun, and its outputs, which stay when its session is closed meanwhile.

    Attributes:
        session: where it runs.
        repeated: whether it was computed once more, in precision "f32-strict"; known once there are outputs.
    """

    def __init__(self, session: engine.Session, handle: Handle) -> None:
        self.session = session
        self._handle: Handle | None = handle
        self._lock = threading.Lock()
        self._outputs: Outputs = {}
        self._error: Exception | None = None
        self.repeated = False

    def outputs(self) -> Outputs:
        """Wait for the outputs, by name. Raises what the run raised."""
        with self._lock:
            if self._handle is not None:
                try:
                    self._outputs = self._handle.result()
                    self.repeated = self._handle.repeated
                except Exception as error:
                    self._error = error
                self._handle = None
        if self._error is not None:
            raise self._error
        return self._outputs


@dataclass(frozen=True, eq=False)
class _Entry:
    """A session and its gate: a thread is inside from before it gets the session until its run has begun.

    ``flights`` are the runs whose outputs somebody may still ask for; they are waited for before the session is closed.
    So it may also be closed by the thread that has them in flight.
    """

    session: engine.Session
    gate: engine.Gate
    flights: weakref.WeakSet[Flight] = field(default_factory=weakref.WeakSet)


class Sessions:
    """Sessions by the shape of the input, of which those used last are kept; any thread may use them.

    A forked child finds those of its parent.
    """

    def __init__(self, session: engine.Session, shape: Shape, open_session: Callable[[Shape], engine.Session]) -> None:
        """Begin with one session.

        Args:
            session: the first.
            shape: of its input.
            open_session: makes a session for an input of another shape; what it raises, `entered` raises.
        """
        self._open = open_session
        self._closed = False
        self._renew()
        self._entries = {shape: _Entry(session, engine.Gate(_closed_error))}
        self._newest = session

    def _renew(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()

    @property
    def newest(self) -> engine.Session:
        """The one that was entered last, which may be closed by now."""
        return self._newest

    def submit(self, shape: Shape, begin: Callable[[engine.Session], Handle]) -> Flight:
        """Begin a run on the session for an input of this shape. Raises what `entered` and ``begin`` do."""
        with self._entered(shape) as entry:
            flight = Flight(entry.session, begin(entry.session))
            entry.flights.add(flight)
            return flight

    @contextmanager
    def entered(self, shape: Shape) -> Iterator[engine.Session]:
        """The session for an input of this shape, which stays open for the time of the context.

        Raises BackendError when all are closed, and what opening a session raises.
        """
        with self._entered(shape) as entry:
            yield entry.session

    @contextmanager
    def _entered(self, shape: Shape) -> Iterator[_Entry]:
        """Where ``MOST`` are open, the one that was entered longest ago is closed first, once no thread is inside, and
        what is in flight there has come.
        """
        with ExitStack() as inside:
            with self._exclusive():
                entry = self._entry(shape)
                inside.enter_context(entry.gate.entered())
            yield entry

    def close(self) -> None:
        """Wait for the runs of other threads, and close all."""
        with self._exclusive(), ExitStack() as closing:  # which calls them all, though one fails
            self._closed = True
            for entry in self._entries.values():
                closing.callback(_close, entry)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if self._process != os.getpid():  # forked: a thread of the parent may have held the lock
            self._renew()
        with self._lock:
            yield

    def _entry(self, shape: Shape) -> _Entry:
        if self._closed:
            raise _closed_error()
        entry = self._entries.pop(shape, None)
        if entry is None:
            if len(self._entries) >= MOST:
                self._close_oldest()
            entry = _Entry(self._open_in_memory(shape), engine.Gate(_closed_error))
        self._entries[shape] = entry
        self._newest = entry.session
        return entry

    def _open_in_memory(self, shape: Shape) -> engine.Session:
        while True:
            try:
                return self._open(shape)
            except (engine.TooLargeError, MemoryError):
                if not self._entries:
                    raise
                self._close_oldest()  # its weights lie in the memory that is short

    def _close_oldest(self) -> None:
        _close(self._entries.pop(next(iter(self._entries))))


def _close(entry: _Entry) -> None:
    _wait_for(entry)  # whoever is inside may be waiting for them
    entry.gate.close()
    _wait_for(entry)
    entry.session.close()


def _wait_for(entry: _Entry) -> None:
    for flight in list(entry.flights):
        with suppress(Exception):  # which is for whoever asks for the outputs
            flight.outputs()


def _closed_error() -> engine.BackendError:
    return engine.BackendError("the model is closed; open it again to run it")
