"""One contact sheet of a cut-out, to judge it by: what hides on white shows on black."""

from __future__ import annotations

import numpy as np

from nss.arrays.resample import resize_bilinear
from nss.cutouts.background import blend, is_none, over, to_profile
from nss.cutouts.compose import ComposedPicture, Composition, Cutout
from nss.files.picture import Picture

MARGIN = 12
LABEL = 18
"""Pixels around the pictures, and of the line of text above each."""

COLUMNS = 3
_PAPER, _INK = 245, 40
_SQUARES = (12, 255, 205)
"""The checkerboard: the side of a square in pixels, and its two greys."""


def sheet(cutout: Cutout, longest: int, composition: Composition | None = None) -> ComposedPicture:
    """Photo, mask, and the cut-out on a checkerboard, on black and on white, each with its name above.

    Where the composition has a background, the cut-out on that too. Reduced with antialias, and never enlarged; the
    cut-out is composed at the photo's size and reduced afterwards, so that its edges are those of the file.

    Args:
        cutout: the cut-out.
        longest: the longer side of each picture, in pixels.
        composition: of the cut-out: its background, decontaminate, invert and crop count.

    Returns:
        An RGB picture in sRGB; its box is that of each picture on the sheet.

    Raises:
        UsageError: the background is no colour and no image.
        ImageError: the background image cannot be read.
    """
    composition = composition or Composition()
    straight = Composition(decontaminate=composition.decontaminate, invert=composition.invert, crop=composition.crop)
    full_size = cutout.composed(straight)
    left, top, right, bottom = full_size.box
    rgb, alpha = full_size.picture.pixels[..., :3], full_size.picture.pixels[..., 3] * np.float32(1 / 255)
    photo = cutout.rgb[top:bottom, left:right]
    height, width = alpha.shape
    scale = min(1.0, longest / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    notes = list(full_size.notes)

    def reduce(pixels: np.ndarray) -> np.ndarray:
        small = resize_bilinear(pixels, size, antialias=True)
        return np.rint(small, out=small).astype(np.uint8)

    def to_srgb(pixels: np.ndarray) -> np.ndarray:
        return to_profile(reduce(pixels), cutout.icc, None, notes)

    def on(grey: int) -> np.ndarray:
        return to_srgb(blend(rgb, alpha, np.broadcast_to(np.uint8(grey), rgb.shape)))

    squares = _checkerboard(size)
    # the squares keep their size on the sheet: only there is the cut-out laid over them
    small_alpha = resize_bilinear(alpha, size, antialias=True)
    premultiplied = resize_bilinear(blend(rgb, alpha, np.broadcast_to(np.uint8(0), rgb.shape)), size, antialias=True)
    over_squares = premultiplied + squares * (1 - small_alpha[..., None])
    on_squares = to_profile(np.rint(np.clip(over_squares, 0, 255)).astype(np.uint8), cutout.icc, None, notes)
    mask = reduce(alpha * np.float32(255))
    panels = [
        ("photo", to_srgb(photo)),
        ("mask", np.repeat(mask[..., None], 3, axis=2)),
        ("cut-out", on_squares),
        ("on black", on(0)),
        ("on white", on(255)),
    ]
    if not is_none(composition.background):
        pixels = over(rgb, alpha, composition.background, photo=photo, icc=cutout.icc, notes=notes, opaque=True)
        panels.append(("on the background", to_srgb(pixels)))
    return ComposedPicture(Picture(_lay_out(panels, size)), full_size.box, tuple(dict.fromkeys(notes)))


def _checkerboard(size: tuple[int, int]) -> np.ndarray:
    side, light, dark = _SQUARES
    rows, columns = (np.arange(length) // side for length in size)
    odd = (rows[:, None] + columns) % 2 == 1
    return np.where(odd, np.float32(dark), np.float32(light))[..., None]


def _lay_out(panels: list[tuple[str, np.ndarray]], size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    cell = size[0] + LABEL + MARGIN, size[1] + MARGIN
    rows = -(-len(panels) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * cell[1] + MARGIN, rows * cell[0] + MARGIN), (_PAPER,) * 3)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for number, (name, pixels) in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        left, top = MARGIN + column * cell[1], MARGIN + row * cell[0]
        draw.text((left, top), name, fill=(_INK,) * 3, font=font)
        canvas.paste(Image.fromarray(pixels), (left, top + LABEL))
    return np.asarray(canvas)
