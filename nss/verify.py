"""A second look at a written file, with a decoder, before it takes the name that was asked for."""

from __future__ import annotations

from typing import IO

import numpy as np

from nss.errors import ImageError


def check_png(file: IO[bytes], rgba: np.ndarray, icc: bytes | None, name: str) -> None:
    """Decode ``file`` and hold it against what was to be written.

    Args:
        file: the PNG, open for reading.
        rgba: uint8 HxWx4 with straight alpha.
        icc: the ICC profile it must carry, or None.
        name: what to call the file in the error.

    Raises:
        ImageError: the file does not decode, or size, RGB, alpha or ICC profile differ.
    """
    from PIL import PngImagePlugin

    file.seek(0)
    try:
        # not PIL.Image.open: that stops at a pixel count below the largest photo that can be read
        image = PngImagePlugin.PngImageFile(file)
        written = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise _differs(name, f"it does not decode ({error})") from error
    if written.shape != rgba.shape:
        raise _differs(name, f"{written.shape} was read for {rgba.shape}")
    if not np.array_equal(written, rgba):
        raise _differs(name, "pixels differ")
    if image.info.get("icc_profile") != icc:
        raise _differs(name, "the ICC profile differs")


def _differs(name: str, what: str) -> ImageError:
    return ImageError(f"{name}: the written file was not what it should be, and was removed: {what}; check the disk")
