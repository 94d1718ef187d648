"""Which file becomes which: the work list of a command, complete and checked before any of it is done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nss.errors import ImageError, NssError, UsageError
from nss.export import check_target

SUFFIX = ".cutout.png"


@dataclass(frozen=True)
class Job:
    """One image of the work list; with an ``error`` it is already known to fail."""

    source: Path
    target: Path | None
    error: NssError | None = None


def plan(inputs: Sequence[Path], output: str | None, *, overwrite: bool) -> list[Job]:
    """Pair every input image with its output file.

    A directory stands for the images in it, by extension, sorted by name, without its sub-directories and without
    cut-outs that lie there (``*.cutout.png``). By default the output is ``<stem>.cutout.png`` beside the input.
    ``output`` is a directory that exists, or, for a single input file, a file name. Directories are never made: a slip
    of the keyboard should not become one.

    Raises:
        UsageError: ``output`` is neither; two inputs would give one output; an output is one of the inputs.
    """
    directory = _output_directory(inputs, output)
    jobs: list[Job] = []
    for source in _expand(inputs):
        if isinstance(source, Job):
            jobs.append(source)
            continue
        target = Path(output) if output and directory is None else (directory or source.parent) / (source.stem + SUFFIX)
        jobs.append(Job(source, target))
    _refuse_collisions(jobs)
    return [_checked(job, overwrite) for job in jobs]


def _output_directory(inputs: Sequence[Path], output: str | None) -> Path | None:
    """The directory that ``output`` names, or None where there is no output or it names a file."""
    if output is None:
        return None
    separators = tuple(s for s in (os.sep, os.altsep) if s)
    if os.path.isdir(output):  # noqa: PTH112 - unlike Path.is_dir it is false, not an error, for impossible names
        return Path(output)
    if output.endswith(separators):
        raise UsageError(f"output directory {output} does not exist; create it first")
    if len(inputs) > 1 or inputs[0].is_dir():
        raise UsageError(f"several images need a directory as output, and {output} is none; create it first")
    return None


def _expand(inputs: Sequence[Path]) -> Iterator[Path | Job]:
    from nss.image_io import EXTENSIONS

    for path in inputs:
        try:
            if not path.is_dir():
                yield path
                continue
            images = sorted(
                p
                for p in path.iterdir()
                if p.suffix.lower() in EXTENSIONS and not p.name.endswith(SUFFIX) and p.is_file()
            )
        except OSError as error:
            yield Job(path, None, ImageError(f"{path}: cannot be read: {error.strerror}"))
            continue
        if not images:
            yield Job(path, None, ImageError(f"{path}: no images in this directory (sub-directories are not searched)"))
        yield from images


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {os.path.realpath(job.source): job.source for job in jobs}
    taken: dict[str, Path] = {}
    for job in jobs:
        if job.target is None:
            continue
        target = os.path.realpath(job.target)
        if target in sources:
            raise UsageError(f"{job.target}: is an input itself, which is never overwritten; give another output")
        if target in taken:
            raise UsageError(
                f"{taken[target]} and {job.source} would both be written to {job.target}; give each its own -o"
            )
        taken[target] = job.source


def _checked(job: Job, overwrite: bool) -> Job:
    if job.target is None:
        return job
    if not os.path.lexists(job.source):
        return Job(job.source, job.target, ImageError(f"{job.source}: no such file"))
    try:
        check_target(job.target, source=job.source, overwrite=overwrite)
    except ImageError as error:
        return Job(job.source, job.target, error)
    return job
