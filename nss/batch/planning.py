"""Which file becomes which: the work list of a command, complete and checked before any of it is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias

from nss.batch import output_names
from nss.batch.inputs import STANDARD, IgnoredFiles, InputImage, earlier_stem, expand_patterns, find
from nss.batch.output_names import OutputName
from nss.batch.path_keys import PathKeys
from nss.batch.sidecars import SUFFIX as SIDECAR_SUFFIX
from nss.batch.sidecars import path_for
from nss.errors import ImageError, NssError, UsageError
from nss.files import output_file
from nss.files.formats import extensions
from nss.files.output_file import InputFiles
from nss.pipes import is_pipe

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
        output_name: what ``target`` was made of; None where it is None.
        number: that of the target.
    """

    source: Path | None
    target: Path | None
    error: NssError | None = None
    skipped: bool = False
    new_directory: Path | None = None
    output_name: OutputName | None = field(default=None, compare=False)
    number: int = field(default=1, compare=False)

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

    @property
    def explicit_target(self) -> Path | None:
        """The target, where it is a name that the user gave."""
        return self.target if self.output_name and self.output_name.is_explicit else None

    def alternatives(self, *, sidecar: bool = False) -> Iterator[Path]:
        """The names with the next numbers; with ``sidecar`` those that leave its name free."""
        assert self.output_name is not None
        for number in count(self.number + 1):
            path = self.output_name.path(number)
            if not (sidecar and os.path.lexists(path_for(path))):
                yield path

    def notes(self, target: Path) -> tuple[str, ...]:
        """The notes on the name that the output has taken."""
        return self.output_name.notes(target) if self.output_name else ()


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    recursive: bool = False,
    exists: Exists = "fail",
    suffix: str = SUFFIX,
    parents: bool = False,
    sidecar: bool = False,
    all_files: bool = False,
    verbose: bool = False,
    notify: Callable[[str], object] | None = None,
) -> list[Job]:
    """Pair every input image with its output file.

    A directory stands for the images in it (``nss.batch.inputs.find``), a pattern for what it matches
    (``nss.batch.inputs.expand_patterns``), ``-`` for standard input. A file that is named twice, also through a link,
    is done once. The default output is ``<stem><suffix>`` beside the input, and standard output for standard input.
    Photos that would get one output for their stem alone keep their extension, ``<stem>.heic<suffix>``.

    Args:
        inputs: files, directories, patterns, ``-``.
        output: a directory, in which a searched tree is kept; or, for a single input file, a file name, or ``-`` for
            standard output. A directory is made where the name ends in a separator or a tree needs it, and only when
            the first file is written there: a slip of the keyboard should not become one.
        recursive: search sub-directories too.
        exists: where an output exists, ``"fail"`` gives the job an error, ``"skip"`` marks it, ``"overwrite"`` leaves
            it as it is, and ``"rename"`` numbers the output, ``<stem>.cutout-2.png``. What is no regular file is
            written through in any case.
        suffix: what follows the stem; ``nss.batch.inputs.earlier_stem`` recognises it.
        parents: make missing directories of ``output``, which for several images is one itself.
        sidecar: a record is written beside each output, and held to the same rules.
        all_files: search for images by their first bytes too, not by their extension alone.
        verbose: name each file that the search of a directory ignores, and not only how many.
        notify: receives a line on such files, and one where photos keep their extension.

    Raises:
        UsageError: a name is empty, or ``-`` is there twice; ``output`` is neither; two inputs would give one output
            (but they are numbered with ``"rename"``); an output is one of the inputs; an input is the output of another
            one (but it is left out with ``"skip"``); the second of two inputs seems to be meant as the output.
    """
    if "" in inputs:
        raise UsageError("an input is an empty name; give files or directories (. is the current one)")
    if list(inputs).count(STANDARD) > 1:
        raise UsageError("standard input (-) can be read only once")
    if output is None:
        _refuse_output_among_inputs(inputs)
    elif output_file.descriptor_of(Path(output)) == 1:
        output = STANDARD
    images = expand_patterns(inputs, all_files=all_files)
    directory = _output_directory(images, output, parents)
    keys = PathKeys()
    jobs: dict[str, Job] = {}

    def say(ignored: IgnoredFiles) -> None:
        if notify:
            for line in ignored.lines(verbose=verbose):
                notify(line)

    for image in find(images, recursive=recursive, leave_out=directory, all_files=all_files, notify=say):
        error = image.error or _input_error(image.path, output)
        job = Job(image.path, None, error)
        if error is None and output != STANDARD:
            room = len(SIDECAR_SUFFIX) if sidecar else 0
            job = _with_name(job, _output_name(image, output, directory, suffix=suffix, room=room))
        jobs.setdefault(keys.of(image.path), job)
    _take_outputs_out(jobs, refuse=exists != "skip")
    if exists == "rename":
        _number(jobs, keys, sidecar)
    else:
        _keep_extensions(jobs, keys, notify)
    _refuse_collisions(jobs, keys)
    checked_jobs = [_check_job(job, exists, sidecar) for job in jobs.values()]
    refuse_inputs(
        checked_jobs, InputFiles(0 if job.source is None else job.source for job in checked_jobs), sidecar=sidecar
    )
    return checked_jobs


