"""Which file becomes which: the work list of a command, complete and checked before any of it is done."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from nss.errors import ImageError, NssError, UsageError
from nss.inputs import STANDARD, Found, earlier_stem, expand_patterns, find
from nss.output_file import InputFiles, check

SUFFIX = ".cutout.png"

Exists: TypeAlias = Literal["fail", "skip", "overwrite", "rename"]
"""What to do where an output exists."""


@dataclass(frozen=True)
class Job:
    """One image of the work list.

    Attributes:
        source: the file, or None for standard input.
        target: the output, or None for standard output, or none because of the error.
        error: why it is already known to fail.
        skipped: the output exists, and nothing is to be done.
        new_directory: what ``make_directories`` makes for the target.
    """

    source: Path | None
    target: Path | None
    error: NssError | None = None
    skipped: bool = False
    new_directory: Path | None = None

    @property
    def name(self) -> str:
        """What to call the input in a message."""
        return "<standard input>" if self.source is None else str(self.source)

    @property
    def target_name(self) -> str:
        """What to call the output in a message."""
        return "<standard output>" if self.target is None else str(self.target)

    @property
    def to_standard_output(self) -> bool:
        """Whether the output has no file."""
        return self.target is None and self.error is None


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    recursive: bool = False,
    exists: Exists = "fail",
    suffix: str = SUFFIX,
) -> list[Job]:
    """Pair every input image with its output file.

    A directory stands for the images in it (``nss.inputs.find``), a pattern for what it matches
    (``nss.inputs.expand_patterns``), ``-`` for standard input. A file that is named twice, also through a link, is done
    once. The default output is ``<stem><suffix>`` beside the input, and standard output for standard input.

    Args:
        inputs: files, directories, patterns, ``-``.
        output: a directory that exists, in which a searched tree is kept; or, for a single input file, a file name, or
            ``-`` for standard output. Directories are never made but for such a tree, and only when the first file is
            written there: a slip of the keyboard should not become one.
        recursive: search sub-directories too.
        exists: where an output exists, ``"fail"`` gives the job an error, ``"skip"`` marks it, ``"overwrite"`` leaves
            it as it is, and ``"rename"`` numbers the output, ``<stem>.cutout-2.png``.
        suffix: what follows the stem, as ``nss.inputs.earlier_stem`` knows it again.

    Raises:
        UsageError: a name is empty, or ``-`` is there twice; ``output`` is neither; two inputs would give one output
            (but they are numbered with ``"rename"``); an output is one of the inputs; an input is the output of another
            one (but it is left out with ``"skip"``).
    """
    if "" in inputs:
        raise UsageError("an input is an empty name; give files or directories (. is the current one)")
    if list(inputs).count(STANDARD) > 1:
        raise UsageError("standard input (-) can be read only once")
    named = expand_patterns(inputs)
    directory = _output_directory(named, output)
    keys = _Keys()
    jobs: dict[str, Job] = {}
    for found in find(named, recursive=recursive, leave_out=directory):
        jobs.setdefault(keys.of(found.path), _job(found, output, directory, suffix))
    _take_outputs_out(jobs, refuse=exists != "skip")
    if exists == "rename":
        _number(jobs, keys)
    _refuse_collisions(jobs, keys)
    return [_checked(job, exists) for job in jobs.values()]


def make_directories(job: Job) -> None:
    """Make the directory of the target where the plan says so. Raises ImageError if that fails."""
    if job.new_directory is None:
        return
    try:
        job.new_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{job.target}: {job.new_directory} cannot be created: {error.strerror or error}") from error


def _output_directory(named: Sequence[Found], output: str | None) -> Path | None:
    """The directory that ``output`` names; None where there is no output, or it names a file or standard output."""
    if output is None:
        return None
    if output == "":
        raise UsageError("-o is empty; give a file or a directory, or leave it out")
    several = len(named) > 1 or (named[0].path is not None and os.path.isdir(named[0].path))  # noqa: PTH112
    if output == STANDARD:
        if several:
            raise UsageError("standard output (-o -) takes a single image; give a directory for several")
        return None
    if os.path.isdir(output):  # noqa: PTH112 - unlike Path.is_dir it is false, not an error, for impossible names
        if any(item.path is None for item in named):
            raise UsageError(f"standard input has no name to use in {output}; give -o a file name")
        return Path(output)
    if output.endswith(tuple(s for s in (os.sep, os.altsep) if s)):
        raise UsageError(f"output directory {output} does not exist; create it first")
    if several:
        raise UsageError(f"several images need a directory as output, and {output} is none; create it first")
    if not os.path.isdir(parent := os.path.dirname(output) or os.curdir):  # noqa: PTH112, PTH120 - as above
        raise UsageError(f"{output}: the directory {parent} does not exist; create it first")
    return None


def _job(found: Found, output: str | None, directory: Path | None, suffix: str) -> Job:
    source = found.path
    if found.error is not None:
        return Job(source, None, found.error)
    if output == STANDARD:
        return Job(source, None)
    if output is not None and directory is None:
        return Job(source, Path(output))
    if source is None:
        return Job(None, None)
    if directory is None:
        return Job(source, source.parent / (source.stem + suffix))
    folder = directory / found.below
    return Job(
        source,
        folder / (source.stem + suffix),
        new_directory=None if os.path.isdir(folder) else folder,  # noqa: PTH112
    )


def _take_outputs_out(jobs: dict[str, Job], *, refuse: bool) -> None:
    """Refuse, or take out, each input that is an earlier output of another one."""
    sources = {(path.parent, path.stem): path for path in (job.source for job in jobs.values()) if path}
    for key, job in list(jobs.items()):
        stem = earlier_stem(job.source.name) if job.source else None
        if job.source and stem is not None and (photo := sources.get((job.source.parent, stem))):
            if refuse:
                raise UsageError(f"{job.source}: is an earlier cut-out of {photo}; leave it out")
            del jobs[key]


def _number(jobs: dict[str, Job], keys: _Keys) -> None:
    """Give each target a name that no file and no other job has."""
    taken = set(jobs)
    last: dict[str, int] = {}
    for key, job in jobs.items():
        if job.target is None:
            continue
        target, first = job.target, keys.of(job.target)
        while os.path.lexists(target) or keys.of(target) in taken:
            last[first] = last.get(first, 1) + 1
            target = job.target.with_name(f"{job.target.stem}-{last[first]}{job.target.suffix}")
        taken.add(keys.of(target))
        jobs[key] = replace(job, target=target)


def _refuse_collisions(jobs: Mapping[str, Job], keys: _Keys) -> None:
    """``jobs`` by the key of their source."""
    taken: dict[str, str] = {}
    for job in jobs.values():
        if job.target is None:
            continue
        target = keys.of(job.target)
        if target in jobs:
            raise UsageError(f"{job.target}: is an input itself, which is never overwritten; give another output")
        if target in taken:
            raise UsageError(
                f"{taken[target]} and {job.name} would both be written to {job.target}; "
                "run them one at a time with -o, or number the outputs with --rename"
            )
        taken[target] = job.name


def _checked(job: Job, exists: Exists) -> Job:
    if job.error is not None:
        return job
    try:
        if job.source is not None and not os.path.lexists(job.source):
            raise ImageError(f"{job.source}: no such file")
        if job.target is None:
            return job
        if exists == "skip" and os.path.isfile(job.target):  # noqa: PTH113 - false for impossible names
            return replace(job, skipped=True)
        if job.new_directory is not None:
            _check_new(job.new_directory, job.target)
        else:
            inputs = InputFiles([job.source] if job.source else [])
            check(job.target, inputs=inputs, taken_ok=exists == "overwrite")
    except ImageError as error:
        return replace(job, error=error)
    return job


def _check_new(directory: Path, target: Path) -> None:
    """Refuse a directory that could not be made, by what is there of its path."""
    there = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ImageError(f"{target}: {there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ImageError(f"{target}: the directory {there} is not writable")


class _Keys:
    """Names of files by which two paths can be compared: equal where one file is or would be meant.

    Links are followed. Where a directory makes no difference between small and capital letters, or between the ways to
    write an accent in Unicode, neither do the keys.
    """

    def __init__(self) -> None:
        self._folders: dict[str, tuple[str, bool]] = {}

    def of(self, path: Path | None) -> str:
        """The key of a path; that of standard input for None."""
        if path is None:
            return STANDARD
        folder, name = os.path.split(os.path.realpath(path))
        key, folds = self._folder(folder)
        return os.path.join(key, _folded(name) if folds else name)  # noqa: PTH118

    def _folder(self, folder: str) -> tuple[str, bool]:
        """Its key, and whether it makes no difference; one that is still to be made is like the one it will be in."""
        if folder not in self._folders:
            head, tail = os.path.split(folder)
            if not tail or os.path.isdir(folder):  # noqa: PTH112
                self._folders[folder] = folder, _folds_case(folder)
            else:
                key, folds = self._folder(head)
                self._folders[folder] = os.path.join(key, _folded(tail) if folds else tail), folds  # noqa: PTH118
        return self._folders[folder]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _folds_case(folder: str) -> bool:
    """Whether a directory makes no difference between small and capital letters, told by a file that is there."""
    try:
        with os.scandir(folder) as entries:
            name = next((e.name for e in entries if e.name.isascii() and e.name.swapcase() != e.name), None)
        # an empty one is taken to be like the directory it is in
        path = os.path.join(folder, name) if name else folder  # noqa: PTH118
        head, tail = os.path.split(path)
        return os.path.samefile(path, os.path.join(head, tail.swapcase()))  # noqa: PTH118, PTH121
    except OSError:
        return False
