"""The stages of the host in worker processes, and what goes from one process to another for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nss.batch.processes import can_cross
from nss.batch.stages import HostWork, Result, Work
from nss.cutouts.compose import Cutout
from nss.cutouts.run_info import RunInfo
from nss.photos.image_io import Photo
from nss.photos.image_size import limit_pillow
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.workers.messages import Loaded
from nss.workers.pool import HeldPhoto, WorkerPool

if TYPE_CHECKING:
    from nss.batch.planning import Job


@dataclass(frozen=True, eq=False)
class RemotePhoto(Photo):
    """A photo whose pixels are in another process; ``rgb`` and ``alpha`` here have their shapes, and no memory."""

    held: HeldPhoto | None = None


@dataclass(frozen=True)
class _Summary:
    """What comes of a photo beside the network's input."""

    size: tuple[int, int]
    has_alpha: bool
    path: Path | None
    format: str
    times: dict[str, float]


@dataclass(frozen=True)
class _Inferred:
    """What goes back beside the network's mask."""

    notes: tuple[str, ...]
    info: RunInfo


class _NoNetwork:
    """Stands for a photo with a mask that was given: all is done in one go."""


@dataclass(frozen=True)
class WorkerStages:
    """What a worker does: `nss.workers.messages.Work`."""

    host: HostWork

    def load(self, job: Job) -> Loaded:
        """Decode, and make the network's input."""
        limit_pillow(self.host.max_pixels)  # of this process
        loaded = self.host.load(job)
        if isinstance(loaded, Cutout):
            return Loaded(loaded)
        photo = loaded.photo
        assert loaded.network_input is not None
        summary = _Summary(photo.size, photo.alpha is not None, photo.path, photo.format, dict(loaded.times))
        return Loaded(photo, [loaded.network_input], summary)

    def finish(
        self, job: Job, kept: Photo | Cutout, arrays: Sequence[np.ndarray], output: _Inferred | None
    ) -> Result | None:
        """All that follows the network."""
        if isinstance(kept, Cutout):
            return self.host.finish(job, kept)
        assert output is not None
        (raw,) = arrays
        return self.host.finish(job, InferredMask(kept, raw, output.notes, output.info))


class ProcessWork:
    """`Work` whose stages on the host are done by a pool of processes, as far as they can be."""

    def __init__(self, work: Work, pool: WorkerPool) -> None:
        """``work``: what does the rest, which standard input and the like are, in this process."""
        self._work, self._pool = work, pool
        pool.configure(WorkerStages(work.host))

    def load(self, job: Job) -> Any:
        """As `Work.load`; a photo's pixels stay where they are."""
        if job.error is not None or job.skipped or not can_cross(job):
            return self._work.load(job)
        if self._work.host.stages is None:
            return _NoNetwork()
        held = self._pool.load(job)
        summary: _Summary = held.summary
        height, width = summary.size
        photo = RemotePhoto(
            rgb=np.broadcast_to(np.uint8(0), (height, width, 3)),
            alpha=np.broadcast_to(np.uint8(255), (height, width)) if summary.has_alpha else None,
            icc=None,
            path=summary.path,
            format=summary.format,
            notes=(),
            held=held,
        )
        return PreparedPhoto(photo, held.arrays[0], summary.times)

    def infer(self, job: Job, loaded: Any) -> Any:
        """As `Work.infer`."""
        return self._work.infer(job, loaded)

    def finish(self, job: Job, network_output: Any) -> Result | None:
        """As `Work.finish`."""
        if isinstance(network_output, _NoNetwork):
            result = self._pool.do(job)
        elif isinstance(network_output, InferredMask) and isinstance(network_output.photo, RemotePhoto):
            held = network_output.photo.held
            assert held is not None
            output = _Inferred(network_output.notes, network_output.info)
            result = self._pool.finish(held, [network_output.raw], output)
        else:
            return self._work.finish(job, network_output)
        assert result is None or isinstance(result, Result)
        return result
