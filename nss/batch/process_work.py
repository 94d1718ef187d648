"""The stages of the host in worker processes, and when that is worth it.

Threads of one process get in each other's way: large arrays come and go in one address space, and calls of NumPy meet
at the interpreter's lock. On 16 cores processes do twice as much; on 2 they do no more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import engine
from nss import pipes
from nss.batch.stages import HostWork, Result, Work
from nss.cutouts.compose import Cutout
from nss.cutouts.run_info import RunInfo
from nss.errors import UsageError, quoted
from nss.files import output_file
from nss.photos import codec_messages
from nss.photos.image_io import Photo
from nss.photos.image_size import limit_pillow
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.workers import process
from nss.workers.messages import Loaded
from nss.workers.pool import HeldPhoto, WorkerPool

if TYPE_CHECKING:
    from nss.batch.planning import Job

VARIABLE = "NSS_BATCH_WORKERS"
"""The environment variable that settles it, for measurements and tests: "processes" or "threads"."""

FEWEST_CORES = 4
"""Below, threads do as much."""

BYTES_A_CORE = 3 << 20
"""Bytes of photo files a core from which on processes are begun.

A core does the host's part of 5 MB of JPEG (12 megapixels) in about a second. That of this much takes threads, which
get half of what the cores could do, a second, and the start of processes, half of one on a core each, is paid.
"""

BASE_BYTES = 32 << 20
"""Memory that a worker takes before it has a photo: 25 MB (PSS), measured with tools/worker_start.py."""

IMPORTS = (
    "nss.batch.process_work",
    "nss.batch.outputs",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "nss.files.verify",
)
"""What a worker imports while the network is opened."""


def process_count(jobs: Sequence[Job], workers: int) -> int:
    """How many processes are to work on the jobs, of which ``workers`` are at work at a time; 0: threads.

    Raises:
        UsageError: the environment variable has another value.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish not in ("", "processes", "threads"):
        raise UsageError(f"{VARIABLE}={quoted(wish)}: processes and threads are possible")
    crossing = [job for job in jobs if job.error is None and not job.skipped and _can_cross(job)]
    if wish == "threads" or workers < 2 or not crossing or not process.supported():
        return 0
    if wish == "processes":
        return min(workers, len(crossing))
    if engine.available_cores() < FEWEST_CORES or len(crossing) <= workers:
        return 0
    wanted = workers * BYTES_A_CORE
    for job in crossing:
        assert job.source is not None
        wanted -= _size(job.source)
        if wanted <= 0:
            return workers
    return 0


def start_pool(count: int) -> WorkerPool:
    """Workers that go on with what `ProcessWork` gives them. Raises OSError where none can be started."""
    return WorkerPool(count, imports=IMPORTS, tell=codec_messages.tell, tidy=_tidy)


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
        if job.error is not None or job.skipped or not _can_cross(job):
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


def _can_cross(job: Job) -> bool:
    """Whether another process can read the photo, and write the file: regular files, as names lead to them."""
    if job.source is None or job.target is None:
        return False
    return not (
        pipes.is_pipe(job.source)
        or output_file.descriptor_of(job.source) is not None
        or output_file.is_special(job.target)
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # as its turn will say
        return 0


def _tidy(job: Job, dead: process.WorkerProcess) -> None:
    if job.target is not None:
        output_file.clear_up(job.target, dead.mark, dead.announced)
