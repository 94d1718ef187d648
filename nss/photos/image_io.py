"""Photos and masks as they come: any source to upright, straight 8-bit RGB, alpha, ICC profile and EXIF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from nss.errors import check_number
from nss.photos import colour_modes, exif, pixel_arrays
from nss.photos.image_file import EXTENSIONS, ImageHandle, open_image
from nss.photos.image_size import MAX_PIXELS, check_size

if TYPE_CHECKING:
    from nss.photos.image_file import ImageSource
    from nss.photos.source import Source as Source

__all__ = ["EXTENSIONS", "Photo", "load", "load_mask"]


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded, upright image.

    Attributes:
        rgb: uint8 HxWx3, straight (never multiplied by alpha), in the colour space of ``icc``.
        alpha: uint8 HxW, the image's own alpha, or None if it has none.
        icc: the ICC profile that belongs to ``rgb``, or None (sRGB is then meant).
        path: the file it came from, or None.
        format: Pillow's name of the format, or ``"array"``.
        notes: what was done to the image that its owner may want to know, one short phrase each.
        exif: the EXIF block as it is in the file, its orientation included, from the TIFF header on; None if there is
            none or it is damaged. See `nss.photos.exif.of_image` for TIFF, AVIF and HEIF.
        sha256: SHA-256 of the file where it cannot be read again, as a pipe cannot, 64 hexadecimal digits; else None.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    icc: bytes | None
    path: Path | None
    format: str
    notes: tuple[str, ...]
    exif: bytes | None = None
    sha256: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def name(self) -> str:
        """What to call the image in a message."""
        return str(self.path) if self.path else f"<{self.format} image>"


def load(source: Source, name: str | None = None, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a path, the bytes of an image file, a binary file object, a PIL image, or an array (see `pixel_arrays`).

    EXIF orientation is applied. Greyscale, palette and 1-bit images become RGB; CMYK and greyscale go through their
    profile to sRGB where they have one; 16 bits become 8 by rounding; of an animation the first frame is taken. An
    array is not copied where its layout allows that. A file object is read from where it stands to its end, and is not
    closed; it need not be seekable.

    Bytes a pixel that it takes at most: 7.3 for opaque RGB and 8.3 with alpha, of which 3 and 4 are the result; with
    what decoders hold besides, 8 for HEIC, 10 for AVIF, 13 for 16-bit colour, 16 for WebP, 20 for JPEG 2000.

    Args:
        source: the image.
        name: what to call it in an error, where it has no path.
        max_pixels: how many it may have; 300 megapixels by default. Pillow has a limit of its own for TIFF and WebP,
            179 megapixels, which ``PIL.Image.MAX_IMAGE_PIXELS`` moves for the whole process.

    Raises:
        ImageError: the source is missing, unreadable, not an image, damaged, empty, of more than ``max_pixels``, or was
            written to while it was being read.
    """
    check_number("max_pixels", max_pixels)
    if isinstance(source, np.ndarray):
        _check_array(source, name or "<array>", max_pixels)
        rgb, alpha, notes = pixel_arrays.separate(source, name or "<array>")
        return Photo(rgb, alpha, icc=None, path=None, format="array", notes=notes)
    with _open_source(source, name, max_pixels) as handle:
        return _decode(handle)


def load_mask(source: Source, name: str | None = None, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A mask: float32 HxW in 0..1, upright, with every bit that its grey levels have, and whatever profile they have.

    Args:
        source: a greyscale image of 1, 8 or 16 bits or floating point in 0..1, an image with transparency, whose alpha
            is taken, or an RGB image that is grey; as ``load`` takes it, or an array as
            `nss.photos.pixel_arrays.as_mask` does.
        name: what to call it in an error, where it has no path.
        max_pixels: how many it may have.

    Raises:
        ImageError: as ``load``; or it is in colour and opaque, or its samples leave the range.
    """
    check_number("max_pixels", max_pixels)
    if isinstance(source, np.ndarray):
        _check_array(source, name or "<array>", max_pixels)
        return pixel_arrays.as_mask(source, name or "<array>")
    with _open_source(source, name, max_pixels) as handle:
        return colour_modes.as_mask(handle.image, handle.reopen)


def _decode(handle: ImageHandle) -> Photo:
    image = handle.image
    notes = list(handle.notes)
    # The further pictures of an MPO file are previews or a second eye, not an animation.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        several = {"TIFF": "several pages: first page used", "HEIF": "several pictures: the main one used"}
        notes.append(several.get(image.format or "", "animated: first frame used"))
    format_ = image.format or "PIL"
    pixels = colour_modes.separate(image, handle.reopen)
    height, width = pixels.rgb.shape[:2]
    check_size(handle.name, width, height, handle.max_pixels)  # HEIF: it may differ from what the header said
    block = exif.of_image(image, handle.file)
    if block and not exif.is_sound(block):
        notes.append("damaged EXIF ignored")
        block = None
    return Photo(
        rgb=pixels.rgb,
        alpha=pixels.alpha,
        icc=pixels.icc,
        path=handle.path,
        format=format_,
        notes=(*notes, *pixels.notes),
        exif=block,
        sha256=handle.one_time_file.sha256 if handle.one_time_file else None,
    )


@contextmanager
def _open_source(source: ImageSource | IO[bytes], name: str | None, max_pixels: int) -> Iterator[ImageHandle]:
    """`open_image`, and what file objects hold."""
    if not hasattr(source, "read"):
        with open_image(source, name, max_pixels) as handle:
            yield handle
        return
    from nss.photos import file_objects

    file = file_objects.read(source, name)
    with open_image(file.content, file.name, max_pixels) as handle:
        yield replace(handle, path=file.path)


def _check_array(array: np.ndarray, name: str, max_pixels: int) -> None:
    if array.ndim >= 2:
        check_size(name, array.shape[1], array.shape[0], max_pixels)
