"""A cut-out with a mask that exists already, and with what is asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from nss.cutouts.compose import Composition, Cutout
from nss.cutouts.run_info import RunInfo
from nss.errors import ImageError, check_kind
from nss.masks import sanity
from nss.masks.photo_mask import PhotoMask
from nss.masks.refine import Refinement
from nss.photos import image_io
from nss.photos.image_io import Photo
from nss.photos.image_size import MAX_PIXELS
from nss.photos.source import Source
from nss.pipes import OneTimeFile
from nss.removal.host_stages import cutout_of
from nss.timing import stage

SHAPE_SLACK = 0.01
"""How far the sides of a given mask may be from the photo's in their proportion."""


def apply_mask(
    image: Source | Photo,
    mask: Source,
    name: str | None = None,
    *,
    refinement: Refinement | None = None,
    composition: Composition | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Cutout:
    """A cut-out with a mask that exists already; no network runs.

    Args:
        image: the photo, as :meth:`Remover.remove` takes it.
        mask: a greyscale image of 8 or 16 bits, or an earlier cut-out, whose alpha is taken. One of another size but
            the photo's shape (to 1 %) is resampled, and that is noted. An array as `nss.photos.pixel_arrays.as_mask`
            takes it.
        name: what to call the photo in an error, where it has no path.
        refinement: what is done to the mask; nothing by default.
        composition: what the cut-out shows; the photo with the mask as straight alpha by default.
        max_pixels: how many the photo, or the mask, may have; 300 megapixels by default.

    Raises:
        ImageError: one of the two cannot be read, or the mask has another shape.
    """
    times: dict[str, float] = {}
    with stage(times, "decode"):
        photo = image if isinstance(image, Photo) else image_io.load(image, name, max_pixels=max_pixels)
        pixels = image_io.load_mask(mask, max_pixels=max_pixels)
    notes = photo.notes
    if pixels.shape != photo.size:
        (height, width), (own_height, own_width) = photo.size, pixels.shape
        if abs(height * own_width / (width * own_height) - 1) > SHAPE_SLACK:
            raise ImageError(
                f"{photo.name}: is {width} x {height}, and its mask {own_width} x {own_height}; "
                "give a mask of the photo's shape"
            )
        notes = (*notes, f"the mask was resampled from {own_width} x {own_height}")
        photo_mask = PhotoMask.enlarged(pixels, photo.size)
    else:
        photo_mask = PhotoMask.of_array(pixels)
    info = RunInfo(
        model=None,
        model_sha256=None,
        backend=None,
        device=None,
        precision=None,
        mask=Path(mask) if isinstance(mask, (str, os.PathLike)) else None,
        milliseconds=times,
        mask_sha256=mask.sha256 if isinstance(mask, OneTimeFile) else None,
    )
    nothing_found = sanity.nothing_found(photo_mask, photo.alpha)
    return with_settings(
        cutout_of(photo_mask, photo, notes=notes, info=info, nothing=nothing_found), refinement, composition
    )


def check_settings(refinement: Refinement | None, composition: Composition | None) -> None:
    """Raise UsageError where one of them is something else."""
    for name, value, kind in (("refinement", refinement, Refinement), ("composition", composition, Composition)):
        check_kind(name, value, (kind, type(None)), f"an nss.{kind.__name__}")


def with_settings(cutout: Cutout, refinement: Refinement | None, composition: Composition | None) -> Cutout:
    """The cut-out, refined, and with what it is to show. Raises UsageError where one of them is something else."""
    check_settings(refinement, composition)
    return replace(cutout.refined(refinement) if refinement else cutout, composition=composition)
