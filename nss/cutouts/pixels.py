"""The pixels of a cut-out that is transparent, of its mask alone, and of the part that holds the subject."""

from __future__ import annotations

import numpy as np

from nss.arrays.tiles import Area, bands, parallel
from nss.masks.photo_mask import PhotoMask

CROP_ALPHA = 0.05
"""What a pixel's alpha must reach to belong to the subject that a picture is cropped to: below is haze."""


def levels(mask: PhotoMask, own_alpha: np.ndarray | None, *, invert: bool, bits: int = 8) -> np.ndarray:
    """The alpha channel alone, uint8 or uint16 HxW; the arguments are those of ``rgba``."""
    out = np.empty(mask.shape, np.uint8 if bits == 8 else np.uint16)
    mask.fill_alpha(out, own_alpha=own_alpha, invert=invert)
    return out


def rgba(
    rgb: np.ndarray, mask: PhotoMask, own_alpha: np.ndarray | None, *, invert: bool, hidden: str = "keep"
) -> np.ndarray:
    """Colours with straight alpha, uint8 HxWx4; over all cores, each part of both read once unless colours bleed.

    Args:
        rgb: uint8 HxWx3.
        mask: of the same size.
        own_alpha: uint8 HxW, which the mask is multiplied with; or None.
        invert: alpha is what the mask leaves.
        hidden: the colour of pixels with alpha 0, as :class:`nss.cutouts.compose.Composition` has it.
    """
    out = np.empty((*mask.shape, 4), np.uint8)
    if hidden == "bleed":
        from nss.cutouts.bleed import bleed

        alpha8 = levels(mask, own_alpha, invert=invert)
        colours = bleed(rgb, alpha8)

        def pack(rows: slice) -> None:
            _pack(colours[rows], alpha8[rows], out[rows])

        parallel(pack, bands(out.shape))
        return out

    def write(area: Area, alpha8: np.ndarray) -> None:
        part = out[area]
        _pack(rgb[area], alpha8, part)
        if hidden == "zero" and not alpha8.all():
            part[alpha8 == 0] = 0

    mask.each_levels(write, own_alpha=own_alpha, invert=invert)
    return out


def _pack(rgb: np.ndarray, alpha8: np.ndarray, out: np.ndarray) -> None:
    for channel in range(3):  # NumPy's loop over three bytes a pixel takes three times as long
        out[..., channel] = rgb[..., channel]
    out[..., 3] = alpha8


def subject(alpha: np.ndarray, padding: int, notes: list[str]) -> Area:
    """The rows and columns that hold the subject, and ``padding`` pixels around it as far as the picture goes.

    Args:
        alpha: float32 HxW in 0..1.
        padding: in pixels.
        notes: receives a line where there is none, and the whole is kept.
    """
    is_subject = alpha >= CROP_ALPHA
    rows, columns = np.flatnonzero(is_subject.any(axis=1)), np.flatnonzero(is_subject.any(axis=0))
    if not rows.size:
        notes.append("no subject was found to crop to; the whole picture was kept")
        return whole(alpha.shape)
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return (
        slice(max(0, top - padding), min(bottom + padding, alpha.shape[0])),
        slice(max(0, left - padding), min(right + padding, alpha.shape[1])),
    )


def whole(shape: tuple[int, ...]) -> Area:
    """All rows and columns of an image of (height, width, ...)."""
    return slice(0, shape[0]), slice(0, shape[1])
