"""Standard error without the messages of drivers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard what native code writes to standard error meanwhile: Dawn warns of each driver that it does not use."""
    try:
        stderr_copy = os.dup(2)
    except OSError:  # the process has no standard error
        yield
        return
    null_device = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null_device, 2)
        yield
    finally:
        os.dup2(stderr_copy, 2)
        os.close(null_device)
        os.close(stderr_copy)