def refuse_inputs(jobs: Sequence[Job], inputs: InputFiles, *, sidecar: bool = False) -> None:
    """Refuse outputs, standard output among them, that are files which the command reads, by whatever path.

    Raises:
        UsageError: there is one.
    """
    for job in jobs:
        if job.skipped or (job.error is not None and not isinstance(job.error, output_file.ExistsError)):
            continue
        if job.target is None:
            if 1 in inputs:
                raise UsageError("standard output goes to a file that is read, which is never overwritten")
            continue
        for path in (job.target, path_for(job.target)) if sidecar else (job.target,):
            if path in inputs:
                raise UsageError(f"{path}: is an input itself, which is never overwritten; give another output")


def make_directories(job: Job) -> None:
    """Make the directory of the target where the plan says so. Raises ImageError if that fails."""
    if job.new_directory is None:
        return
    try:
        job.new_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{job.target}: {job.new_directory} cannot be created: {error.strerror or error}") from error


def _refuse_output_among_inputs(inputs: Sequence[str]) -> None:
    """Refuse ``a.png out.png``, where out.png does not exist: the second is meant to be the output."""
    if len(inputs) != 2 or STANDARD in inputs[1:]:
        return
    first, second = inputs
    is_name = Path(second).suffix.lower() in extensions() and not os.path.lexists(second)
    if is_name and (first == STANDARD or os.path.lexists(first)):
        raise UsageError(f"{second}: no such file; if it is to be the output, write -o {second}")


def _input_error(path: Path | None, output: str | None) -> ImageError | None:
    """Why there is nothing to be done for an input."""
    if path is not None and not os.path.lexists(path):
        scheme, colon, rest = str(path).partition(":")
        if colon and scheme.lower() in ("s3", "gs"):
            return ImageError(f"{scheme}:/{rest}: is an address; `nss-wgpu remove --on ray` reads it")
        if colon and scheme.lower() in ("http", "https", "ftp"):
            return ImageError(
                f"{scheme}:/{rest}: is an address, and nothing is fetched; save the photo, and name its file"
            )
        return ImageError(f"{path}: no such file")
    if path is not None and output is None and not os.path.lexists(os.path.realpath(path)) and is_pipe(path):
        return ImageError(f"{path}: is a pipe, and in no folder; give the output a name with -o")
    return None


def _output_directory(images: Sequence[InputImage], output: str | None, parents: bool) -> Path | None:
    """The directory that ``output`` names; None where there is no output, or it names a file or standard output."""
    if output is None:
        return None
    if output == "":
        raise UsageError("-o is empty; give a file or a directory, or leave it out")
    if "://" in output:
        raise UsageError(f"-o {output} is an address, to which `nss-wgpu remove --on ray` writes; give a path")
    several = len(images) > 1 or (images[0].path is not None and os.path.isdir(images[0].path))  # noqa: PTH112
    if output == STANDARD:
        if several:
            raise UsageError("standard output (-o -) takes a single image; give a directory for several")
        return None
    # unlike Path.is_dir os.path.isdir is false, not an error, for impossible names
    exists = os.path.isdir(output)  # noqa: PTH112
    makes_directory = output.endswith(tuple(s for s in (os.sep, os.altsep) if s)) or (several and parents)
    if (several or makes_directory) and not exists and os.path.lexists(Path(output)):
        what = "several images need a directory as output" if several else "the output is to be a directory"
        raise UsageError(f"{what}, and {output} is a file; give another name")
    if exists or makes_directory:
        if any(item.path is None for item in images):
            raise UsageError(f"standard input has no name to use in {output}; give -o a file name")
        return Path(output)
    if several:
        raise UsageError(
            f"several images need a directory as output, and {output} is none; {output}{os.sep} has it made"
        )
    if not parents and not os.path.isdir(parent := os.path.dirname(output) or os.curdir):  # noqa: PTH112, PTH120
        raise UsageError(f"{output}: the directory {parent} does not exist; create it first, or pass --parents")
    return None


def _output_name(
    image: InputImage, output: str | None, directory: Path | None, *, suffix: str, room: int
) -> OutputName | None:
    """None for standard output."""
    if output is not None and directory is None:
        path = Path(output)
        return OutputName(path.parent, path.stem, path.suffix, room, is_explicit=True)
    if image.path is None:
        return None
    folder = image.path.parent if directory is None else directory / image.below
    return OutputName(folder, image.path.stem, suffix, room)


