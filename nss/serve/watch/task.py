"""A photo of the watched folder on its way through a Remover."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nss.batch.outputs import CutoutWriter, OutputFiles
from nss.batch.planning import Job
from nss.batch.stages import HostWork
from nss.cutouts.background import file_of
from nss.cutouts.compose import Cutout
from nss.files.output_file import InputFiles
from nss.pipeline.photo_bytes import finishing_bytes, source_bytes
from nss.pipes import OneTimeFile
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.removal.remover import Remover
from nss.serve.jobs.tasks import Stage
from nss.serve.watch.scan import State
from nss.serve.watch.settings import WatchSettings


class Owner(Protocol):
    """Whoever gives tasks to a pipeline, and hears of them from its threads."""

    def begun(self, task: WatchedPhotoTask) -> None:
        """A thread has begun with it. What is raised ends the task."""
        ...

    def writing(self, task: WatchedPhotoTask) -> None:
        """Its cut-out is about to be made and written. What is raised ends the task."""
        ...

    def named(self, task: WatchedPhotoTask, path: Path, file: tuple[int, int]) -> None:
        """A whole file, by device and inode, is about to get a name."""
        ...

    def ended(self, task: WatchedPhotoTask, outcome: Any) -> None:
        """It is over, with a `nss.batch.stages.Result`, None where the output exists, or an exception."""
        ...


@dataclass(frozen=True)
class Making:
    """What becomes of every photo: the stages of the batch, with these settings."""

    settings: WatchSettings

    @property
    def finishing(self) -> float:
        """Bytes a pixel that it takes to make a file (`nss.pipeline.photo_bytes`)."""
        settings = self.settings
        return finishing_bytes(settings.refinement, settings.composition, settings.encoding.format)

    def host_work(self, remover: Remover, source: Path | None) -> HostWork:
        """The stages on the host. ``source``: the photo, which is never overwritten."""
        settings = self.settings
        files = OutputFiles(settings.encoding, self._inputs(remover, source), settings.exists, settings.sidecar)
        stages = remover.host_stages
        takes_levels = settings.encoding.has_alpha or settings.composition.mask_only
        return HostWork(
            replace(stages, max_pixels=min(stages.max_pixels, settings.max_pixels)),
            None,
            settings.refinement,
            CutoutWriter(files, settings.refinement, settings.composition, settings.words),
            max_pixels=settings.max_pixels,
            fail_empty=settings.fail_empty,
            level_bits=settings.composition.level_bits if takes_levels else None,
        )

    def _inputs(self, remover: Remover, source: Path | None) -> InputFiles:
        inputs = InputFiles([remover.model.path])
        background = file_of(self.settings.composition.background)
        inputs.add(*(file for file in (source, background) if file is not None and not isinstance(file, OneTimeFile)))
        return inputs


class WatchedPhotoTask:
    """As `nss.serve.jobs.tasks.Task` has it.

    Attributes:
        photo: its path in the watched folder, with ``/``.
        state: its size and time of modification when it had settled.
        job: its plan.
        stage: the one that it is at.
        has_begun: whether a thread has ever been at work on it.
    """

    def __init__(self, photo: str, state: State, job: Job, making: Making, owner: Owner) -> None:
        self.photo, self.state, self.job = photo, state, job
        self.name = job.name
        self.is_cancelled = False
        self.stage: Stage = "decode"
        self.has_begun = False
        self._making, self._owner = making, owner

    def cost(self) -> int:
        """See the protocol."""
        assert self.job.source is not None
        settings = self._making.settings
        return source_bytes(self.job.source, max_pixels=settings.max_pixels, finishing=self._making.finishing)

    def entered(self, stage: Stage) -> None:
        """See the protocol."""
        self.stage = stage

    def load(self, remover: Remover) -> PreparedPhoto | Cutout:
        """See the protocol."""
        self.has_begun = True
        self._owner.begun(self)
        return self._making.host_work(remover, self.job.source).load(self.job)

    def finish(self, remover: Remover, output: InferredMask | Cutout) -> Any:
        """See the protocol."""
        self.stage = "finish"
        self._owner.writing(self)
        work = self._making.host_work(remover, self.job.source)
        _at_work.announce = lambda path, file: self._owner.named(self, path, file)
        try:
            return work.finish(self.job, output)
        finally:
            del _at_work.announce

    def done(self, outcome: Any) -> None:
        """See the protocol."""
        self._owner.ended(self, outcome)


def announce(path: Path, file: tuple[int, int]) -> None:
    """What `nss.files.output_file.mark_temporaries` calls, in the thread of the task whose file it is."""
    tell: Callable[[Path, tuple[int, int]], None] | None = getattr(_at_work, "announce", None)
    if tell is not None:
        tell(path, file)


_at_work = threading.local()
