"""Signals that come while the command is not at work: as its modules are imported, and when it has done all.

At first nothing is open that would have to be put away, so the process says one line and ends. An exception would not
do: raised in the middle of an import it is a traceback, and some extension modules make another error of it. At last
all is done and the status known, and what Python takes to end is not interrupted any more.
"""

from __future__ import annotations

# the module `signal` without its enumerations, which take longer to import than all that comes before
import _signal as signal  # type: ignore[import-not-found]
import os

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


def install() -> None:
    """Take over the signals that the process neither ignores nor handles otherwise. For the main thread alone."""
    for number in numbers():
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end_at_once)


def ignore() -> None:
    """Ignore the signals that `install` took over: Python, as it ends, gives them back their default, and no word."""
    for number in numbers():
        if signal.getsignal(number) is end_at_once:
            signal.signal(number, signal.SIG_IGN)


def numbers() -> list[int]:
    """Those of the signals that this system has."""
    return [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


def word(number: int) -> str:
    """What the command says of a signal that ends it."""
    return "interrupted" if number == signal.SIGINT else "terminated"


def end_at_once(number: int, _: object) -> None:
    """One line on standard error, and the status that shells report for the signal."""
    try:
        os.write(2, f"nss-wgpu: {word(number)}\n".encode())
    finally:
        os._exit(128 + number)