def _with_name(job: Job, name: OutputName | None, number: int = 1) -> Job:
    """The job with the target of this name."""
    if name is None:
        return job
    folder = None if os.path.isdir(name.folder) else name.folder  # noqa: PTH112
    return replace(job, target=name.path(number), new_directory=folder, output_name=name, number=number)


def _take_outputs_out(jobs: dict[str, Job], *, refuse: bool) -> None:
    """Refuse, or take out, each input that is an earlier output of another one."""
    photos = [job.source for job in jobs.values() if job.source]
    sources = {(photo.parent, stem): photo for photo in photos for stem in output_names.stems(photo, photo.parent)}
    for key, job in list(jobs.items()):
        stem = earlier_stem(job.source.name) if job.source else None
        if job.source and stem is not None and (photo := sources.get((job.source.parent, stem))):
            if refuse:
                raise UsageError(f"{job.source}: is an earlier cut-out of {photo}; leave it out")
            del jobs[key]


def _number(jobs: dict[str, Job], keys: PathKeys, sidecar: bool) -> None:
    """Give each target a name that no file and no other job has, and its record too."""
    target_keys = set(jobs)
    last: dict[str, int] = {}
    for key, job in jobs.items():
        if job.target is None or output_file.is_special(job.target):
            continue
        assert job.output_name is not None
        target, first = job.target, keys.of(job.target)
        while (
            os.path.lexists(target)
            or keys.of(target) in target_keys
            or (sidecar and os.path.lexists(path_for(target)))  # of an output that is gone
        ):
            last[first] = last.get(first, 1) + 1
            target = job.output_name.path(last[first])
        target_keys.add(keys.of(target))
        jobs[key] = replace(job, target=target, number=last.get(first, 1))


def _keep_extensions(jobs: dict[str, Job], keys: PathKeys, notify: Callable[[str], object] | None) -> None:
    """Let photos that would get one output for their stem alone, ``IMG_1.heic`` and ``IMG_1.jpg``, keep their names."""
    named = {key: job for key, job in jobs.items() if job.source is not None and job.target is not None}

    def with_name(key: str, whole: bool) -> Job:
        job = named[key]
        assert job.source is not None
        assert job.output_name is not None
        return _with_name(job, replace(job.output_name, stem=job.source.name)) if whole else job

    def output(key: str, whole: bool) -> tuple[str, str]:
        target = with_name(key, whole).target
        assert target is not None
        return keys.of(target), target.name

    sources = {key: job.source.name for key, job in named.items() if job.source is not None}
    with_extension = output_names.that_keep_extensions(sources, output)
    jobs.update({key: with_name(key, True) for key in with_extension})
    if with_extension and notify:
        first = jobs[with_extension[0]]
        notify(
            f"{len(with_extension)} photos have the stem of another one, and keep their extension: {first.target_name}"
        )


def _refuse_collisions(jobs: Mapping[str, Job], keys: PathKeys) -> None:
    """``jobs`` by the key of their source."""
    targets: dict[str, str] = {}
    for job in jobs.values():
        if job.target is None:
            continue
        target = keys.of(job.target)
        if target in jobs:
            raise UsageError(f"{job.target}: is an input itself, which is never overwritten; give another output")
        if target in targets:
            raise UsageError(
                f"{targets[target]} and {job.name} would both be written to {job.target}; "
                "run them one at a time with -o, or number the outputs with --exists rename"
            )
        targets[target] = job.name


def _check_job(job: Job, exists: Exists, sidecar: bool) -> Job:
    """The job, marked as skipped, or with an error where it is known to fail."""
    if job.error is not None or job.target is None:
        return job
    try:
        if exists == "skip" and os.path.isfile(job.target):  # noqa: PTH113 - false for impossible names
            return replace(job, skipped=True)
        _check_place(job, job.target, exists)
        if sidecar:
            for path in (job.target, path_for(job.target)):
                if output_file.is_special(path):
                    raise UsageError(f"--sidecar is for regular files, and {path} is none; leave it out")
            _check_place(job, path_for(job.target), exists)
    except ImageError as error:
        # what another process has written in between
        if exists == "skip" and os.path.isfile(job.target):  # noqa: PTH113
            return replace(job, skipped=True)
        return replace(job, error=error)
    return job


def _check_place(job: Job, path: Path, exists: Exists) -> None:
    """Refuse the target, or the record, that could not be written."""
    if job.new_directory is not None:
        _check_new(job.new_directory, path)
    else:
        # what another process has written since the names were numbered gives way to the next number
        output_file.check(path, may_exist=exists in ("overwrite", "rename"))


def _check_new(directory: Path, target: Path) -> None:
    """Refuse a directory that could not be made, by what is there of its path."""
    there = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ImageError(f"{target}: {there} is no directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ImageError(f"{target}: the directory {there} is not writable")
