"""A photo that visitors of the page drop, and how what they save is held to what the command writes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from tests.project import ROOT

EXAMPLES = ROOT / "examples"


def swapped_profile() -> bytes:
    """A profile that exchanges red and blue: whoever converts colours by it is seen."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, blue = (profile[entries[tag] + 4 : entries[tag] + 12] for tag in (b"rXYZ", b"bXYZ"))
    profile[entries[b"rXYZ"] + 4 : entries[b"rXYZ"] + 12] = blue
    profile[entries[b"bXYZ"] + 4 : entries[b"bXYZ"] + 12] = red
    return bytes(profile)


def turned_jpeg(path: Path, size: tuple[int, int] | None = None) -> Path:
    """The cat as a JPEG that lies on its side, upright by its EXIF, with a profile."""
    photo = Image.open(EXAMPLES / "chelsea.png").convert("RGB")
    if size:
        photo = photo.resize(size, Image.Resampling.LANCZOS)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(path, quality=92, exif=exif, icc_profile=swapped_profile())
    return path


def assert_same(page: Image.Image, expected: Image.Image, colours: int = 0) -> None:
    """Size, mode and profile; colours within some levels; alpha within two of 255."""
    assert (page.size, page.mode) == (expected.size, expected.mode)
    assert page.info.get("icc_profile") == expected.info.get("icc_profile")
    got, wanted = (np.asarray(image, np.int16) for image in (page, expected))
    assert np.abs(got[..., :3] - wanted[..., :3]).max() <= colours
    if page.mode == "RGBA":
        assert np.abs(got[..., 3] - wanted[..., 3]).max() <= 2
