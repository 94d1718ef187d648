"""Which cut-out a photo of the watched folder becomes: by the plan of a batch, as if its neighbours were in it too."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from nss.batch import planning
from nss.batch.path_keys import fold
from nss.batch.planning import Job
from nss.errors import ImageError, UsageError
from nss.files import output_file
from nss.serve.watch.settings import WatchSettings


class Neighbours:
    """The photos of a look into the folder, by the names that they might share with others.

    Two that have one stem in their directory keep their extensions, whichever of them comes first.
    """

    def __init__(self, photos: Iterable[str]) -> None:
        """``photos``: their paths in the folder, with ``/``."""
        self._by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
        for photo in photos:
            for key in self._keys(photo):
                self._by_name[key].append(photo)

    def of(self, photo: str) -> list[str]:
        """The photo and all whose outputs might get its name, and those that might get theirs, sorted."""
        group, pending = {photo}, [photo]
        while pending:
            for key in self._keys(pending.pop()):
                new = set(self._by_name.get(key, ())) - group
                group |= new
                pending += new
        return sorted(group)

    @staticmethod
    def _keys(photo: str) -> set[tuple[str, str]]:
        folder, name = os.path.split(photo)
        return {(folder, fold(name)), (folder, fold(os.path.splitext(name)[0]))}  # noqa: PTH122 - of a name


class Planner:
    """Plans photos of a watched folder."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._inbox = os.path.realpath(settings.inbox)

    def source(self, photo: str) -> Path:
        """Where a photo lies."""
        return self._settings.inbox / photo

    def folder(self, photo: str) -> Path:
        """Where its cut-out goes."""
        return self._settings.outbox / PurePosixPath(photo).parent

    def output(self, path: Path) -> str:
        """The path of a cut-out in its folder, with ``/``."""
        return path.relative_to(self._settings.outbox).as_posix()

    def plan(self, photo: str, neighbours: Neighbours) -> Job:
        """What becomes of a photo; with its error where it cannot be done."""
        try:
            # the first of several links to one file is the one that is planned
            jobs = self._plan(dict.fromkeys([photo, *neighbours.of(photo)]), self.folder(photo))
        except UsageError as error:  # two of them would give one output
            return Job(self.source(photo), None, ImageError(str(error)))
        return self._checked(jobs[0])

    def done_before(self, photos: Collection[str], neighbours: Neighbours) -> list[str]:
        """Those of ``photos`` whose outputs are there and stay: known at once, of thousands."""
        if self._settings.exists != "skip":
            return []
        by_folder: dict[Path, dict[str, None]] = defaultdict(dict)
        for photo in photos:
            by_folder[self.folder(photo)].update(dict.fromkeys(neighbours.of(photo)))
        done = []
        for folder, names in by_folder.items():
            by_source = {self.source(name): name for name in names if name in photos}
            try:
                jobs = self._plan(names, folder)
            except UsageError:  # each will say it for itself
                continue
            done += [by_source[job.source] for job in jobs if job.skipped and job.source in by_source]
        return done

    def link_within(self, photo: str, photos: Collection[str]) -> str | None:
        """The other photo that this one is a link to; None where it is none: a file is done once."""
        path = self.source(photo)
        if not path.is_symlink():
            return None
        file = os.path.relpath(os.path.realpath(path), self._inbox).replace(os.sep, "/")
        return file if file != photo and file in photos else None

    def _plan(self, photos: Collection[str], folder: Path) -> list[Job]:
        settings = self._settings
        return planning.plan(
            [str(self.source(photo)) for photo in photos],
            f"{folder}{os.sep}",  # of a directory, which is made when it is needed
            exists=settings.exists,
            suffix=settings.suffix,
            sidecar=settings.sidecar,
        )

    def _checked(self, job: Job) -> Job:
        """The job, with an error where its output may not be written: the plan knows only a few of the inputs."""
        if job.error is not None or job.skipped or job.target is None:
            return job
        if output_file.is_special(job.target):
            return Job(job.source, None, ImageError(f"{job.target}: is no regular file; remove it, or give it a name"))
        if job.target.is_symlink():
            file = os.path.realpath(job.target)
            if Path(file).is_relative_to(self._inbox):
                reason = "leads to a photo of the watched folder, which is never overwritten; remove the link"
                return Job(job.source, None, ImageError(f"{job.target}: {reason}"))
        return job
