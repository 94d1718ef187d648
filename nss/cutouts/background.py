"""What a cut-out is put on when it is not left transparent: a colour, an image, or the photo itself out of focus.

Colours are mixed as every viewer mixes them, in the encoded values of the photo's own colour space.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nss.arrays.gaussian import blur
from nss.arrays.resample import resize_bilinear
from nss.arrays.tiles import Tile, parallel, tiles
from nss.cutouts import css_colour
from nss.errors import ImageError, UsageError, quoted
from nss.pipes import OneTimeFile, is_pipe

if TYPE_CHECKING:
    from PIL import Image

BLUR = "blur"
DEFAULT_BLUR = 0.02
"""Standard deviation of the blur, as a part of the picture's longer side."""

_BLUR_SIGMA = 4.0
"""The photo is blurred at the size at which the standard deviation is this many pixels."""


def is_none(background: str | OneTimeFile) -> bool:
    """Whether nothing is put behind the cut-out: ``"none"``, or a colour that is wholly transparent."""
    if isinstance(background, OneTimeFile):
        return False
    colour = _colour_of(background)
    return background == "none" or (colour is not None and colour.alpha == 0)


def file_of(background: str | OneTimeFile) -> str | OneTimeFile | None:
    """The image that is put behind the cut-out; None for a colour, a blur and nothing."""
    if isinstance(background, OneTimeFile):
        return background
    named = not (is_none(background) or _blur_of(background) is not None or _colour_of(background) is not None)
    return background if named else None


def check(background: str | OneTimeFile) -> None:
    """Refuse what is no background, before any work is done for it.

    Raises:
        UsageError: it is neither "none", a blur, a colour, nor the name of a file that is there.
    """
    file = file_of(background)
    if file is None or isinstance(file, OneTimeFile):
        return
    from pathlib import Path

    try:
        is_file = Path(file).is_file() or is_pipe(file)
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise UsageError(
            f"background {quoted(background)} is no colour and no file; give a CSS colour (white, #ff8800, "
            "rgb(255 136 0 / 50%)), an image, blur, blur:PIXELS or none"
        )


def over(
    rgb: np.ndarray,
    alpha: np.ndarray,
    background: str | OneTimeFile,
    *,
    photo: np.ndarray,
    icc: bytes | None,
    notes: list[str],
    opaque: bool = False,
) -> np.ndarray:
    """A foreground composed over a background (Porter, Duff 1984).

    uint8 HxWx3; over a colour with an alpha below 1 HxWx4, straight.

    Args:
        rgb: uint8 HxWx3, the foreground's colours.
        alpha: float32 HxW in 0..1.
        background: as :class:`nss.cutouts.compose.Composition` has it, but nothing that `is_none`.
        photo: uint8 HxWx3, the photo before decontamination, for a blurred background.
        icc: the profile of ``rgb``: colours (sRGB) and images are converted to it.
        notes: receives a line where a colour could not be converted, or was put on white.
        opaque: put a translucent colour on white first, so that the result has no alpha.

    Raises:
        UsageError: see `check`.
        ImageError: the background image cannot be read.
    """
    check(background)
    size = alpha.shape[0], alpha.shape[1]
    radius = colour = None
    if not isinstance(background, OneTimeFile):
        radius, colour = _blur_of(background), _colour_of(background)
    if radius is not None:
        behind = _out_of_focus(photo, alpha, radius or DEFAULT_BLUR * max(size))
    elif colour is not None:
        patch = to_profile(np.array([[colour.rgb]], np.uint8), None, icc, notes)
        if colour.alpha < 1 and opaque:
            notes.append("the format has no transparency: the background was put on white")
            patch = np.rint(patch * colour.alpha + 255 * (1 - colour.alpha))
        behind = np.broadcast_to(patch.astype(np.float32), (*size, 3))
        if colour.alpha < 1 and not opaque:
            return _over_translucent(rgb, alpha, behind, colour.alpha)
    else:
        behind = _image(background, size, icc, notes)
    return blend(rgb, alpha, behind)


