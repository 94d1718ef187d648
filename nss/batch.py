"""Which file becomes which: the work list of a command, complete and checked before any of it is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def plan(inputs: Sequence[str], output: str | None, *, overwrite: bool) -> list[Job]:
    """Pair every input image with its output file.

    A directory stands for the images in it, by extension, sorted by name, without its sub-directories and without
    cut-outs that lie there (``*.cutout.png``). A file that is named twice, also through a link, is done once. By
    default the output is ``<stem>.cutout.png`` beside the input.
    ``output`` is a directory that exists, or, for a single input file, a file name. Directories are never made: a slip
    of the keyboard should not become one.

    Raises:
        UsageError: a name is empty; ``output`` is neither; two inputs would give one output; an output is one of the
            inputs; an input is the cut-out of another one.
    """
    if "" in inputs:
        raise UsageError("an input is an empty name; give files or directories (. is the current one)")
    paths = [Path(name) for name in inputs]
    directory = _output_directory(paths, output)
    jobs: dict[str, Job] = {}
    for source in _expand(paths):
        if isinstance(source, Job):
            job = source
        elif output is not None and directory is None:
            job = Job(source, Path(output))
        else:
            job = Job(source, (directory or source.parent) / (source.stem + SUFFIX))
        jobs.setdefault(os.path.realpath(job.source), job)
    _refuse_cutouts(jobs.values())
    _refuse_collisions(jobs)
    return [_checked(job, overwrite) for job in jobs.values()]


def _output_directory(inputs: Sequence[Path], output: str | None) -> Path | None:
    """The directory that ``output`` names, or None where there is no output or it names a file."""
    if output is None:
        return None
    if output == "":
        raise UsageError("-o is empty; give a file or a directory, or leave it out")
    separators = tuple(s for s in (os.sep, os.altsep) if s)
    if os.path.isdir(output):  # noqa: PTH112 - unlike Path.is_dir it is false, not an error, for impossible names
        return Path(output)
    if output.endswith(separators):
        raise UsageError(f"output directory {output} does not exist; create it first")
    if len(inputs) > 1 or inputs[0].is_dir():
        raise UsageError(f"several images need a directory as output, and {output} is none; create it first")
    if not os.path.isdir(parent := os.path.dirname(output) or os.curdir):  # noqa: PTH112, PTH120 - as above
        raise UsageError(f"{output}: the directory {parent} does not exist; create it first")
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


def _refuse_cutouts(jobs: Iterable[Job]) -> None:
    sources = {(job.source.parent, job.source.stem): job.source for job in jobs}
    for path in sources.values():
        source = sources.get((path.parent, path.name.removesuffix(SUFFIX))) if path.name.endswith(SUFFIX) else None
        if source is not None:
            raise UsageError(f"{path}: is an earlier cut-out of {source}; leave it out")


def _refuse_collisions(jobs: Mapping[str, Job]) -> None:
    """``jobs`` by the real path of their source."""
    taken: dict[str, Path] = {}
    for job in jobs.values():
        if job.target is None:
            continue
        target = os.path.realpath(job.target)
        if target in jobs:
            raise UsageError(f"{job.target}: is an input itself, which is never overwritten; give another output")
        if target in taken:
            raise UsageError(
                f"{taken[target]} and {job.source} would both be written to {job.target}; "
                "run them one at a time with -o"
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
