"""What uvicorn and asyncio log, as lines of the server: failures alone, one line each, and never a traceback."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nss.errors import one_line

Say = Callable[[str], None]

LOGGERS = ("uvicorn", "asyncio")

AGAIN_S = 60.0
"""A line is not said again within so many seconds: without descriptors, asyncio fails once a second."""


@contextmanager
def said(say: Say) -> Iterator[Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]]:
    """Within the block failures that are logged go to ``say``; gives an exception handler for a loop, which does so."""
    lines = _Lines(say)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.propagate for logger in loggers]
    handler = _Handler(lines)
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield lambda _, context: lines.say(str(context.get("message", "")), context.get("exception"))
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate


class _Lines:
    def __init__(self, say: Say) -> None:
        self._say = say
        self._times: dict[str, float] = {}

    def say(self, message: str, error: BaseException | None) -> None:
        if isinstance(error, asyncio.CancelledError):
            return
        what = "" if error is None else f" ({type(error).__name__}: {one_line(error)})"
        line = f"unexpected in the server: {one_line(message)}{what}"
        now = time.monotonic()
        if now - self._times.get(line, -AGAIN_S) < AGAIN_S:
            return
        if len(self._times) > 100:
            self._times.clear()
        self._times[line] = now
        self._say(line)


class _Handler(logging.Handler):
    def __init__(self, lines: _Lines) -> None:
        super().__init__(logging.ERROR)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not message.startswith("ASGI callable returned"):  # of an answer that broke off, why is said by the guard
            self._lines.say(message, record.exc_info[1] if record.exc_info else None)
