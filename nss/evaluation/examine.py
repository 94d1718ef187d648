"""What a file holds: straight or premultiplied alpha, hidden colour, and how clean its edges are.

Premultiplied colours are those of the foreground times alpha. Two things give them away. None of them exceeds its own
alpha, so that colours which do are straight; and at an edge they fade to black along with alpha, where straight ones
stay close to the foreground that they border on. A straight file may do the same where the photo's background is black
and its colours were kept: by itself such a file cannot be distinguished from a premultiplied one, and
only the photo decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from nss.arrays.tiles import Tile, tiles
from nss.cutouts.bleed import bleed
from nss.errors import ImageError
from nss.files.verify import Straightness, straightness
from nss.photos import image_io
from nss.photos.image_size import MAX_PIXELS

Alpha: TypeAlias = Literal["straight", "premultiplied", "opaque", "undecided"]
Hidden: TypeAlias = Literal["none", "zero", "colour"]

SURE = 245
"""Alpha from which a pixel is taken to show the foreground alone."""

REACH = 24
"""How far from such a pixel a soft one may lie to be compared with it: farther off the foreground may be another."""

EXACT = frozenset({"BMP", "GIF", "PNG", "TIFF"})
"""Formats by Pillow's names whose every pixel, hidden ones too, is as it was written."""

SLACK = {True: 1, False: 6}
"""Levels by which a premultiplied colour may exceed its alpha: in an exact format by rounding, else by loss."""

FEW = {True: 200, False: 20}
"""One pixel in so many may exceed it by more: where a program sharpened, or a codec blurred colours into each other."""

RESIDUAL_LIMIT = 0.02
"""The part of the evidence that a hypothesis may leave unexplained if the photo's own colours are to bear it out."""

MANY = 64
"""So many soft pixels must border on a foreground brighter than their alpha for it to mean something that none is."""