def blend(rgb: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    out = np.empty(rgb.shape, np.uint8)

    def work(tile: Tile) -> None:
        a, fore, back = alpha[tile.core][..., None], rgb[tile.core], behind[tile.core]
        colours = fore * a + back * (1 - a)
        out[tile.core] = np.rint(colours, out=colours)

    parallel(work, tiles((rgb.shape[0], rgb.shape[1])))
    return out


def _over_translucent(rgb: np.ndarray, alpha: np.ndarray, behind: np.ndarray, opacity: float) -> np.ndarray:
    """Over a background of one alpha, ``opacity``, above 0: uint8 HxWx4, straight."""
    out = np.empty((*alpha.shape, 4), np.uint8)

    def work(tile: Tile) -> None:
        a = alpha[tile.core][..., None]
        rest = np.float32(opacity) * (1 - a)
        total = a + rest
        colours = (rgb[tile.core] * a + behind[tile.core] * rest) / total
        out[tile.core][..., :3] = np.rint(colours, out=colours)
        out[tile.core][..., 3] = np.rint(total[..., 0] * np.float32(255))

    parallel(work, tiles(alpha.shape))
    return out


def _blur_of(background: str) -> float | None:
    """The radius of a blurred background, 0 where none is given; None for another background."""
    name, _, radius = background.partition(":")
    if name != BLUR:
        return None
    if not radius:
        return 0.0
    try:
        value = float(radius)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1000:
        raise UsageError(f"background {quoted(background)}: the radius of the blur is a number of pixels, 1000 at most")
    return value


def _colour_of(background: str) -> css_colour.Colour | None:
    try:
        return css_colour.parse(background)
    except ValueError as error:
        raise UsageError(f"background {quoted(background)}: {error}") from error


def _image(path: str | OneTimeFile, size: tuple[int, int], icc: bytes | None, notes: list[str]) -> np.ndarray:
    """The image at ``path``, scaled to cover ``size`` and centred, in the profile ``icc``; its alpha is ignored."""
    from nss.photos import image_io

    try:
        image = image_io.load(path)
    except ImageError as error:
        raise ImageError(f"background {error}") from error
    (height, width), (own_height, own_width) = size, image.size
    scale = max(height / own_height, width / own_width)
    crop_height, crop_width = min(own_height, round(height / scale)), min(own_width, round(width / scale))
    top, left = (own_height - crop_height) // 2, (own_width - crop_width) // 2
    part = image.rgb[top : top + max(1, crop_height), left : left + max(1, crop_width)]
    pixels = resize_bilinear(part, size, antialias=True)
    return to_profile(np.rint(pixels, out=pixels).astype(np.uint8), image.icc, icc, notes)


def _out_of_focus(photo: np.ndarray, alpha: np.ndarray, sigma: float) -> np.ndarray:
    """The photo blurred, without a glow of the foreground: what it covers is filled from around it first.

    Blurred at a reduced size: a Gaussian that wide leaves nothing that a finer grid would show.
    """
    from nss.cutouts.bleed import bleed

    height, width = alpha.shape
    reduction = max(1.0, sigma / _BLUR_SIGMA)
    small = max(1, round(height / reduction)), max(1, round(width / reduction))
    colours = resize_bilinear(photo, small, antialias=True)
    coverage = resize_bilinear(alpha, small, antialias=True)
    visible = np.where(coverage < 0.02, 255, 0).astype(np.uint8)
    background = bleed(np.rint(colours, out=colours).astype(np.uint8), visible) if visible.any() else colours
    out = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        plane = blur(np.ascontiguousarray(background[..., channel], np.float32), sigma * small[0] / height)
        out[..., channel] = np.rint(np.clip(resize_bilinear(plane, (height, width), antialias=False), 0, 255))
    return out


def to_profile(rgb: np.ndarray, source: bytes | None, target: bytes | None, notes: list[str]) -> np.ndarray:
    """uint8 HxWx3 from one ICC profile to another; None is sRGB."""
    if source == target:
        return rgb
    from PIL import Image, ImageCms

    def profile(icc: bytes | None) -> Callable[[], object] | object:
        return ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc else ImageCms.createProfile("sRGB")

    try:
        image: Image.Image | None = ImageCms.profileToProfile(
            Image.fromarray(rgb),
            profile(source),  # type: ignore[arg-type]
            profile(target),  # type: ignore[arg-type]
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("the colours of the background could not be converted to the photo's profile")
        return rgb
    return np.asarray(image)
