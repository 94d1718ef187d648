"""How many pixels an image may have, and whether its bytes can hold those that it declares."""

from __future__ import annotations

from typing import IO

from nss.errors import ImageError

# Pillow refuses from 179 megapixels, and phones already make 200. At this size the RGB pixels take 0.9 GB.
MAX_PIXELS = 300_000_000

LARGE = 32_000_000
"""Pixels from which on a picture that its bytes hardly hold is worth a word: below, flat ones are made every day."""

SPARSE = 1000
"""Pixels a byte: the plainest photo has 80, an even colour as JPEG 170 and as PNG of 24 bits 340."""

# ITU-T T.81, table B.1: the frames coded by Huffman's method, and the bits that a block takes at least there: a DC and
# an AC code in sequence, and a DC code where blocks without AC coefficients are counted in runs
_BITS_OF_BLOCK = {0xC0: 2, 0xC1: 2, 0xC2: 1}
_NO_FRAME = {0xC4, 0xC8, 0xCC}
_ENDS_HEADER = {0xD9, 0xDA}


class TooManyPixelsError(ImageError):
    """An image has more pixels than it may have."""


def check_size(name: str, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse what has no pixels with an ImageError, and more than ``max_pixels`` with a TooManyPixelsError."""
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"{name}: {width} x {height} pixels are more than {max_pixels / 1e6:g} megapixels; reduce the image first, "
            "or raise the limit, 'max_pixels' (a small file of this size may be a decompression bomb)"
        )


def limit_pillow(max_pixels: int) -> None:
    """Have Pillow refuse what has more than ``max_pixels``, and nothing that has not.

    Some of its plugins (TIFF, WebP) have a limit of their own, 179 megapixels, which belongs to the process: only a
    command may move it.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)  # it warns from this on, and refuses what has twice as many


def pillows_limit() -> str:
    """What is wrong with an image that Pillow refuses for its size."""
    from PIL import Image

    megapixels = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
    return (
        f"has more than {megapixels:g} megapixels; reduce the image first, or raise the limit ('max_pixels', and "
        "in a program PIL.Image.MAX_IMAGE_PIXELS)"
    )


def sparse_note(width: int, height: int, length: int) -> str | None:
    """A note on a large picture in a file of so few bytes that it can hardly be a photo; None for others."""
    if width * height <= LARGE or width * height < SPARSE * length:
        return None
    return (
        f"{width} x {height} pixels in {length:,} bytes: a blank or damaged image, or one made to fill the memory "
        "('max_pixels' limits what is decoded)"
    )


def check_jpeg(name: str, file: IO[bytes], length: int) -> None:
    """Refuse a JPEG file whose bytes cannot hold its pixels, however plain they are.

    libjpeg makes up what is missing, in grey, where the file has an end at all. Files that are cut short less than that
    cannot be distinguished from whole ones before they are decoded.
    """
    frame = _frame(file)
    if frame is None:
        return
    marker, width, height, sampling = frame
    widest, highest = max(h for h, _ in sampling), max(v for _, v in sampling)
    blocks = sum((width * h // (8 * widest)) * (height * v // (8 * highest)) for h, v in sampling)
    least = blocks * _BITS_OF_BLOCK[marker] // 8
    if length < least:
        raise ImageError(
            f"{name}: truncated or damaged JPEG image ({width} x {height} pixels take at least {least:,} bytes, and it "
            f"has {length:,})"
        )


def _frame(file: IO[bytes]) -> tuple[int, int, int, list[tuple[int, int]]] | None:
    """Marker, width, height and sampling factors of a JPEG's frame; None where it is coded otherwise, or damaged."""
    file.seek(2)
    while True:
        prefix, marker = file.read(1), file.read(1)
        while marker == b"\xff":  # fill bytes
            marker = file.read(1)
        if prefix != b"\xff" or not marker or marker[0] in _ENDS_HEADER:
            return None
        size = int.from_bytes(file.read(2), "big")
        if 0xC0 <= marker[0] <= 0xCF and marker[0] not in _NO_FRAME:
            break
        file.seek(max(size - 2, 0), 1)
    header = file.read(max(size - 2, 0))
    sampling = [(factors >> 4, factors & 15) for factors in header[7::3]]
    if marker[0] not in _BITS_OF_BLOCK or not sampling or not all(h and v for h, v in sampling):
        return None
    height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
    return marker[0], width, height, sampling
