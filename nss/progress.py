"""What a person at a terminal sees while a command works for longer than a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

DELAY_S = 1.0


class Progress:
    """A bar on standard error that appears after ``DELAY_S`` and goes without a trace.

    Nothing is shown, and rich is not even imported, where the work is done sooner, standard error is not a terminal, or
    ``quiet`` is true.
    """

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total = total
        self._done = 0
        self._doing = ""
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(DELAY_S, self._appear)
        self._timer.daemon = True
        self._wanted = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        if self._wanted:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._wanted = False
            if self._bar:
                self._bar.stop()

    def update(self, done: int, doing: str) -> None:
        """Say that ``done`` images are finished, and what is being done now."""
        with self._lock:
            self._done, self._doing = done, doing
            if self._bar and self._task is not None:
                self._bar.update(self._task, completed=done, description=_escape(doing))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bar away while the block prints lines."""
        with self._lock:
            if self._bar:
                self._bar.stop()
            try:
                yield
            finally:
                if self._bar:
                    self._bar.start()

    def _appear(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        with self._lock:
            if not self._wanted:
                return
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,  # rich would send it to standard error
                redirect_stderr=False,
            )
            self._task = self._bar.add_task(_escape(self._doing), total=self._total, completed=self._done)
            self._bar.start()


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
