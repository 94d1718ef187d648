"""Photos whose stages on the host are a pool's, and what goes from one process to another for that.

A worker decodes, and keeps the pixels; the network's input comes here, and its mask goes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nss.cutouts.compose import Cutout
from nss.cutouts.run_info import RunInfo
from nss.photos.image_io import Photo
from nss.photos.image_size import limit_pillow
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.workers.messages import Loaded
from nss.workers.places import HeldPhoto
from nss.workers.pool import WorkerPool

if TYPE_CHECKING:
    from nss.masks.refine import Refinement


class Host(Protocol):
    """What is done on the host for each job. It is pickled: data, and functions that modules have by name."""

    @property
    def max_pixels(self) -> int:
        """How many a picture may have, at most."""

    def load(self, job: Any) -> PreparedPhoto | Cutout:
        """The decoded photo and the network's input, or the cut-out with a mask that was given."""

    def finish(self, job: Any, network_output: InferredMask | Cutout) -> Any:
        """All that follows the network. What it returns is small, or bytes, and pickled."""


@dataclass(frozen=True, eq=False)
class RemotePhoto(Photo):
    """A photo whose pixels another process keeps.

    ``rgb`` and ``alpha`` here have their shapes, and no memory; or they are in memory that both processes share, where
    the GPU is to make the network's input of them.
    """

    held: HeldPhoto | None = None


class GivenMask:
    """Stands for a photo with a mask that was given, which needs no network: all of it is done in one go."""


@dataclass(frozen=True)
class _Summary:
    """What comes of a photo beside the network's input."""

    size: tuple[int, int]
    has_alpha: bool
    has_input: bool
    path: Path | None
    format: str
    times: dict[str, float]


@dataclass(frozen=True)
class _Inferred:
    """What goes back beside the network's mask."""

    notes: tuple[str, ...]
    info: RunInfo
    refinement: Refinement | None


@dataclass(frozen=True)
class WorkerStages:
    """What a worker does: `nss.workers.messages.Work`."""

    host: Host

    def load(self, job: Any) -> Loaded:
        """Decode, and make the network's input."""
        limit_pillow(self.host.max_pixels)  # of this process
        loaded = self.host.load(job)
        if isinstance(loaded, Cutout):
            return Loaded(loaded)
        photo, array = loaded.photo, loaded.network_input
        summary = _Summary(
            photo.size, photo.alpha is not None, array is not None, photo.path, photo.format, dict(loaded.times)
        )
        pixels = [photo.rgb] if photo.alpha is None else [photo.rgb, photo.alpha]
        return Loaded(photo, pixels if array is None else [array], summary)

    def finish(self, job: Any, kept: Photo | Cutout, arrays: Sequence[np.ndarray], output: _Inferred | None) -> Any:
        """All that follows the network."""
        if isinstance(kept, Cutout):
            return self.host.finish(job, kept)
        assert output is not None
        raw, *levels = arrays
        inferred = InferredMask(kept, raw, output.notes, output.info, levels[0] if levels else None, output.refinement)
        return self.host.finish(job, inferred)


def load(
    pool: WorkerPool, job: Any, *, refinement: Refinement | None, mask_bits: int | None, rest: Any = None
) -> PreparedPhoto:
    """What goes to the network, of a photo that a worker loads.

    Args:
        pool: does `WorkerStages`.
        job: what the host is to load.
        refinement: what will be done to the mask.
        mask_bits: the depth of the mask's levels, where they are all that is wanted of it and the GPU may make them.
        rest: see `nss.workers.pool.WorkerPool.load`.

    Raises:
        Exception: as `nss.workers.pool.WorkerPool.load`.
    """
    held = pool.load(job, rest)
    summary: _Summary = held.summary
    height, width = summary.size
    if summary.has_input:
        network_input: np.ndarray | None = held.arrays[0]
        rgb: np.ndarray = np.broadcast_to(np.uint8(0), (height, width, 3))
        alpha = np.broadcast_to(np.uint8(255), (height, width)) if summary.has_alpha else None
    else:
        network_input, (rgb, *others) = None, held.arrays
        alpha = others[0] if others else None
    photo = RemotePhoto(rgb, alpha, None, summary.path, summary.format, (), held=held)
    return PreparedPhoto(photo, network_input, summary.times, refinement, mask_bits)


def finish(pool: WorkerPool, inferred: InferredMask) -> Any:
    """What the host makes of such a photo; raises as `load`."""
    assert isinstance(inferred.photo, RemotePhoto)
    held = inferred.photo.held
    assert held is not None
    levels = [] if inferred.levels is None else [inferred.levels]
    output = _Inferred(inferred.notes, inferred.info, inferred.refinement)
    return pool.finish(held, [inferred.raw, *levels], output)
