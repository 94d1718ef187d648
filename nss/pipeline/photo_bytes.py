"""How much memory a photo takes at its peak, from its header to its file.

The constants are what ``python -m tools.photo_memory`` measured, rounded up (docs/numbers.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nss.errors import NssError
from nss.photos.header import Header, read_header
from nss.photos.image_size import MAX_PIXELS

if TYPE_CHECKING:
    from nss.cutouts.compose import Composition
    from nss.masks.refine import Refinement
    from nss.photos.source import Source
    from nss.pipes import OneTimeFile

DECODING = {"HEIF": 8.0, "AVIF": 10.0, "WEBP": 16.0, "JPEG2000": 20.0, "array": 3.0}
"""Bytes a pixel while a photo is decoded, its result included, by Pillow's name of the format."""

DECODING_OTHERS = 7.5
"""The same of JPEG, PNG, TIFF and all others."""

DECODING_DEEP = 13.0
"""The same where samples have more than 8 bits, at least."""

FINISHING = 20.0
"""Bytes a pixel from the mask to the file, the photo's own included, where no one knows what is done."""

_CUT_OUT = 9.0
_REFINING = 17.0
_DECONTAMINATING = 20.0
_BACKGROUND = 12.0
_MASK = 4.0
_ENCODING = {"png": 9.0, "tiff": 14.0, "jpeg": 17.0, "webp": 29.0, "avif": 48.0}
"""The same of what is done, and by format; a mask that was refined is held besides."""

TRANSPARENT = 3.0
"""Bytes a pixel more of a photo with an alpha channel."""

EACH = 24 << 20
"""Bytes that any photo takes besides, however small: the network's input and mask, at 1024 x 1024, and buffers."""

UNKNOWN = 256 << 20
"""Bytes that are reserved for what has no header to be read: a pipe, or a file object."""


def finishing_bytes(refinement: Refinement, composition: Composition, format_: str) -> float:
    """Bytes a pixel from the mask to a file of this format, the photo's own included."""
    peak = max(_CUT_OUT, _ENCODING[format_])
    if composition.background != "none":
        peak = max(peak, _BACKGROUND)
    if not refinement.is_identity:
        peak = max(peak + _MASK, _REFINING)
    return max(peak, _DECONTAMINATING) if composition.decontaminate else peak


def photo_bytes(header: Header, finishing: float = FINISHING) -> int:
    """What the photo takes in all stages, in bytes, at most; ``finishing``: bytes a pixel, see `finishing_bytes`."""
    decoding = DECODING.get(header.format, DECODING_OTHERS)
    if header.deep:
        decoding = max(decoding, DECODING_DEEP)
    each_pixel = max(decoding, finishing) + (TRANSPARENT if header.transparent else 0)
    return EACH + round(each_pixel * header.pixels)


def source_bytes(source: Source | OneTimeFile, *, max_pixels: int = MAX_PIXELS, finishing: float = FINISHING) -> int:
    """The same of a photo that is not opened yet; `UNKNOWN` of what has no header to be read.

    A photo that cannot be read, or has more than ``max_pixels``, takes `EACH`: what is wrong with it, loading it says.
    """
    try:
        header = read_header(source, max_pixels=max_pixels)
    except NssError:
        return EACH
    return UNKNOWN if header is None else photo_bytes(header, finishing)
