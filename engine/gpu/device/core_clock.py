"""The clock that a GPU computes at, which falls while it has nothing to do: brought up before anything is measured."""

from __future__ import annotations

import time
from collections.abc import Callable

WAKE_SECONDS = 0.5
"""Seconds of work after which the clock of a large GPU that was idle stands.

While kernels compiled, an H200 lowered it to a fifth, and a tuning that did not wake it measured at two fifths.
"""

AWAKE_SECONDS = 0.01
"""The same of a GPU that is awake, and of a software adapter: a first figure is that of so much work at the least."""

IDLE_SECONDS = 0.1
"""Seconds without work, as while kernels compile, after which a GPU may have lowered its clock."""

STANDS = 0.03
"""Two measurements that differ by less than this part are the same figure."""

LONGEST = 5
"""How many times these seconds pass at the most: short measurements leave a GPU idle in between."""


class CoreClock:
    """What is known of a device's clock.

    ``varies`` says that it does: a software adapter has none of its own.
    """

    def __init__(self, *, varies: bool) -> None:
        self.varies = varies
        self._is_up, self._total, self._last = False, 0.0, float("-inf")

    @property
    def is_down(self) -> bool:
        """Whether nothing has brought it up, or the device has since had nothing to do."""
        return self.varies and not (self._is_up and time.monotonic() - self._last <= IDLE_SECONDS)

    def worked(self, seconds: float) -> None:
        """Note that the device has just worked for so long, as every measurement does."""
        now = time.monotonic()
        if now - seconds - self._last > IDLE_SECONDS:
            self._is_up = False
        self._total, self._last = self._total + seconds, now

    def wake(self, measure: Callable[[], float]) -> float:
        """Measure until the clock is up and the figure stands; the last measurement.

        ``measure`` has the device work, which it notes by ``worked``, and gives the seconds of something.
        """
        least = WAKE_SECONDS if self.is_down else AWAKE_SECONDS
        start, before, last = time.monotonic(), self._total, float("inf")
        while True:
            now = measure()
            is_enough = self._total - before >= least and abs(now - last) <= STANDS * now
            if is_enough or time.monotonic() - start >= LONGEST * least:
                self._is_up = True
                return now
            last = now
