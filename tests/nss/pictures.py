"""Pictures to write: textured, with every kind of alpha, a profile and EXIF."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF_IFD, GPS_IFD = 0x8769, 0x8825


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 HxWx3: saturated ramps with noise of 12 levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    ramps = np.stack(
        [128 + 100 * np.sin(x / 23), 128 + 100 * np.cos(y / 31 + x / 50), 120 + 100 * np.sin((x + y) / 40)], 2
    )
    return np.clip(np.rint(ramps + rng.normal(0, 12, ramps.shape)), 0, 255).astype(np.uint8)


def alphas(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 HxW: a quarter of the width each transparent, faint, partial and opaque, with noise."""
    rng = np.random.default_rng(seed)
    bounds = [(0, 1), (1, 32), (32, 240), (255, 256)]
    column = np.arange(width) * 4 // width
    low, high = (np.array([b[i] for b in bounds])[column] for i in (0, 1))
    return rng.integers(low, high, (height, width)).astype(np.uint8)


def rgba(height: int = 96, width: int = 192, seed: int = 0) -> np.ndarray:
    """uint8 HxWx4."""
    return np.dstack([texture(height, width, seed), alphas(height, width, seed)])


def pixels(kind: str) -> np.ndarray:
    """Pixels of a kind that a picture may have."""
    if kind == "16 bits":
        return np.random.default_rng(1).integers(0, 65536, (96, 192), dtype=np.uint16)
    whole = rgba()
    if kind == "opaque":
        whole[..., 3] = 255
    return {"rgba": whole, "opaque": whole, "rgb": whole[..., :3], "8 bits": whole[..., 0]}[kind]


def exif(order: str = "<", **more: int) -> bytes:
    """A block as a camera writes it, with a lens whose aperture is unknown (0/0), and a place."""
    block = Image.Exif()
    block.endian = order
    block[0x010E], block[0x0110], block[0x011A], block[0x0128] = "a photo", "a camera", 72.0, 2
    block.get_ifd(EXIF_IFD)[0x9003] = "2026:01:02 03:04:05"
    block.get_ifd(EXIF_IFD)[0x829A] = IFDRational(1, 200)
    block.get_ifd(EXIF_IFD)[0xA432] = (IFDRational(24, 1), IFDRational(70, 1), IFDRational(0, 0), IFDRational(0, 0))
    block.get_ifd(GPS_IFD)[1] = "N"
    block.get_ifd(GPS_IFD)[2] = (59.0, 19.0, 46.5)
    if "orientation" in more:
        block[0x0112] = more["orientation"]
    return block.tobytes().removeprefix(b"Exif\0\0")
