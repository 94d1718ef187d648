"""The command ``nss-wgpu``.

Results go to standard output, everything else to standard error, one line each. Exit status: see ``nss.errors``.
Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.bench_cli import bench
from nss.devices_cli import devices
from nss.errors import NssError, UsageError, one_line
from nss.models_cli import models_app
from nss.parity_cli import parity
from nss.run_options import Backend, BackendOption, DeviceOption, Precision, PrecisionOption
from nss.terminal import (
    PROGRAM,
    ReaderGoneError,
    Terminated,
    complain,
    escaped,
    require_command,
    standard_streams,
    stop_signals,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nss.batch import Job
    from nss.compose import Cutout
    from nss.progress import Progress
    from nss.remover import Remover

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

app = typer.Typer(
    name=PROGRAM,
    help="Take the background off photos, on this machine.",
    epilog="Exit status: 0 all done, 1 some images failed, 2 usage, 3 model missing or refused, 4 no GPU, "
    "130 interrupted, 143 terminated.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # importing rich for the help text alone would double its time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_app, name="models")
app.command("devices")(devices)
app.command("bench")(bench)
app.command("parity")(parity)


class Mode(StrEnum):
    """The two networks by what they are chosen for."""

    FAST = "fast"
    BEST = "best"


def _print_version(wanted: bool) -> None:
    if wanted:
        from nss import __version__

        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    require_command(context)


@app.command("remove")
def remove(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN", help="Images, or directories of images (without sub-directories).")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR",
            help="A .png file, or a directory that exists. Default: <stem>.cutout.png beside the input.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="auto (the best model already here), rmbg-1.4, rmbg-2.0, u2netp, or an ONNX file.  [default: auto]",
        ),
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="fast is rmbg-1.4, best is rmbg-2.0; fetched when missing.")] = None,
    backend: BackendOption = Backend.AUTO,
    device: DeviceOption = None,
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="Fail with status 4 where no hardware adapter would run the network.")
    ] = False,
    precision: PrecisionOption = Precision.F32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each image.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only (and JSON, if asked for).")] = False,
) -> None:
    """Cut the foreground out of photos: PNG files with straight alpha, RGB untouched."""
    if model == "":
        raise UsageError("--model is empty; give a name, the path of an ONNX file, or leave it out")
    if mode and model:
        raise UsageError("--mode and --model exclude each other: --mode fast is --model rmbg-1.4, best is rmbg-2.0")
    from nss import batch

    jobs = batch.plan(inputs, output, overwrite=overwrite)
    report = _Report(as_json, quiet)
    asked = {"backend": backend.value, "device": device, "precision": precision.value, "require_gpu": require_gpu}
    run = _Run(model or (mode.value if mode else "auto"), asked, overwrite, quiet)
    from nss.progress import Progress

    try:
        with Progress(len(jobs), quiet=quiet) as progress:
            _process(jobs, run, report, progress)
    except (KeyboardInterrupt, Terminated) as stop:
        word, status = _stopped(stop)
        complain(f"{word}: {report.done} of {len(jobs)} images written")
        raise typer.Exit(status) from None
    if run.remover and report.done and not quiet:
        from nss.models import hint

        if line := hint(run.remover.model):
            complain(line)
    raise typer.Exit(1 if report.failed else 0)


@dataclass
class _Run:
    """What all images of a command share; the model is opened for the first image that needs it."""

    model: str
    asked: dict[str, Any]
    overwrite: bool
    quiet: bool
    remover: Remover | None = None

    def cut(self, job: Job) -> Cutout:
        assert job.target is not None  # a job without one carries an error
        if self.remover is None:
            from nss.remover import Remover

            self.remover = Remover(self.model, **self.asked, quiet=self.quiet, notify=complain)
        cutout = self.remover.remove(job.source)
        cutout.save(job.target, overwrite=self.overwrite)
        return cutout


def _process(jobs: Sequence[Job], run: _Run, report: _Report, progress: Progress) -> None:
    for number, job in enumerate(jobs):
        progress.update(number, job.source.name)
        cutout, error = None, one_line(job.error) if job.error else None
        if error is None:
            try:
                cutout = run.cut(job)
            except Exception as failure:
                if run.remover is None:  # no image can be done without the model
                    reason = _describe(failure)
                    for left in jobs[number:]:
                        report.json(left, None, reason)
                    if isinstance(failure, NssError):
                        raise
                    raise NssError(reason) from failure
                error = _describe(failure, job.source)
        with progress.paused():
            report.add(job, cutout, error)


@dataclass
class _Report:
    """Says what became of each image, as it is done."""

    as_json: bool
    quiet: bool
    done: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)

    def add(self, job: Job, cutout: Cutout | None, error: str | None) -> None:
        self.json(job, cutout, error)
        if cutout is None:
            self.failed += 1
            complain(error or "")
            return
        self.done += 1
        if self.quiet:
            return
        for note in cutout.notes:
            complain(f"{job.source}: {note}")
        if not self.as_json:
            height, width = cutout.mask.shape
            info, seconds = cutout.info, sum(cutout.info.milliseconds.values()) / 1000
            print(
                f"{escaped(job.source)} -> {escaped(job.target)} "
                f"({width} x {height}, {info.model} on {info.backend}, {seconds:.2f} s)",
                flush=True,
            )

    def json(self, job: Job, cutout: Cutout | None, error: str | None) -> None:
        if not self.as_json:
            return
        info = cutout.info if cutout else None
        line: dict[str, Any] = {
            "input": str(job.source),
            "output": str(job.target) if cutout else None,
            "width": cutout.mask.shape[1] if cutout else None,
            "height": cutout.mask.shape[0] if cutout else None,
            "model": info.model if info else None,
            "model_sha256": info.model_sha256 if info else None,
            "backend": info.backend if info else None,
            "backend_reason": info.backend_reason if info else None,
            "device": info.device if info else None,
            "precision": info.precision if info else None,
            "milliseconds": info.milliseconds if info else None,
            "notes": list(cutout.notes) if cutout else [],
            "error": error,
        }
        print(json.dumps(line), flush=True)


def _stopped(stop: BaseException) -> tuple[str, int]:
    """The word and the exit status for an end that came from outside."""
    return ("terminated", stop.exit_code) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)


def _describe(failure: Exception, source: Path | None = None) -> str:
    """A failure as one line; with NSS_DEBUG set, the traceback of one that no one foresaw goes before it."""
    if isinstance(failure, NssError):
        return one_line(failure)
    what = f"{source}: " if source else ""
    if isinstance(failure, MemoryError):
        return f"{what}not enough memory"
    if os.environ.get("NSS_DEBUG"):
        import traceback

        traceback.print_exception(failure)
    kind = type(failure).__name__
    return f"{what}unexpected {kind}: {one_line(failure)} (NSS_DEBUG=1 shows where; please report it)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status. ``arguments``: those of the process by default."""
    with standard_streams(), stop_signals():
        try:
            status = app(arguments, prog_name=PROGRAM, standalone_mode=False)
            sys.stdout.flush()
            return status if isinstance(status, int) else 0
        except (KeyboardInterrupt, typer.Abort, Terminated) as stop:
            word, status = _stopped(stop)
            complain(word)
            return status
        except ReaderGoneError as error:
            return error.exit_code
        except NssError as error:
            complain(str(error))
            return error.exit_code
        except Exception as error:
            # typer's usage errors share no public base class; all of them can format themselves
            if format_message := getattr(error, "format_message", None):
                command = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
                try:
                    message = one_line(format_message())
                except Exception:  # typer before 0.16 with a later click
                    message = one_line(error)
                complain(f"{message.rstrip('.')}. See `{command} --help`.")
                return 2
            complain(_describe(error))
            return 1
