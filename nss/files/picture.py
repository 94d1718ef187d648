"""Pixels that are ready to become a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
