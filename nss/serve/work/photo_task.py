"""The photo of a request on its way through a pipeline: decoded, through the network, and made into the answer.

The bytes are those that ``nss-wgpu remove`` writes by the same options.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nss.batch.stages import NothingFoundError
from nss.cutouts.compose import Cutout
from nss.errors import ImageError
from nss.files import export
from nss.masks import sanity
from nss.photos import image_io
from nss.photos.header import read_header
from nss.photos.image_io import Photo
from nss.photos.image_size import TooManyPixelsError
from nss.pipeline.photo_bytes import finishing_bytes, source_bytes
from nss.pipes import OneTimeFile
from nss.removal.given_mask import apply_mask
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.removal.remover import Remover
from nss.serve.words import in_fields
from nss.serve.work.tasks import Stage
from nss.timing import stage

if TYPE_CHECKING:
    from nss.serve.api.fields import Order

MASK_TYPE = "application/x-nss-mask"
"""The network's mask, as little-endian float32 rows at the network's own size."""

_MASK_BYTES, _BACKGROUND_BYTES = 4.0, 3.0
"""Bytes a pixel of a mask and a background that were sent ahead, beside what decoding them takes."""


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


class PhotoTask:
    """See `nss.serve.work.tasks.Task`.

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
    ) -> None:
        """All three functions are called from the pipeline's threads.

        Args:
            order: what is to be made of the photo.
            content: its file.
            decoded: is called once ``content`` is needed no more, at the latest before ``done``.
            entered: gets each stage as it begins.
            done: gets a `Product`, or the exception that ended it.
        """
        self.name, self.is_cancelled = order.name, False
        self._order, self._content = order, content
        self._decoded, self._entered, self._done = decoded, entered, done

    def cost(self) -> int:
        """Bytes that it takes in work, with the mask and the background that go with it."""
        order = self._order
        finishing = _MASK_BYTES
        if order.encoding is not None:
            finishing = finishing_bytes(order.refinement, order.composition, order.encoding.format)
        nbytes = source_bytes(self._content, max_pixels=order.max_pixels, finishing=finishing)
        for file, beside in ((order.mask, _MASK_BYTES), (self._background, _BACKGROUND_BYTES)):
            if file is not None:
                nbytes += source_bytes(file, max_pixels=order.max_pixels, finishing=beside)
        return nbytes

    def entered(self, stage: Stage) -> None:
        """It is at this stage now."""
        self._entered(stage)

    def load(self, remover: Remover) -> PreparedPhoto | Cutout:
        """Decode; see `nss.removal.remover.Remover.prepare`. Raises ImageError, which names the photo."""
        order = self._order
        self._check_background()
        times: dict[str, float] = {}
        with stage(times, "decode"):
            photo = image_io.load(self._content, order.name, max_pixels=order.max_pixels)
        # no file: it is what the photo is called from here on
        photo = replace(photo, path=Path(order.name))
        self._forget_content()
        if order.mask is not None:
            return self._with_mask(photo, order.mask, times["decode"])
        prepared = remover.prepare(photo, order.name, refinement=self._refinement, mask_bits=self._level_bits)
        return replace(prepared, times={**prepared.times, **times})

    def finish(self, remover: Remover, output: InferredMask | Cutout) -> Product:
        """The picture's file, verified; or the network's mask as it is. Raises ImageError and UsageError."""
        order = self._order
        cutout = output if isinstance(output, Cutout) else remover.finish(output)
        if order.fail_empty and cutout.nothing_found:
            note = next(note for note in cutout.notes if note.startswith(sanity.NOTHING))
            raise NothingFoundError(f"{order.name}: {note}")
        if order.encoding is None:
            assert isinstance(output, InferredMask)
            return _network_mask(cutout, output.raw)
        cutout = cutout.refined(order.refinement)
        composed = cutout.composed(order.composition, opaque=not order.encoding.has_alpha)
        with cutout.timed("encode"):
            content = export.encode(composed.picture, order.encoding, order.name)
        height, width = composed.picture.pixels.shape[:2]
        info = _info(cutout, coverage=cutout.coverage, box=composed.box, notes=composed.notes)
        return Product(content, f"image/{order.encoding.format}", width, height, info)

    def done(self, outcome: Any) -> None:
        """It is over."""
        self._forget_content()
        self._done(outcome)

    @property
    def _refinement(self) -> Any:
        return None if self._order.encoding is None else self._order.refinement

    @property
    def _level_bits(self) -> int | None:
        """As the command asks for levels: where the file takes no more of the mask."""
        order = self._order
        if order.encoding is None or not (order.encoding.has_alpha or order.composition.mask_only):
            return None
        return order.composition.level_bits

    @property
    def _background(self) -> OneTimeFile | None:
        background = self._order.composition.background
        return background if isinstance(background, OneTimeFile) else None

    def _check_background(self) -> None:
        """Hold a background to the limit of this request: composing knows only that of the library."""
        if (background := self._background) is None:
            return
        try:
            read_header(background, max_pixels=self._order.max_pixels)
        except TooManyPixelsError as error:
            raise TooManyPixelsError(f"background {error}") from error
        except ImageError as error:
            raise ImageError(f"background {error}") from error

    def _with_mask(self, photo: Photo, mask: OneTimeFile, milliseconds: float) -> Cutout:
        cutout = apply_mask(photo, mask, photo.name, max_pixels=self._order.max_pixels)
        decode = cutout.info.milliseconds["decode"] + milliseconds
        return replace(cutout, info=cutout.info.timed({"decode": round(decode, 3)}))

    def _forget_content(self) -> None:
        self._content = b""
        with suppress(Exception):  # whoever counts its memory may have gone
            self._decoded()


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
