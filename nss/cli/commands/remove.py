"""``nss-wgpu remove`` and ``nss-wgpu preview``: cut-outs of many images, and sheets to judge them by."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from nss.cli import cutout_options as options
from nss.cli import interface_options
from nss.cli import option_groups as groups
from nss.cli.option_groups import EncodingOptions, MaskSource, grouped
from nss.cli.option_words import in_options
from nss.cli.report import Report
from nss.cli.terminal import (
    complain,
    describe,
    standard_output_is_closed,
    write_standard_output,
)
from nss.errors import ImageError, NssError, UsageError
from nss.stop_signals import Terminated, stopped

if TYPE_CHECKING:
    from pathlib import Path

    from nss.batch.pipeline import Stop
    from nss.batch.planning import Job
    from nss.batch.stages import Result, Write
    from nss.cli.progress import Progress
    from nss.cutouts.compose import Composed, Composition, Cutout
    from nss.files.output_file import InputFiles
    from nss.interfaces.interface import Description
    from nss.masks.refine import Refinement
    from nss.removal.remover import Remover


@grouped(
    source=groups.mask_source,
    model_config=interface_options.interface,
    refinement=groups.refinement,
    composition=groups.composition,
    encoding=groups.encoding,
)
def remove(
    inputs: options.InputsArgument,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR|-",
            help="A file, a directory, which DIR/ makes, or - for standard output.  "
            "[default: <stem>.cutout.png beside IN]",
        ),
    ] = None,
    source: MaskSource,
    model_config: Description,
    refinement: Refinement,
    composition: Composition,
    encoding: EncodingOptions,
    sidecar: options.SidecarOption = False,
    recursive: options.RecursiveOption = False,
    all_files: options.AllFilesOption = False,
    parents: options.ParentsOption = False,
    overwrite: options.OverwriteOption = False,
    skip_existing: options.SkipOption = False,
    rename: options.RenameOption = False,
    jobs: options.JobsOption = None,
    fail_empty: options.FailEmptyOption = False,
    dry_run: options.DryRunOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each image.")] = False,
    verbose: options.VerboseOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Cut the foreground out of photos, with straight alpha.

    The mask is refined in this order: guided, black and white, islands, holes, smooth, expand, feather. Lengths are in
    pixels of the photo. Nothing is done that is not asked for: by default the colours are those of the photo.
    """
    from nss.batch import planning, sidecars
    from nss.files import export, formats, output_file

    if verbose and quiet:
        raise UsageError("--verbose and --quiet exclude each other")
    source = source.described(model_config)
    exists = options.when_exists(overwrite, skip_existing, rename)
    plan = planning.plan(
        inputs,
        output,
        recursive=recursive,
        exists=exists,
        suffix=(".mask" if composition.mask_only else ".cutout") + encoding.suffix,
        parents=parents,
        sidecar=sidecar,
        all_files=all_files,
        verbose=verbose,
        notify=None if quiet else complain,
    )
    chosen = encoding.encoding(plan[0].asked_for if len(plan) == 1 else None)
    formats.check_bits(chosen, composition.mask_bits)
    piped = any(job.to_standard_output for job in plan)
    if piped:
        _check_piped(as_json, sidecar)
    read = _files_read(plan, source, composition.background)
    planning.refuse_inputs(plan, read, sidecar=sidecar)

    def write(job: Job, cutout: Cutout) -> tuple[Composed, bytes | Path] | None:
        composed = cutout.composed(composition, opaque=not chosen.has_alpha)
        with cutout.timed("encode"):
            if job.target is None or output_file.is_special(job.target):
                return composed, export.encode(composed.picture, chosen, job.target_name)
            planning.make_directories(job)
            try:
                path = export.write(
                    composed.picture,
                    job.target,
                    encoding=chosen,
                    inputs=read,
                    overwrite=exists == "overwrite",
                    alternatives=job.alternatives(sidecar=sidecar) if exists == "rename" else None,
                )
            except output_file.ExistsError:
                if exists == "skip":
                    return None
                raise
        if sidecar:
            sidecars.write(
                target=path,
                source=job.source,
                cutout=cutout,
                refinement=refinement,
                composition=composition,
                encoding=chosen,
                notes=[in_options(note) for note in cutout.notes],
                inputs=read,
                overwrite=exists == "overwrite",
            )
        return composed, path

    report = Report(as_json, quiet, to_stderr=piped, verbose=verbose)
    command = _Command(
        plan, source, refinement, write, read, jobs=jobs, report=report, quiet=quiet, fail_empty=fail_empty
    )
    raise typer.Exit(command.plan_only() if dry_run else command.run())


