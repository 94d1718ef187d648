"""SIGINT, SIGTERM and SIGHUP while a command is at work: an exception that reaches the code which ends it."""

from __future__ import annotations

import _thread
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from nss import early_signals

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


INSIST_S = 1.0
"""How long, in seconds, the exception may take to reach the code that ends the command."""

RETRY_S = 0.02
PATIENCE = 250
"""How often a signal is put off until an import is over; for a program that is itself run by an import."""

_pending: list[tuple[int, float]] = []
"""The signals that have not reached the code which ends the command, and when each was raised; -inf: put off."""


class Terminated(BaseException):
    """SIGINT, SIGTERM or SIGHUP: raised where the program stands, so that temporary files go.

    Like KeyboardInterrupt it is no Exception, so that nothing takes it for the failure of one image; unlike that, typer
    does not take it for its own.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.word = early_signals.word(signal_number)
        self.exit_code = 128 + signal_number


def describe_stop(stop: BaseException) -> tuple[str, int]:
    """The word and the exit status of an end that came from outside, for whoever says it and ends."""
    forget_stop()
    return (stop.word, stop.exit_code) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)


def raise_stop(number: int, frame: FrameType | None) -> None:
    """The handler that `stop_signals` sets.

    A signal in the middle of an import comes again when that is over: extension modules may crash where something is
    raised as they are imported, and others drop it. What is raised elsewhere and lost comes again, too, until
    `describe_stop` or `forget_stop` is called, or the block is left.
    """
    if not _pending:
        _thread.start_new_thread(_insist, (number,))
    if len(_pending) < PATIENCE and _is_importing(frame):
        _pending.append((number, -math.inf))
        return
    _pending.append((number, time.monotonic()))
    raise Terminated(number)


def _insist(number: int) -> None:
    time.sleep(RETRY_S)
    while _pending:
        for _, time_raised in _pending[-1:]:
            if time.monotonic() - time_raised > INSIST_S:
                _thread.interrupt_main(signal.Signals(number))
        time.sleep(RETRY_S)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def forget_stop() -> None:
    """Let a signal be the last that was heard of it: the command ends in its own way."""
    _pending.clear()


def raise_if_stopped() -> None:
    """Raise `Terminated` where a signal has come and what it raised was lost."""
    if _pending:
        raise Terminated(_pending[0][0])


@contextmanager
def stop_signals() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP raise `Terminated`, unless the process ignores or handles them."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # Python handles signals in no other
        handlers = {number: signal.getsignal(number) for number in early_signals.numbers()}
        ours = (signal.SIG_DFL, signal.default_int_handler, early_signals.end_at_once)
        before = {number: handler for number, handler in handlers.items() if handler in ours}
    try:
        for number in before:
            signal.signal(number, raise_stop)
        yield
        raise_if_stopped()
    finally:
        _pending.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
