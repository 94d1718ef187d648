"""How ``remove --on ray`` runs: planned here, done by a cluster, and told as a batch is."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO, cast

from nss.cli.option_groups import BatchOptions, MaskSource
from nss.cli.option_words import in_options
from nss.cli.progress import Pace, Progress, summary
from nss.cli.report import Report
from nss.cli.terminal import complain, describe, notify
from nss.errors import UsageError
from nss.interfaces.interface import as_json
from nss.stop_signals import Terminated, describe_stop

if TYPE_CHECKING:
    from nss.batch.planning import Job
    from nss.batch.stages import Result
    from nss.cutouts.compose import Composition
    from nss.files.formats import Encoding
    from nss.masks.refine import Refinement
    from nss.ray.cutouts import CutoutRuns
    from nss.ray.planning import ClusterPlan

SAID_EVERY_S = 60
"""How often a line says how far it is, where there is no terminal for a bar."""


@dataclass
class ClusterCutouts:
    """The command's options, for a cluster.

    Attributes:
        inputs, output: as the command takes them; addresses too.
        address: of the cluster, as `nss.ray.connection.connect` takes it.
        source: the model.
        refinement: what is done to each mask.
        composition: what the cut-outs show.
        encoding: of all outputs.
        batch: what is gone through, and what is said of it.
    """

    inputs: Sequence[str]
    output: str | None
    address: str | None
    source: MaskSource
    refinement: Refinement
    composition: Composition
    encoding: Encoding
    batch: BatchOptions
    _report: Report = field(init=False)

    def status(self) -> int:
        """Do it, or say what would be done; returns the exit status.

        Raises:
            UsageError: options mean nothing on a cluster; and what planning and opening the model raise.
        """
        from nss.ray import connection

        output = self._check()
        connection.check_installed()
        self._report = self.batch.report()
        runs = self._runs()
        plan = runs.plan(
            self.inputs, output, recursive=self.batch.recursive, notify=None if self.batch.quiet else complain
        )
        for job in plan.failed:
            self._report.fail(job, describe(job.error or UsageError("")))
        for job in plan.done:
            self._report.skip(job)
        if self.batch.dry_run:
            for job in plan.jobs:
                self._report.plan(job)
            return 1 if self._report.failed else 0
        return self._run(runs, plan)

    def _check(self) -> str:
        """The output. Raises UsageError where options mean nothing on a cluster."""
        batch = self.batch
        refused = {
            "--mask": (self.source.masks is not None, "it runs a network"),
            "--device": (self.source.network["device"] is not None, "Ray gives each of its processes a GPU"),
            "--jobs": (batch.jobs is not None, "Ray shares the work out by the cores and GPUs that it has"),
            "--memory": (batch.memory is not None, "Ray keeps to the memory of its object store"),
            "--sidecar": (batch.sidecar, "the manifest says what came of each photo"),
            "--all-files": (batch.all_files, "it would read the beginning of every file"),
            "--exists rename": (batch.exists == "rename", "a second run would not know which outputs are there"),
            "-o -": (self.output == "-", "standard output takes a single image"),
        }
        for option, (is_set, reason) in refused.items():
            if is_set:
                raise UsageError(f"{option} is not for --on ray: {reason}")
        if not self.output:
            raise UsageError("--on ray needs -o: the folder of all outputs and of the manifest, a path or an address")
        return self.output

    def _runs(self) -> CutoutRuns:
        from nss.ray.cutouts import CutoutRuns

        network = dict(self.source.network)
        del network["device"]
        return CutoutRuns.of(
            self.source.model,
            model_variant=network.pop("model_variant"),
            model_config=as_json(self.source.model_config),
            options={**network, "max_pixels": self.source.max_pixels},
            refinement=self.refinement,
            composition=self.composition,
            encoding=self.encoding,
            fail_empty=self.batch.fail_empty,
            exists="fail" if self.batch.exists == "rename" else self.batch.exists,  # which has been refused
            allow_fetch=not self.batch.dry_run,
            quiet=self.batch.quiet,
            notify=notify,
            words=in_options,
        )

    def _run(self, runs: CutoutRuns, plan: ClusterPlan) -> int:
        from nss.ray import connection

        start = time.perf_counter()
        report = self._report
        total = len(plan.jobs) + report.skipped + report.failed
        try:
            with _foreign_lines_dropped(), Progress(total, quiet=self.batch.quiet) as progress:
                if plan.jobs:
                    with connection.connected(self.address):
                        if not self.batch.quiet:
                            with progress.paused():
                                complain(f"Ray is ready, after {time.perf_counter() - start:.1f} s")
                        start = time.perf_counter()
                        runs.run(plan)(_Teller(report, progress, total, quiet=self.batch.quiet))
        except (KeyboardInterrupt, Terminated) as stop_signal:
            word, status = describe_stop(stop_signal)
            left = total - report.written - report.skipped - report.failed
            complain(f"{word}: {report.written} of {total} images written; run it again for the other {left}")
            return status
        if not self.batch.quiet:
            complain(summary(report.written, report.skipped, report.failed, time.perf_counter() - start))
        return 1 if report.failed else 0


class _Teller:
    """Tells of each photo, and how far it is."""

    def __init__(self, report: Report, progress: Progress, total: int, *, quiet: bool) -> None:
        self._report, self._progress, self._total = report, progress, total
        self._pace = Pace(total)
        self._says = not quiet and not sys.stderr.isatty()
        self._said = time.monotonic()

    def __call__(self, job: Job, result: Result | Exception | None) -> None:
        from nss.batch.stages import NothingFoundError

        report = self._report
        with self._progress.paused():
            if isinstance(result, Exception):
                report.fail(job, describe(result, job.name), nothing_found=isinstance(result, NothingFoundError))
            elif result is None:
                report.skip(job)
            else:
                report.add(job, result)
        finished = report.written + report.skipped + report.failed
        failures = f"{report.failed} failed" if report.failed else ""
        self._progress.update(finished, failures or job.name, report.skipped)
        self._pace.update(finished, report.skipped)
        if self._says and time.monotonic() - self._said >= SAID_EVERY_S:
            self._said = time.monotonic()
            words = [f"{finished} of {self._total} images", failures, str(self._pace)]
            complain(", ".join(word for word in words if word))


@contextmanager
def _foreign_lines_dropped() -> Iterator[None]:
    """What Ray says by itself kept off both streams for the block.

    It prints to standard output from a thread of its own, and its native code writes to descriptor 2, which is not
    Python's standard error (see `nss.cli.terminal.standard_streams`).
    """
    output = sys.stdout
    sys.stdout = cast(TextIO, _OfThisThread(output))
    kept = nowhere = None
    try:
        with suppress(OSError, ValueError):
            if sys.stderr.fileno() != 2:
                kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
        yield
    finally:
        sys.stdout = output
        if kept is not None and nowhere is not None:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


class _OfThisThread:
    """A stream for the thread that makes it; what others write is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return self._stream.write(text) if threading.get_ident() == self._thread else len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
