"""Pixels that are ready to become a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nss.arrays.tiles import bands, parallel


@dataclass(frozen=True, eq=False)
class Picture:
    """What a file must hold.

    Attributes:
        pixels: uint8 HxWx4 (RGB and straight alpha), uint8 HxWx3 (RGB, opaque), or a mask, uint8 or uint16 HxW.
        icc: the ICC profile of the pixels, or None; a mask has none.
        exif: the EXIF block to write, as TIFF bytes without the "Exif\\0\\0" in front, or None.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def has_alpha(self) -> bool:
        """Whether there is an alpha channel."""
        return self.pixels.ndim == 3 and self.pixels.shape[2] == 4


def copy_colours(rgb: np.ndarray, rgba: np.ndarray) -> None:
    """Copy RGB, uint8 HxWx3, into the first three channels of ``rgba``, HxWx4, over all cores."""

    def copy(rows: slice) -> None:
        rgba[rows, :, :3] = rgb[rows]

    parallel(copy, bands(rgb.shape))


def pack_rgba(rgb: np.ndarray, alpha8: np.ndarray) -> np.ndarray:
    """RGB, uint8 HxWx3, and alpha, uint8 HxW, as uint8 HxWx4."""
    rgba = np.empty((*alpha8.shape, 4), np.uint8)
    copy_colours(rgb, rgba)
    rgba[..., 3] = alpha8
    return rgba
