"""What a person at a terminal sees while a command works for longer than a second, and how fast it was."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

DELAY_S = 1.0
RECENT = 32
"""How many images the speed is taken over."""

WIDE = 100
"""Columns of a terminal from which on there is room for a bar beside what is said."""


def rate(count: int, seconds: float, what: str = "image") -> str:
    """How fast images are done: "3.4 images/s", or "12.5 s an image"; nothing where none is, or no time has passed."""
    if count <= 0 or seconds <= 0:
        return ""
    return f"{count / seconds:.1f} {what}s/s" if count >= seconds else f"{seconds / count:.1f} s a{_n(what)} {what}"


def _n(what: str) -> str:
    return "n" if what[0] in "aeiou" else ""


def summary(written: int, skipped: int, failed: int, seconds: float) -> str:
    """The last line of a batch: "212 images: 200 written, 8 skipped, 4 failed, in 61.2 s (3.3 images/s)".

    The speed is that of the images written.
    """
    total = written + skipped + failed
    counts = [f"{number} {word}" for number, word in ((written, "written"), (skipped, "skipped"), (failed, "failed"))]
    speed = f" ({text})" if (text := rate(written, seconds)) else ""
    return f"{total} image{'' if total == 1 else 's'}: {', '.join(counts)}, in {seconds:.1f} s{speed}"


class Pace:
    """How fast it goes, over the last ``RECENT`` images, how long it will go on, and what it waits for.

    As text, asked for at any time: "14.2 images/s, 0:48 left, waiting for: network".

    Attributes:
        bottleneck: gives the word for the stage that the others wait for, or "".
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic, *, what: str = "image") -> None:
        """``total``: how many images there are, None where no one knows; ``what``: what they are called."""
        self.bottleneck: Callable[[], str] = str
        self._what = what
        self._total = total
        self._clock = clock
        self._finished = 0
        self._marks = deque([(clock(), 0)], maxlen=RECENT + 1)

    def update(self, finished: int, skipped: int) -> None:
        """Say how many images are finished, and for how many of these there was nothing to do."""
        self._finished = finished
        if finished - skipped > self._marks[-1][1]:
            self._marks.append((self._clock(), finished - skipped))

    def __str__(self) -> str:
        (then, before), (last, now) = self._marks[0], self._marks[-1]
        count = now - before
        if not count:
            return ""
        # the one in work counts once it takes longer than those before
        seconds = max(last - then, (self._clock() - then) * count / (count + 1))
        if seconds <= 0:
            return ""
        parts = [rate(count, seconds, self._what)]
        if self._total is not None:
            parts.append(f"{_clock_time((self._total - self._finished) * seconds / count)} left")
        if stage := self.bottleneck():
            parts.append(f"waiting for: {stage}")
        return ", ".join(parts)


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """A bar on standard error that appears after ``DELAY_S`` and goes without a trace.

    Nothing is shown, and rich is not even imported, where the work is done sooner, standard error is not a terminal, or
    ``quiet`` is true.
    """

    def __init__(self, total: int | None, *, quiet: bool, what: str = "image") -> None:
        """``total``: how many images there are, None where no one knows; ``what``: what they are called."""
        self._total = total
        self._finished = 0
        self._current = ""
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(DELAY_S, self._appear)
        self._timer.daemon = True
        self._pace = Pace(total, what=what)
        self._visible = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        if self._visible:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._visible = False
            if self._bar:
                self._bar.stop()
                self._bar = None  # or who is told something later would bring it back

    def update(self, finished: int, current: str, skipped: int = 0) -> None:
        """Say that ``finished`` images are finished, ``skipped`` of them without work, and at which the work is now."""
        with self._lock:
            self._finished, self._current = finished, current
            self._pace.update(finished, skipped)
            if self._bar and self._task is not None:
                self._bar.update(self._task, completed=finished, description=_escape(current))

    def watch(self, bottleneck: Callable[[], str]) -> None:
        """Show the stage that the others wait for, by the word that ``bottleneck`` gives, "" for none.

        It is called by another thread, several times a second.
        """
        self._pace.bottleneck = bottleneck

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
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        with self._lock:
            if not self._visible:
                return
            console = Console(stderr=True)
            counts = [] if self._total is None else [MofNCompleteColumn()]
            bar = [BarColumn(bar_width=20)] if counts and console.width >= WIDE else []
            # what the other columns leave, at their longest; rich would cut all of them alike
            others = 53 + (2 * len(str(self._total)) + 2 if counts else 0) + (21 if bar else 0)
            room = max(12, console.width - others)
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True, max_width=room)),
                *bar,
                *counts,
                TextColumn("{task.fields[pace]}"),  # the object, so that each refresh asks it again
                console=console,
                transient=True,
                redirect_stdout=False,  # rich would send it to standard error
                redirect_stderr=False,
            )
            self._task = self._bar.add_task(
                _escape(self._current), total=self._total, completed=self._finished, pace=self._pace
            )
            self._bar.start()


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
