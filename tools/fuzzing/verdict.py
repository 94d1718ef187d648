"""What came of a case, and the table of many."""

from __future__ import annotations

import re
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.timing import table

ROOT = Path(__file__).resolve().parents[2]

PASSED = {
    "ok": "ran, and all backends agree",
    "refused": "an error of the project's own, in one line",
    "too much work": "loads, and is more than a case may take to run; counted, not run",
    "explained": "backends differ, for a reason that has a name",
}
"""Kinds of verdicts that are as they should be. "refused" and "explained" go by what follows the colon."""

FAULTS = {
    "crash": "the process ended by a signal, or of itself",
    "difference": "backends differ by more than the tolerance",
    "foreign": "an exception that is not the project's",
    "fuzzer": "this program failed, not the project",
    "hang": "longer than the limit of time",
    "left behind": "a temporary file or half an output is there, or the input was changed",
    "memory": "more than the limit of memory, or a MemoryError",
    "message": "an error of several lines, of none, or of characters that cannot be printed",
    "noise": "warnings of Python's, or from the command lines on standard error that do not begin with its name",
    "one-sided": "one backend refuses what another runs",
    "status": "an exit status that is not documented, or that does not fit what was done",
}
"""Kinds of verdicts that make a run of the fuzzer fail."""

LONGEST = 50_000
"""Characters of a message: one that quotes a name of thousands is still one line."""

OURS = re.compile(r"/(engine|nss|shaders)/[^/].*\.py$")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One case: ``kind`` is a key of PASSED or FAULTS, ``why`` what tells faults of a kind apart, ``place`` the line
    of the project's where it happened, ``detail`` the rest, of as many lines as it takes."""

    kind: str
    why: str = ""
    place: str = ""
    detail: str = ""

    @property
    def fault(self) -> bool:
        """Whether it makes a run of the fuzzer fail."""
        return self.kind in FAULTS

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.kind, self.why))) + (f", at {self.place}" if self.place else "")


def foreign(error: BaseException, stage: str) -> Verdict:
    """An exception that should not have come out; in the stage "start" it is the fuzzer's own."""
    kind = "fuzzer" if stage == "start" else "memory" if isinstance(error, MemoryError) else "foreign"
    message_lines = str(error).strip().splitlines()
    frames = [(frame.filename, frame.lineno or 0) for frame in reversed(traceback.extract_tb(error.__traceback__))]
    why = f"{type(error).__name__} in {stage}"
    detail = "".join(traceback.format_exception(error))
    return Verdict(kind, why, place_of(frames), f"{message_lines[0] if message_lines else ''}\n{detail}")


def misworded(message: str) -> str:
    """What is wrong with an error's text; empty where it is one line that can be printed."""
    if not message.strip():
        return "empty"
    if len(message.splitlines()) > 1:
        return "several lines"
    if len(message) > LONGEST:
        return "longer than anyone reads"
    return "" if message.isprintable() else "characters that cannot be printed"


def place_of(frames: Iterable[tuple[str, int]]) -> str:
    """The first of the frames, innermost first, that is the project's, as ``file:line``; empty without any."""
    for name, line in frames:
        if OURS.search(name) and name.startswith(str(ROOT)):
            return f"{Path(name).relative_to(ROOT)}:{line}"
    return ""


def place_in_dump(text: str) -> str:
    """The innermost line of the project's in what faulthandler has written."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', text)
    return place_of((name, int(line)) for name, line in frames)


def report(title: str, verdicts: Mapping[int, Verdict]) -> str:
    """Counts of what came out, and each distinct fault once, with the cases that show it."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    faults: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, verdict in sorted(verdicts.items()):
        counts[verdict.kind, "" if verdict.fault else verdict.why] += 1
        if verdict.fault:
            faults[verdict.kind, verdict.why, verdict.place].append(index)
    rows = [[": ".join(filter(None, kind)), str(count)] for kind, count in sorted(counts.items())]
    lines = [table(title, ["verdict", "cases"], [*rows, ["all", str(len(verdicts))]])]
    for (kind, why, place), cases in sorted(faults.items(), key=lambda item: (item[0][0], -len(item[1]))):
        numbers = ", ".join(map(str, cases[:5])) + (", …" if len(cases) > 5 else "")
        first = next(iter(verdicts[cases[0]].detail.splitlines()), "")[:300]
        lines.append(f"{Verdict(kind, why, place)}; {len(cases)} times, case {numbers}\n    {first}")
    return "\n".join(lines)
