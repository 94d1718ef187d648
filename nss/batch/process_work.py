"""The work on the images of a batch, its stages on the host shared out among processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nss.batch.processes import can_cross
from nss.batch.stages import Result, Work
from nss.removal.host_stages import InferredMask
from nss.workers import host_photos
from nss.workers.host_photos import GivenMask, RemotePhoto, WorkerStages

if TYPE_CHECKING:
    from nss.batch.planning import Job
    from nss.workers.pool import WorkerPool


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
        host = self._work.host
        if host.stages is None:
            return GivenMask()
        bits = None if host.stages.stretch else host.level_bits
        return host_photos.load(self._pool, job, refinement=host.refinement, mask_bits=bits)

    def infer(self, job: Job, loaded: Any) -> Any:
        """As `Work.infer`."""
        return self._work.infer(job, loaded)

    def finish(self, job: Job, network_output: Any) -> Result | None:
        """As `Work.finish`."""
        if isinstance(network_output, GivenMask):
            result = self._pool.do(job)
        elif isinstance(network_output, InferredMask) and isinstance(network_output.photo, RemotePhoto):
            result = host_photos.finish(self._pool, network_output)
        else:
            return self._work.finish(job, network_output)
        assert result is None or isinstance(result, Result)
        return result
