"""What a command that works through images says of each one, and at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nss.cli.option_words import in_options
from nss.cli.terminal import complain, escaped

if TYPE_CHECKING:
    from nss.batch.planning import Job
    from nss.batch.stages import Result


@dataclass
class Report:
    """Says what became of each image, as it is done.

    Attributes:
        as_json: one JSON object a line on standard output instead of a line of text.
        quiet: errors only, and the JSON.
        to_stderr: standard output holds an image, so that lines go to standard error.
        verbose: say of each image what ran where, why there, and how long each stage took.
    """

    as_json: bool
    quiet: bool
    to_stderr: bool = False
    verbose: bool = False
    written: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    _said_notes: set[tuple[str, str]] = field(default_factory=set, init=False)

    def skip(self, job: Job) -> None:
        """The output was there already."""
        self.skipped += 1
        self.json(job, None, None, skipped=True)
        if not (self.as_json or self.quiet):
            self._line(f"{job.name} skipped: {job.target_name} exists")

    def plan(self, job: Job) -> None:
        """What would be done."""
        self.json(job, None, None, planned=True)
        self._say(job, None)
        if not (self.as_json or self.quiet):
            self._line(f"{job.name} -> {job.target_name}")

    def fail(self, job: Job, error: str, *, nothing_found: bool = False) -> None:
        """One line of what went wrong; ``nothing_found``: that nothing was found."""
        self.failed += 1
        self.json(job, None, error, nothing_found=nothing_found)
        complain(error)

    def add(self, job: Job, result: Result) -> None:
        """The output was written."""
        self.written += 1
        self.json(job, result, None)
        self._say(job, result)
        if not (self.as_json or self.quiet):
            info, seconds = result.info, sum(result.info.milliseconds.values()) / 1000
            target = result.output if isinstance(result.output, Path) else job.target_name
            how = f"{info.model} on {info.backend}" if info.model else f"mask {info.mask}"
            self._line(f"{job.name} -> {target} ({result.width} x {result.height}, {how}, {seconds:.2f} s)")
        if self.verbose:
            self._explain(job, result)

    def _explain(self, job: Job, result: Result) -> None:
        info = result.info
        if info.model:
            why = f": {info.backend_reason}" if info.backend_reason else ""
            complain(f"{job.name}: {info.model} on {info.backend}, {info.device}, {info.precision}{why}")
        complain(f"{job.name}: the mask keeps {100 * result.coverage:.2f} % of the photo")
        complain(f"{job.name}: {', '.join(f'{name} {time:.0f} ms' for name, time in info.milliseconds.items())}")

    def _notes(self, job: Job, result: Result | None) -> list[str]:
        target = result.output if result and isinstance(result.output, Path) else job.target
        notes = [*(job.notes(target) if target else ()), *(result.notes if result else ())]
        return [in_options(note) for note in notes]

    def _say(self, job: Job, result: Result | None) -> None:
        for note in self._notes(job, result):
            self.note(job.name, note)

    def note(self, name: str, note: str) -> None:
        """Something that the owner of a file may want to know, said once, and not where it is quiet."""
        note = in_options(note)
        if not self.quiet and (name, note) not in self._said_notes:
            self._said_notes.add((name, note))
            complain(f"{name}: {note}")

    def _line(self, text: str) -> None:
        if self.to_stderr:
            complain(text)
        else:
            print(escaped(text), flush=True)

    def json(
        self,
        job: Job,
        result: Result | None,
        error: str | None,
        *,
        skipped: bool = False,
        planned: bool = False,
        nothing_found: bool = False,
    ) -> None:
        """The line of JSON, where it was asked for; ``nothing_found``: that is the error."""
        if not self.as_json:
            return
        info = result.info if result else None
        target = str(result.output) if result and isinstance(result.output, Path) else job.target_name
        is_output = (result is not None or planned) and not job.to_standard_output
        line: dict[str, Any] = {
            "input": job.name,
            "output": target if is_output else None,
            "width": result.width if result else None,
            "height": result.height if result else None,
            "box": list(result.box) if result else None,
            "coverage": round(result.coverage, 6) if result else None,
            "nothing_found": result.nothing_found if result else nothing_found or None,
            "model": info.model if info else None,
            "model_sha256": info.model_sha256 if info else None,
            "model_config": info.model_config if info else None,
            "mask": str(info.mask) if info and info.mask else None,
            "backend": info.backend if info else None,
            "backend_reason": info.backend_reason if info else None,
            "device": info.device if info else None,
            "precision": info.precision if info else None,
            "stages": dict(info.stages) if info else None,
            "milliseconds": info.milliseconds if info else None,
            "notes": self._notes(job, result) if is_output else [],
            "skipped": skipped,
            "dry_run": planned,
            "error": error,
        }
        print(json.dumps(line), flush=True)
