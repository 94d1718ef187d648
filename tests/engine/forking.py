"""A forked child that does one thing, within a time, and says how it ended."""

from __future__ import annotations

import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable

import pytest

SOON_S = 60.0
"""What a child has at most, on a machine with much else to do; a child that hangs would never end."""


def outcome_of_child(call: Callable[[], object]) -> str:
    """What ``call`` returns in a forked child, or the error that it raises, as text.

    The test fails where the child has not ended within SOON_S, and is skipped where there is no fork.
    """
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork: WHAT A FORKED CHILD FINDS IS NOT TESTED")
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which are what is tried here
        child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            try:
                text = str(call())
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
            os.write(writer, text.encode())
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            with os.fdopen(reader, "rb") as pipe:
                text = pipe.read().decode()
            assert os.waitstatus_to_exitcode(status) == 0, f"the child ended with {status}: {text}"
            return text
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        output = pipe.read().decode()
    pytest.fail(f"the child hangs; it had said: {output!r}", pytrace=False)
