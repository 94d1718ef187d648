"""The pairs of places in the project's .py and .wgsl files that repeat each other's lines.

Two places are a pair where six or more consecutive lines are equal. Blank lines, comments and Python's imports are left
out before that, and any white space counts as one space. Windows of six lines that overlap in both places are one pair.
A passage that stands in three places makes three pairs, however long it is. Lines that only look alike make none.

    python tools/repeats.py                 every pair, then the count by rooms
    python tools/repeats.py shaders tests   those with a place in these folders
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[1]
WINDOW = 6
ROOMS = ("engine", "shaders", "nss", "tools", "tests")


@dataclass(frozen=True)
class Place:
    """Lines ``first`` to ``last`` of a file, counted from 1, both included."""

    path: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.path}:{self.first}-{self.last}"

    @property
    def room(self) -> str:
        return self.path.split("/")[0]


Line = tuple[int, str]
"""A line's number, from 1, and its text."""


def python_lines(text: str) -> list[Line]:
    """The lines of Python that count."""
    imports = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return [line for line in _lines(text) if line[0] not in imports and not line[1].startswith("#")]


def wgsl_lines(text: str) -> list[Line]:
    """The lines of a WGSL template that count."""
    text = re.sub(r"\{#.*?#\}", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    return [line for line in _lines(text) if not line[1].startswith("//")]


def _lines(text: str) -> list[Line]:
    lines = ((number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), 1))
    return [line for line in lines if line[1]]


def repeats(files: Mapping[str, list[Line]]) -> list[tuple[Place, Place]]:
    """The pairs of places among files (path → the lines that count), in the order of their paths and lines."""
    windows = defaultdict(list)
    for path, lines in sorted(files.items()):
        for start in range(len(lines) - WINDOW + 1):
            windows[tuple(text for _, text in lines[start : start + WINDOW])].append((path, start))
    shared = defaultdict(list)
    for places in windows.values():
        for (path, start), (other, other_start) in combinations(places, 2):
            if path != other or other_start - start >= WINDOW:
                shared[path, other].append((start, other_start))
    pairs = []
    for (path, other), starts in shared.items():
        for run in _joined(starts):
            one_run, other_run = zip(*run, strict=True)
            pairs.append((_place(path, files[path], one_run), _place(other, files[other], other_run)))
    return sorted(pairs, key=lambda pair: [(place.path, place.first) for place in pair])


def _joined(windows: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Windows of two files, each where it starts in both, in runs of those that overlap in both."""
    runs: list[list[tuple[int, int]]] = []
    for window in sorted(windows):
        overlapping = [run for run in runs if any(_overlap(window, other) for other in run)]
        runs = [run for run in runs if run not in overlapping]
        runs.append([start for run in overlapping for start in run] + [window])
    return runs


def _overlap(window: tuple[int, int], other: tuple[int, int]) -> bool:
    return all(abs(start - other_start) < WINDOW for start, other_start in zip(window, other, strict=True))


def _place(path: str, lines: list[Line], starts: tuple[int, ...]) -> Place:
    return Place(path, lines[min(starts)][0], lines[max(starts) + WINDOW - 1][0])


def tracked_files(root: Path) -> dict[str, list[Line]]:
    """The lines that count of every .py and .wgsl file of the rooms that git tracks."""
    command = ["git", "-C", str(root), "ls-files", *ROOMS]
    paths = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    readers = {".py": python_lines, ".wgsl": wgsl_lines}
    return {
        path: readers[Path(path).suffix]((root / path).read_text(encoding="utf-8"))
        for path in paths
        if Path(path).suffix in readers and (root / path).exists()
    }


def main(folders: list[str]) -> None:
    """Print the pairs with a place in one of ``folders``, all where there is none, and how many each room has."""
    under = tuple(f"{folder.rstrip('/')}/" for folder in folders) or ("",)
    pairs = [pair for pair in repeats(tracked_files(ROOT)) if any(place.path.startswith(under) for place in pair)]
    for one, other in pairs:
        print(f"{one} ~ {other}")
    rooms = Counter(" ~ ".join(sorted({one.room, other.room})) for one, other in pairs)
    print(f"{len(pairs)} pairs:", ", ".join(f"{room} {count}" for room, count in sorted(rooms.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