@grouped(source=groups.mask_source, model_config=interface_options.interface, refinement=groups.refinement)
def preview(
    inputs: options.InputsArgument,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR",
            help="A file, or a directory, which DIR/ makes.  [default: <stem>.preview.png beside IN]",
        ),
    ] = None,
    source: MaskSource,
    model_config: Description,
    refinement: Refinement,
    decontaminate: options.DecontaminateOption = 0.0,
    size: Annotated[int, typer.Option(min=64, max=4096, metavar="PX", help="The longer side of each picture.")] = 640,
    parents: options.ParentsOption = False,
    overwrite: options.OverwriteOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Make a contact sheet: the photo, the mask, and the cut-out on a checkerboard, on black and on white."""
    from nss.batch import planning
    from nss.cutouts.preview import sheet
    from nss.files import export, output_file

    source = source.described(model_config)
    plan = planning.plan(
        inputs,
        output,
        exists="overwrite" if overwrite else "fail",
        suffix=".preview.png",
        parents=parents,
        notify=None if quiet else complain,
    )
    if any(job.to_standard_output for job in plan):
        raise UsageError("a preview goes to a file; give it a name with -o")
    encoding = EncodingOptions(None, None, None).encoding(plan[0].asked_for if len(plan) == 1 else None)
    read = _files_read(plan, source)
    planning.refuse_inputs(plan, read)

    def write(job: Job, cutout: Cutout) -> tuple[Composed, bytes | Path]:
        composed = sheet(cutout, size, decontaminate)
        assert job.target is not None
        with cutout.timed("encode"):
            if output_file.is_special(job.target):
                return composed, export.encode(composed.picture, encoding, job.target_name)
            planning.make_directories(job)
            path = export.write(composed.picture, job.target, encoding=encoding, inputs=read, overwrite=overwrite)
        return composed, path

    report = Report(False, quiet)
    raise typer.Exit(_Command(plan, source, refinement, write, read, jobs=None, report=report, quiet=quiet).run())


def _files_read(plan: list[Job], source: MaskSource, background: str | os.PathLike[str] | None = None) -> InputFiles:
    """All that the command reads."""
    from nss.files.output_file import InputFiles

    read = InputFiles(source.files(plan))
    read.add(*(0 if job.source is None else job.source for job in plan))
    if background is not None:
        read.add(background)
    return read


def _check_piped(as_json: bool, sidecar: bool) -> None:
    """Refuse what cannot be while the image goes to standard output."""
    if as_json:
        raise UsageError("--json and an image cannot share standard output; give the image a name with -o")
    if sidecar:
        raise UsageError("--sidecar lies beside the output, and standard output has no place; give it a name with -o")
    if standard_output_is_closed():
        raise UsageError("standard output is closed, and the image would be lost; give it a name with -o")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal, which shows no images; give a name with -o, or redirect it")


@dataclass
class _Command:
    """A plan, and what becomes of it."""

    plan: list[Job]
    source: MaskSource
    refinement: Refinement
    write: Write
    read: InputFiles
    jobs: int | None
    report: Report
    quiet: bool
    fail_empty: bool = False
    remover: Remover | None = None

    def plan_only(self) -> int:
        """Say what would be done; returns the exit status."""
        for job in self.plan:
            if job.error is not None:
                self.report.fail(job, str(job.error))
            elif job.skipped:
                self.report.skip(job)
            else:
                self.report.plan(job)
        return 1 if self.report.failed else 0

    def run(self) -> int:
        """Work through the plan; returns the exit status."""
        from nss.batch.pipeline import finish_on_interrupt
        from nss.cli.progress import Progress

        started = time.perf_counter()
        total = len(self.plan)
        try:
            with Progress(total, quiet=self.quiet) as progress, finish_on_interrupt(_say_finishing) as stop:
                self._run(progress, stop)
        except (KeyboardInterrupt, Terminated) as end:
            word, status = stopped(end)
        else:
            if not stop.requested:
                self._end(time.perf_counter() - started)
                return 1 if self.report.failed else 0
            word, status = stopped(KeyboardInterrupt())
        complain(f"{word}: {self.report.done} of {total} images written")
        return status

    def _run(self, progress: Progress, stop: Stop) -> None:
        import engine
        from nss.batch.pipeline import Pipeline
        from nss.batch.stages import NothingFoundError, Result, Work
        from nss.photos import codec_messages

        told = 0

        def tell(job: Job, result: Result | Exception | None) -> None:
            nonlocal told
            told += 1
            with progress.paused():
                if isinstance(result, Result) and isinstance(result.written, bytes):
                    try:
                        _deliver(result.written, job.target, stop)
                    except ImageError as error:
                        result = error
                if isinstance(result, Exception):
                    empty = isinstance(result, NothingFoundError)
                    self.report.fail(job, describe(result, job.name), nothing_found=empty)
                elif result is None:
                    self.report.skip(job)
                else:
                    self.report.add(job, result)
            progress.update(told, job.name, self.report.skipped)

        def note(name: str, text: str) -> None:
            with progress.paused():
                self.report.note(name, text)

        if any(job.error is None and not job.skipped for job in self.plan):
            progress.update(0, self.plan[0].name)
            self.remover = self._open()
        work = Work(
            self.remover,
            self.source.masks,
            self.refinement,
            self.write,
            max_pixels=self.source.max_pixels,
            fail_empty=self.fail_empty,
        )
        pipeline = Pipeline(work.load, work.infer, work.finish, tell)
        with codec_messages.capture(note):
            pipeline.run(self.plan, self.jobs or min(len(self.plan), engine.available_cores()), stop)

    def _open(self) -> Remover | None:
        """The network; without it no image can be done, and each has that as its error."""
        try:
            remover = self.source.open(quiet=self.quiet)
        except Exception as failure:
            for job in self.plan:
                self.report.json(job, None, describe(job.error or failure))
            if isinstance(failure, NssError):
                raise
            raise NssError(describe(failure)) from failure
        if remover is not None:
            self.read.add(remover.model.path)
        return remover

    def _end(self, seconds: float) -> None:
        """The last lines: what was done in all, and where a finer model is."""
        from nss.cli.progress import summary

        if self.quiet:
            return
        if len(self.plan) > 1:
            complain(summary(self.report.done, self.report.skipped, self.report.failed, seconds))
        if self.remover and self.report.done:
            from nss.models.auto import hint

            if line := hint(self.remover.model):
                complain(line)


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
