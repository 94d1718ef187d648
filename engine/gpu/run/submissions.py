"""How a run is cut into submissions, so that none holds the GPU for long.

Windows resets a device after two seconds of one submission, and what has been submitted cannot be interrupted. So a
submission is made to last SUBMISSION_SECONDS at the most, by the work of its commands and the rate at which the one
before it was computed. The first run does not know the rate: it begins with as little work as the slowest adapter of
its kind does in that time, and each submission may grow by what the last one has shown. A fast GPU gives its first run
two or three submissions, as the first one's time holds what a driver does once, and every later run one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from engine.compiled.model import Command

SUBMISSION_SECONDS = 0.3
"""Seconds that a submission may take: far from two, also where the estimate is wrong by a factor."""

FLOPS_PER_BYTE = 10
"""Operations in whose time a byte is read or written; GPUs do 5 to 40, and software adapters fewer."""

FIRST_FLOPS = 30e9
"""Operations of the first submission on hardware: 0.3 s of a GPU of 100 GFLOP/s."""

FIRST_SOFTWARE_FLOPS = 1e9
"""The same on a software adapter, which computes with a few GFLOP/s."""


class Submissions:
    """Cuts the commands of a plan into submissions, by the rate at which they are computed.

    ``flops_per_second`` is that of the largest submission of the last run, None before the first one has ended.
    ``count`` is the number of submissions of the last run.
    """

    def __init__(self, commands: Sequence[Command], *, software: bool) -> None:
        work = (command.flops + FLOPS_PER_BYTE * command.bytes for command in commands)
        self._totals = [0, *accumulate(work)]
        self._first_flops = FIRST_SOFTWARE_FLOPS if software else FIRST_FLOPS
        self.flops_per_second: float | None = None
        self.begin()

    @property
    def is_whole(self) -> bool:
        """Whether the next run is one submission."""
        return self._end(0, self.flops_per_second) == len(self._totals) - 1

    def took(self, seconds: float) -> None:
        """Note that the run, in one submission, took ``seconds``."""
        self.count = 1
        if self._totals[-1]:
            self.flops_per_second = self._totals[-1] / max(seconds, 1e-6)

    def begin(self) -> None:
        """Begin a run."""
        self.count = 0
        self._rate = self.flops_per_second
        self._largest: tuple[float, float | None] = (0.0, self.flops_per_second)

    def end(self, first: int) -> int:
        """The end of the submission that begins with command ``first``: one command, or as many as the rate allows."""
        return self._end(first, self._rate)

    def _end(self, first: int, rate: float | None) -> int:
        budget = self._first_flops if rate is None else rate * SUBMISSION_SECONDS
        fitting = bisect_right(self._totals, self._totals[first] + budget) - 1
        return min(max(fitting, first + 1), len(self._totals) - 1)

    def finished(self, first: int, end: int, seconds: float) -> None:
        """Note that the submission of commands [first, end) took ``seconds``."""
        self.count += 1
        work = self._totals[end] - self._totals[first]
        rate = work / max(seconds, 1e-6)
        if self.flops_per_second is None and work:
            self._rate = rate
        if work > self._largest[0]:
            self._largest = work, rate
        if end == len(self._totals) - 1:
            self.flops_per_second = self._largest[1]

    def ranges(self) -> list[tuple[int, int]]:
        """The submissions of a run at the rate of the last one, as half-open ranges of commands."""
        ranges = []
        first, count = 0, len(self._totals) - 1
        while first < count:
            end = self._end(first, self.flops_per_second)
            ranges.append((first, end))
            first = end
        return ranges
