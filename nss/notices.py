"""Notices of the library beside its results: one line each, to the caller's ``notify``, and never printed.

Without ``notify`` a notice goes to the logger "nss" as a warning. A program that has set up `logging` sees it
there; in one that has not, nothing is printed, and the notice stays on the object that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nss.errors import UsageError

Notify = Callable[[str], None]
"""Takes a notice as one line, from any thread."""

_displays = False


def logged(line: str) -> None:
    """A notice for the logger "nss", which has a handler that does nothing, so that Python does not print it."""
    import logging

    logger = logging.getLogger("nss")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.warning("%s", line)


class Notices:
    """Keeps the notices that pass through it on their way to ``notify``, or to the log.

    Attributes:
        heard: whether they go to the caller, so that a notice which is due once need not come again.
        lines: the notices so far.
    """

    def __init__(self, notify: Notify | None) -> None:
        """Raises UsageError where ``notify`` cannot be called."""
        if notify is not None and not callable(notify):
            raise UsageError(f"'notify' is a function that takes a line, not {type(notify).__name__}")
        self.heard = notify is not None
        self.lines: tuple[str, ...] = ()
        self._notify = notify or logged

    def __call__(self, line: str) -> None:
        self.lines = (*self.lines, line)
        self._notify(line)


def is_heard(notify: Notify | None) -> bool:
    """Whether a notice that is given to ``notify`` reaches more than the log."""
    return notify.heard if isinstance(notify, Notices) else notify is not None


@contextmanager
def displays() -> Iterator[None]:
    """Within the block progress may be displayed on standard error: a command's own, and no library's."""
    global _displays
    before, _displays = _displays, True
    try:
        yield
    finally:
        _displays = before


def may_display() -> bool:
    """Whether the process is within `displays`."""
    return _displays
