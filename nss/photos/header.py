"""What the header of a photo says of it, before anything is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nss import pipes
from nss.errors import ImageError
from nss.photos.image_file import open_image
from nss.photos.image_size import MAX_PIXELS
from nss.pipes import OneTimeFile

if TYPE_CHECKING:
    from nss.photos.source import Source


@dataclass(frozen=True)
class Header:
    """Of an image that is not decoded.

    Attributes:
        width: in pixels, as it is stored: what stands upright may be as wide as this is high.
        height: in pixels.
        format: Pillow's name of the format, ``"PIL"`` where an image has none, or ``"array"``.
        deep: whether its samples have more than 8 bits.
        transparent: whether it has an alpha channel, or a colour that stands for transparency.
    """

    width: int
    height: int
    format: str
    deep: bool = False
    transparent: bool = False

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.width * self.height


def read_header(source: Source | OneTimeFile, *, max_pixels: int = MAX_PIXELS) -> Header | None:
    """The header of a photo as `nss.photos.image_io.load` takes it; nothing is decoded, and nothing used up.

    None where it cannot be known so early: of pipes and file objects, which can be read only once.

    Raises:
        ImageError: the source is missing, unreadable, not an image, or has more pixels.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if hasattr(source, "read"):
        return None
    if isinstance(source, (str, os.PathLike)) and not isinstance(source, OneTimeFile) and pipes.is_pipe(source):
        return None
    with open_image(source, max_pixels=max_pixels, announce=False) as handle:
        image = handle.image
        return Header(
            width=image.width,
            height=image.height,
            format=image.format or "PIL",
            deep=image.mode[:1] in "IF" or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())),
            transparent=image.has_transparency_data,
        )


def _of_array(array: np.ndarray) -> Header:
    if array.ndim not in (2, 3):
        raise ImageError(f"<array>: is of {array.ndim} axes; give HxW, HxWx1, HxWx3 or HxWx4")
    channels = array.shape[2] if array.ndim == 3 else 1
    return Header(
        width=array.shape[1],
        height=array.shape[0],
        format="array",
        deep=array.dtype != np.uint8,
        transparent=channels == 4,
    )
