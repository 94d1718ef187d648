"""What is done on the host for the photo of a request: data and functions, so that a worker process can do it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nss.batch import processes
from nss.batch.stages import NothingFoundError
from nss.cutouts.compose import Cutout
from nss.errors import ImageError
from nss.files import export
from nss.masks import sanity
from nss.photos import image_io
from nss.photos.header import read_header
from nss.photos.image_io import Photo
from nss.photos.image_size import TooManyPixelsError
from nss.pipes import OneTimeFile
from nss.removal.given_mask import apply_mask
from nss.removal.host_stages import HostStages, InferredMask, PreparedPhoto
from nss.serve.words import in_fields
from nss.timing import stage
from nss.workers.host_photos import WorkerStages
from nss.workers.pool import WorkerPool

if TYPE_CHECKING:
    from nss.masks.refine import Refinement
    from nss.serve.api.fields import Order

MASK_TYPE = "application/x-nss-mask"
"""The network's mask, as little-endian float32 rows at the network's own size."""


@dataclass(frozen=True, eq=False)
class Product:
    """What a request gets.

    Attributes:
        content: the bytes.
        type: their media type.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        info: what made it, for JSON.
    """

    content: bytes
    type: str
    width: int
    height: int
    info: dict[str, Any]


@dataclass(frozen=True, eq=False)
class HostJob:
    """A photo, and what is to be made of it.

    Attributes:
        order: what is asked for.
        stages: of the network that it goes through.
        content: the photo's file; empty once it is decoded.
    """

    order: Order
    stages: HostStages
    content: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """What messages call the photo."""
        return self.order.name

    @property
    def refinement(self) -> Refinement | None:
        """What will be done to the mask, where a picture is made of it."""
        return None if self.order.encoding is None else self.order.refinement

    @property
    def level_bits(self) -> int | None:
        """The depth of the mask's levels, as the command asks for them: where the file takes no more of the mask."""
        order = self.order
        if order.encoding is None or not (order.encoding.has_alpha or order.composition.mask_only):
            return None
        return order.composition.level_bits

    @property
    def decoded(self) -> HostJob:
        """The same without the photo's file: what `PhotoHost.finish` needs."""
        return replace(self, content=b"")


@dataclass(frozen=True)
class PhotoHost:
    """The stages on the host: `nss.workers.host_photos.Host`.

    Attributes:
        max_pixels: that the order of any photo may allow.
    """

    max_pixels: int

    def load(self, job: HostJob) -> PreparedPhoto | Cutout:
        """Decode; see `nss.removal.host_stages.HostStages.prepare`. Raises ImageError, which names the photo."""
        order = job.order
        _check_background(order)
        times: dict[str, float] = {}
        with stage(times, "decode"):
            photo = image_io.load(job.content, order.name, max_pixels=order.max_pixels)
        # no file: it is what the photo is called from here on
        photo = replace(photo, path=Path(order.name))
        if order.mask is not None:
            return _with_mask(photo, order.mask, order.max_pixels, times["decode"])
        prepared = job.stages.prepare(photo, order.name, refinement=job.refinement, mask_bits=job.level_bits)
        return replace(prepared, times={**prepared.times, **times})

    def finish(self, job: HostJob, network_output: InferredMask | Cutout) -> Product:
        """The picture's file, verified; or the network's mask as it is. Raises ImageError and UsageError."""
        order = job.order
        cutout = network_output if isinstance(network_output, Cutout) else job.stages.finish(network_output)
        if order.fail_empty and cutout.nothing_found:
            note = next(note for note in cutout.notes if note.startswith(sanity.NOTHING))
            raise NothingFoundError(f"{order.name}: {note}")
        if order.encoding is None:
            assert isinstance(network_output, InferredMask)
            return _network_mask(cutout, network_output.raw)
        cutout = cutout.refined(order.refinement)
        composed = cutout.composed(order.composition, opaque=not order.encoding.has_alpha)
        with cutout.timed("encode"):
            content = export.encode(composed.picture, order.encoding, order.name)
        height, width = composed.picture.pixels.shape[:2]
        info = _info(cutout, coverage=cutout.coverage, box=composed.box, notes=composed.notes)
        return Product(content, f"image/{order.encoding.format}", width, height, info)


def start_workers(count: int, at_once: int, max_pixels: int) -> WorkerPool:
    """Processes that do the stages of a `PhotoHost`; as `nss.batch.processes.start_pool`. Raises OSError."""
    pool = processes.start_pool(count, at_once, imports=(__name__,), tidy=_no_file)
    pool.configure(WorkerStages(PhotoHost(max_pixels)))
    return pool


def _no_file(_: HostJob, dead: object) -> None:
    """A worker that dies leaves none."""


def background_of(order: Order) -> OneTimeFile | None:
    """The background that was sent ahead, where there is one."""
    background = order.composition.background
    return background if isinstance(background, OneTimeFile) else None


def _check_background(order: Order) -> None:
    """Hold a background to the limit of this request: composing knows only that of the library."""
    if (background := background_of(order)) is None:
        return
    try:
        read_header(background, max_pixels=order.max_pixels)
    except TooManyPixelsError as error:
        raise TooManyPixelsError(f"background {error}") from error
    except ImageError as error:
        raise ImageError(f"background {error}") from error


def _with_mask(photo: Photo, mask: OneTimeFile, max_pixels: int, milliseconds: float) -> Cutout:
    cutout = apply_mask(photo, mask, photo.name, max_pixels=max_pixels)
    decode = cutout.info.milliseconds["decode"] + milliseconds
    return replace(cutout, info=cutout.info.timed({"decode": round(decode, 3)}))


def _network_mask(cutout: Cutout, raw: np.ndarray) -> Product:
    height, width = raw.shape
    photo_height, photo_width = cutout.photo_mask.shape
    # of its own values: that of the photo's size is not made here
    coverage = float(np.clip(raw, 0, 1).mean())
    info = _info(cutout, coverage=coverage, box=(0, 0, photo_width, photo_height), notes=())
    return Product(np.ascontiguousarray(raw, "<f4").tobytes(), MASK_TYPE, width, height, info)


def _info(cutout: Cutout, *, coverage: float, box: tuple[int, int, int, int], notes: tuple[str, ...]) -> dict[str, Any]:
    info = cutout.info
    height, width = cutout.photo_mask.shape
    return {
        "model": info.model,
        "backend": info.backend,
        "device": info.device,
        "precision": info.precision,
        "milliseconds": dict(info.milliseconds),
        "stages": dict(info.stages),
        "notes": [in_fields(note) for note in (*cutout.notes, *notes)],
        "coverage": round(coverage, 6),
        "nothing_found": cutout.nothing_found,
        "box": list(box),
        "width": width,
        "height": height,
    }