@dataclass(frozen=True)
class Examination:
    """The properties of a file with alpha, and how clean it is.

    Attributes:
        name: the file.
        format: Pillow's name of its format.
        width: in pixels.
        height: in pixels.
        bits: 16 where the samples had more than 8 bits, else 8.
        alpha: whether colours are straight or were multiplied by alpha; opaque without a pixel below 255; undecided
            where too few soft pixels, or too dark ones, tell them apart.
        slope: 1 for straight colours, 0 for premultiplied ones, by regression (``nss.files.verify.straightness``); None
            without evidence.
        soft: how many pixels have an alpha of 1 to 254.
        over: how many of these have a colour over their alpha, which premultiplied ones cannot have.
        hidden: colour under alpha 0: "none" where nothing is hidden, all "zero", or some "colour".
        fringe: how far, in levels, soft pixels are in colour from the foreground within ``REACH``: the mean over
            channels and pixels of the absolute difference, weighted by alpha (1 - alpha), which is as much as another
            background shows of it. The colours are taken as straight, which is what programs do, so that a
            premultiplied file has its dark fringe counted. 0 is none, though a foreground with texture has a little;
            None where no soft pixel has a foreground in reach.
        icc: whether there is an ICC profile.
    """

    name: str
    format: str
    width: int
    height: int
    bits: int
    alpha: Alpha
    slope: float | None
    soft: int
    over: int
    hidden: Hidden
    fringe: float | None
    icc: bool

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: a premultiplied file shows dark fringes wherever straight alpha is meant."""
        return self.alpha != "premultiplied"


def examine(
    source: str | Path | bytes,
    photo: str | Path | bytes | image_io.Photo | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Examination:
    """Look at a file.

    Without the photo that it was made from, its soft pixels are compared with the foreground that they border on.

    Args:
        source: the file, or its bytes.
        photo: the photo of the same size, loaded or not, whose own colours decide where the file has them.
        max_pixels: how many each may have; 300 megapixels by default.

    Raises:
        ImageError: one of them cannot be read, or the photo has another size.
    """
    file = image_io.load(source, max_pixels=max_pixels)
    height, width = file.size
    if photo is not None and not isinstance(photo, image_io.Photo):
        photo = image_io.load(photo, max_pixels=max_pixels)
    original = None if photo is None else _same_size(photo, file)
    sums = _Sums()
    if file.alpha is not None:
        for tile in tiles(file.size, REACH):
            _add_tile(sums, tile, rgb=file.rgb, alpha8=file.alpha, original=original)
    exact = file.format in EXACT
    return Examination(
        name=file.name,
        format=file.format,
        width=width,
        height=height,
        bits=16 if "16-bit reduced to 8" in file.notes else 8,
        alpha=_verdict(sums, exact, decisive=original is not None),
        slope=(sums.by_foreground if original is None else sums.by_photo).slope,
        soft=sums.soft,
        over=sums.over[exact],
        hidden="none" if not sums.hidden else "colour" if sums.coloured else "zero",
        fringe=round(sums.fringe / sums.weight, 2) if sums.weight else None,
        icc=file.icc is not None,
    )


def _same_size(photo: image_io.Photo, file: image_io.Photo) -> np.ndarray:
    if photo.size != file.size:
        (height, width), (own_height, own_width) = photo.size, file.size
        raise ImageError(f"{file.name}: is {own_width} x {own_height}, and the photo {width} x {height}")
    return photo.rgb


class _Sums:
    """Sums over the tiles of an image."""

    def __init__(self) -> None:
        self.soft = self.hidden = self.coloured = 0
        self.over = {True: 0, False: 0}
        self.brighter_foreground = {True: 0, False: 0}
        self.by_photo = self.by_foreground = Straightness()
        self.fringe = self.weight = 0.0


def _add_tile(sums: _Sums, tile: Tile, *, rgb: np.ndarray, alpha8: np.ndarray, original: np.ndarray | None) -> None:
    colours, alpha = rgb[tile.core], alpha8[tile.core]
    if alpha.min() == 255:
        return
    invisible = colours[alpha == 0]
    sums.hidden += len(invisible)
    sums.coloured += int((invisible.max(axis=1, initial=0) > SLACK[True]).sum())
    soft = (alpha > 0) & (alpha < 255)
    if not soft.any():
        return
    excess = colours[soft].max(axis=1).astype(np.int16) - alpha[soft]
    sums.soft += excess.size
    for exact, slack in SLACK.items():
        sums.over[exact] += int((excess > slack).sum())
    if original is not None:
        sums.by_photo += straightness(colours, original[tile.core], alpha)
    near, foreground = _foreground(tile, rgb, alpha8)
    near &= soft
    colours, foreground, soft_alpha = colours[near], foreground[near], alpha[near]
    for exact, slack in SLACK.items():
        sums.brighter_foreground[exact] += int(
            (foreground.max(axis=1, initial=0).astype(np.int16) - soft_alpha > slack).sum()
        )
    sums.by_foreground += straightness(colours, foreground, soft_alpha)
    opacity = soft_alpha.astype(np.float64) / 255
    weight = opacity * (1 - opacity)
    off = np.abs(np.subtract(colours, foreground, dtype=np.int16)).mean(axis=1)
    sums.fringe, sums.weight = sums.fringe + float((weight * off).sum()), sums.weight + float(weight.sum())


def _foreground(tile: Tile, rgb: np.ndarray, alpha8: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For a tile, where a surely opaque pixel is in reach, and the colours of those, continued over the others."""
    window = alpha8[tile.window]
    sure = np.where(window >= SURE, window, 0)
    near = sure > 0
    if not near.any():
        return near[tile.inner], rgb[tile.core]
    for axis in (0, 1):
        near = _dilate(near, axis)
    return near[tile.inner], bleed(np.ascontiguousarray(rgb[tile.window]), sure)[tile.inner]


def _dilate(members: np.ndarray, axis: int) -> np.ndarray:
    """What lies within ``REACH`` of a member along an axis."""
    sums = np.cumsum(members, axis=axis, dtype=np.int32)
    sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis=axis)
    index = np.arange(members.shape[axis])
    upper, lower = np.minimum(index + REACH + 1, index.size), np.maximum(index - REACH, 0)
    return sums.take(upper, axis) > sums.take(lower, axis)


def _verdict(sums: _Sums, exact: bool, *, decisive: bool) -> Alpha:
    if not sums.soft and not sums.hidden:
        return "opaque"
    exceeding = sums.over[exact] > max(2, sums.soft // FEW[exact])
    # of what lies under alpha 0 a lossy encoder may make anything
    if exact and (exceeding or sums.coloured > max(2, sums.hidden // FEW[exact])):
        return "straight"
    if decisive and (verdict := _by_photo(sums.by_photo)) is not None:
        return verdict
    if exceeding:
        return "straight"
    if sums.brighter_foreground[exact] >= MANY:
        return "premultiplied"
    slope = sums.by_foreground.slope
    if slope is None:
        return "undecided"
    # what shows of the background shifts the slope to either side, and far over 1 there is hardly anything else
    if slope < 0.35:
        return "premultiplied"
    return "straight" if 0.65 < slope < 1.5 else "undecided"


def _by_photo(colours: Straightness) -> Alpha | None:
    """The hypothesis that explains the colours, if one does: they may have been freed of the background."""
    if colours.slope is None:
        return None
    straight = colours.residual - 2 * colours.cross + colours.evidence
    if min(straight, colours.residual) > RESIDUAL_LIMIT * colours.evidence:
        return None
    return "straight" if straight < colours.residual else "premultiplied"
