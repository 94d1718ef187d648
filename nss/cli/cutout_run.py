"""What ``remove`` and ``preview`` do once their options are read: carry a plan out, and say what becomes of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nss.cli.option_groups import BatchOptions, MaskSource
from nss.cli.report import Report
from nss.cli.terminal import complain, describe, write_standard_output
from nss.errors import ImageError, NssError
from nss.stop_signals import Terminated, describe_stop

if TYPE_CHECKING:
    from nss.batch.planning import Job
    from nss.batch.process_work import ProcessWork
    from nss.batch.stages import Result, Work, Write
    from nss.cli.progress import Progress
    from nss.files.output_file import InputFiles
    from nss.masks.refine import Refinement
    from nss.pipeline.budget import MemoryBudget
    from nss.pipeline.stop import Stop
    from nss.removal.remover import Remover
    from nss.workers.pool import WorkerPool


def input_files(
    plan: Iterable[Job], source: MaskSource, background: str | os.PathLike[str] | None = None
) -> InputFiles:
    """All that the command reads: photos, masks or model, and the background."""
    from nss.files.output_file import InputFiles

    jobs = list(plan)
    inputs = InputFiles(source.files(jobs))
    inputs.add(*(0 if job.source is None else job.source for job in jobs))
    if background is not None:
        inputs.add(background)
    return inputs


@dataclass
class CutoutRun:
    """A plan, and what is done with each of its images.

    Attributes:
        plan: the images.
        source: where their masks come from.
        refinement: what is done to each mask.
        write: composes a cut-out and writes its file.
        inputs: what the command reads; the model joins it once it is known.
        batch: how many at a time, and what fails.
        report: says what became of each.
        finishing: bytes a pixel that making the file takes (`nss.pipeline.photo_bytes`); None where no one knows.
    """

    plan: list[Job]
    source: MaskSource
    refinement: Refinement
    write: Write
    inputs: InputFiles
    batch: BatchOptions
    report: Report
    level_bits: int | None = None
    finishing: float | None = None
    _remover: Remover | None = field(default=None, init=False)

    def status(self) -> int:
        """Do it, or say what would be done; returns the exit status."""
        return self._say_plan() if self.batch.dry_run else self._run()

    def _say_plan(self) -> int:
        for job in self.plan:
            if job.error is not None:
                self.report.fail(job, str(job.error))
            elif job.skipped:
                self.report.skip(job)
            else:
                self.report.plan(job)
        return 1 if self.report.failed else 0

    def _run(self) -> int:
        from nss.cli.progress import Progress
        from nss.pipeline.stop import finish_on_interrupt

        start = time.perf_counter()
        total = len(self.plan)
        try:
            with (
                Progress(total, quiet=self.batch.quiet) as progress,
                finish_on_interrupt(_say_finishing) as stop,
            ):
                self._work_through(progress, stop)
        except (KeyboardInterrupt, Terminated) as stop_signal:
            word, status = describe_stop(stop_signal)
        else:
            if not stop.requested:
                self._say_summary(time.perf_counter() - start)
                return 1 if self.report.failed else 0
            word, status = describe_stop(KeyboardInterrupt())
        complain(f"{word}: {self.report.written} of {total} images written{self._how_to_go_on()}")
        return status

    def _how_to_go_on(self) -> str:
        """The end of the line on an interrupt: how to have the rest done, where the same command does it."""
        left = len(self.plan) - self.report.written - self.report.skipped - self.report.failed
        if not self.report.written or not left or any(job.target is None for job in self.plan):
            return ""
        if self.batch.exists == "skip":
            return f"; run it again for the other {left}"
        # where files are replaced or get other names, it cannot be told which are of this run
        return f"; run it again with --exists skip for the other {left}" if self.batch.exists == "fail" else ""

    def _work_through(self, progress: Progress, stop: Stop) -> None:
        runs = any(job.error is None and not job.skipped for job in self.plan)
        if runs:
            self.source.make_gpu_ready()
        import engine
        from nss.batch.ahead import FirstPhoto
        from nss.batch.stages import HostWork, NothingFoundError, Result, Work
        from nss.photos import codec_messages
        from nss.pipeline.lanes import CallLane
        from nss.pipeline.pipeline import Pipeline

        finished = 0

        def report(job: Job, result: Result | Exception | None) -> None:
            nonlocal finished
            finished += 1
            with progress.paused():
                if isinstance(result, Result) and isinstance(result.output, bytes):
                    try:
                        _deliver(result.output, job.target, stop)
                    except ImageError as error:
                        result = error
                if isinstance(result, Exception):
                    empty = isinstance(result, NothingFoundError)
                    self.report.fail(job, describe(result, job.name), nothing_found=empty)
                elif result is None:
                    self.report.skip(job)
                else:
                    self.report.add(job, result)
            progress.update(finished, job.name, self.report.skipped)

        def note(name: str, text: str) -> None:
            with progress.paused():
                self.report.note(name, text)

        workers = self.batch.jobs or min(len(self.plan), engine.available_cores())
        with codec_messages.capture(note), self._processes(workers) as pool:
            first = None
            if self.source.masks is None and pool is None:
                first = FirstPhoto(self.plan, self.source.max_pixels)
            if runs:
                progress.update(0, self.plan[0].name)
                self._remover = self._open()
            host = HostWork(
                None if self._remover is None else self._remover.host_stages,
                self.source.masks,
                self.refinement,
                self.write,
                max_pixels=self.source.max_pixels,
                fail_empty=self.batch.fail_empty,
                level_bits=self.level_bits,
            )
            here = Work(host, self._remover, first)
            work = here if pool is None else _shared_out(here, pool)
            lanes = [CallLane(work.infer)] if self._remover is None else self._remover.lanes()
            pipeline = Pipeline(
                work.load,
                lanes,
                work.finish,
                workers=workers,
                budget=self._budget(pool),
                cost=self._cost,
                ordered=not self.batch.unordered,
            )
            progress.watch(pipeline.bottleneck)
            pipeline.run(self.plan, report, stop)
        if self._remover is not None and (reason := self._remover.store()) and self.batch.verbose:
            complain(f"the compiled model was not kept: {reason}")

    @contextmanager
    def _processes(self, workers: int) -> Iterator[WorkerPool | None]:
        """Processes for the stages on the host, started before the network is opened; None where threads do them."""
        if len(self.plan) < 2:
            yield None
            return
        from nss.batch import processes

        count = processes.process_count(self.plan, workers, self.batch.budget().nbytes)
        try:
            pool = processes.start_pool(count) if count else None
        except OSError as error:
            pool = None
            if self.batch.verbose:
                complain(f"no process can be started to share the work: {error.strerror or error}")
        with pool or nullcontext():
            yield pool

    def _budget(self, pool: WorkerPool | None) -> MemoryBudget | None:
        """What photos in work may take; a single one is never kept waiting."""
        if len(self.plan) < 2:
            return None
        from nss.batch import processes

        return self.batch.budget(taken=0 if pool is None else len(pool.pids) * processes.BASE_BYTES)

    def _cost(self, job: Job) -> int:
        """The bytes that an image takes in work."""
        from nss.pipeline.photo_bytes import FINISHING, UNKNOWN, source_bytes

        if job.error is not None or job.skipped:
            return 0
        if job.source is None:
            return UNKNOWN
        return source_bytes(job.source, max_pixels=self.source.max_pixels, finishing=self.finishing or FINISHING)

    def _open(self) -> Remover | None:
        """The network; without it no image can be done, and each has that as its error."""
        try:
            remover = self.source.open(quiet=self.batch.quiet)
        except Exception as failure:
            for job in self.plan:
                self.report.json(job, None, describe(job.error or failure))
            if isinstance(failure, NssError):
                raise
            raise NssError(describe(failure)) from failure
        if remover is not None:
            self.inputs.add(remover.model.path)
        return remover

    def _say_summary(self, seconds: float) -> None:
        """The last lines: what was done in all, and how to get a larger model."""
        from nss.cli.progress import summary

        if self.batch.quiet:
            return
        if len(self.plan) > 1:
            complain(summary(self.report.written, self.report.skipped, self.report.failed, seconds))
        if self._remover and self.report.written:
            from nss.models.auto import hint

            if line := hint(self._remover.model):
                complain(line)


def _shared_out(work: Work, pool: WorkerPool) -> ProcessWork:
    from nss.batch.process_work import ProcessWork

    return ProcessWork(work, pool)


def _deliver(data: bytes, target: Path | None, stop: Stop) -> None:
    """Write a file to standard output, or through what is no regular file. Raises OutputError or ImageError."""
    from nss.files.output_file import write_through

    if target is None:
        write_standard_output(data)
    else:
        write_through(data, target, opening=stop.interruptible())


def _say_finishing() -> None:
    if sys.stderr.isatty():
        complain("finishing the images in hand; press Ctrl-C again to stop at once")
