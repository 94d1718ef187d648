"""Timing that is fair to both sides, peak memory, and the table that shows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Times:
    """Wall times of the runs of one contender, in seconds, in the order in which they ran."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in milliseconds."""
        return median(self.seconds) * 1e3

    @property
    def least(self) -> float:
        """The fastest run, in milliseconds."""
        return min(self.seconds) * 1e3


def alternate(
    contenders: Sequence[Callable[[], object]], runs: int, clock: Callable[[], float] = time.perf_counter
) -> list[Times]:
    """Time ``runs`` calls of each contender, one of each in turn, so that a slow spell of the machine meets them all.

    Each is called once before, untimed.
    """
    for contender in contenders:
        contender()
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(runs):
        for contender, samples in zip(contenders, seconds, strict=True):
            start = clock()
            contender()
            samples.append(clock() - start)
    return [Times(tuple(samples)) for samples in seconds]


def peak_memory() -> int:
    """The most memory that this process has held resident so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # on Linux ru_maxrss begins at the size of the process that started this one; VmHWM does not
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table under its title; the first column is flush left, the others flush right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([title, "", line(heads), rule, *map(line, rows)])
