"""The photo of a request on its way through a pipeline: decoded, through the network, and made into the answer.

The bytes are those that ``nss-wgpu remove`` writes by the same options.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nss.cutouts.compose import Cutout
from nss.pipeline.photo_bytes import finishing_bytes, source_bytes
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.removal.remover import Remover
from nss.serve.jobs.photo_host import HostJob, PhotoHost, Product, background_of
from nss.serve.jobs.tasks import Stage
from nss.workers import host_photos
from nss.workers.host_photos import GivenMask, RemotePhoto

if TYPE_CHECKING:
    from nss.serve.api.fields import Order
    from nss.workers.pool import WorkerPool

_MASK_BYTES, _BACKGROUND_BYTES = 4.0, 3.0
"""Bytes a pixel of a mask and a background that were sent ahead, beside what decoding them takes."""


class PhotoTask:
    """See `nss.serve.jobs.tasks.Task`.

    Attributes:
        name: what the photo is called in messages.
        is_cancelled: nobody wants it any more.
    """

    def __init__(
        self,
        order: Order,
        content: bytes,
        *,
        decoded: Callable[[], object],
        entered: Callable[[Stage], object],
        done: Callable[[Any], object],
        pool: WorkerPool | None = None,
    ) -> None:
        """All three functions are called from the pipeline's threads.

        Args:
            order: what is to be made of the photo.
            content: its file.
            decoded: is called once ``content`` is needed no more, at the latest before ``done``.
            entered: gets each stage as it begins.
            done: gets a `Product`, or the exception that ended it.
            pool: does the stages on the host, as those of a `PhotoHost`; None where the pipeline's threads do.
        """
        self.name, self.is_cancelled = order.name, False
        self._order, self._content = order, content
        self._host = PhotoHost(order.max_pixels)
        self._job: HostJob | None = None
        self._decoded, self._entered, self._done, self._pool = decoded, entered, done, pool

    def cost(self) -> int:
        """Bytes that it takes in work, with the mask and the background that go with it."""
        order = self._order
        finishing = _MASK_BYTES
        if order.encoding is not None:
            finishing = finishing_bytes(order.refinement, order.composition, order.encoding.format)
        nbytes = source_bytes(self._content, max_pixels=order.max_pixels, finishing=finishing)
        for file, beside in ((order.mask, _MASK_BYTES), (background_of(order), _BACKGROUND_BYTES)):
            if file is not None:
                nbytes += source_bytes(file, max_pixels=order.max_pixels, finishing=beside)
        return nbytes

    def entered(self, stage: Stage) -> None:
        """It is at this stage now."""
        self._entered(stage)

    def load(self, remover: Remover) -> PreparedPhoto | Cutout | GivenMask:
        """As `PhotoHost.load`, of the Remover's stages; with a pool, of a photo that needs no network, nothing yet.

        Raises what that does, and what `nss.workers.pool.WorkerPool.load` does.
        """
        self._job = job = HostJob(self._order, remover.host_stages, self._content)
        if self._pool is None:
            loaded = self._host.load(job)
            self._forget_content()
            return loaded
        # the file is kept to the end: where the worker dies another one begins anew
        if self._order.mask is not None:
            return GivenMask()
        bits = None if job.stages.stretch else job.level_bits
        loaded = host_photos.load(self._pool, job, refinement=job.refinement, mask_bits=bits, rest=job.decoded)
        # the levels of a small photo are NumPy's, as with threads: those of the GPU may be another by one
        return loaded if loaded.network_input is None else replace(loaded, mask_bits=None)

    def finish(self, _: Remover, output: InferredMask | Cutout | GivenMask) -> Product:
        """As `PhotoHost.finish`. Raises as ``load``."""
        assert self._job is not None
        if isinstance(output, GivenMask):
            assert self._pool is not None
            product = self._pool.do(self._job)
        elif isinstance(output, InferredMask) and isinstance(output.photo, RemotePhoto):
            assert self._pool is not None
            product = host_photos.finish(self._pool, output)
        else:
            product = self._host.finish(self._job, output)
        assert isinstance(product, Product)
        return product

    def done(self, outcome: Any) -> None:
        """It is over."""
        self._forget_content()
        self._done(outcome)

    def _forget_content(self) -> None:
        self._content, self._job = b"", None if self._job is None else self._job.decoded
        with suppress(Exception):  # whoever counts its memory may have gone
            self._decoded()
