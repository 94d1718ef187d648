"""A photo with transparency as its network gets it: without what the photo's own alpha hides.

Under alpha 0 files hold any colour, usually black, white, or what an editor had erased. A black logo over hidden black
is a black photo to a network. So the photo is laid over one colour unlike those that are visible.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from nss.arrays.tiles import bands, parallel

BACKDROPS = ((128, 200, 255), (255, 255, 255), (128, 128, 128), (255, 200, 128), (0, 128, 128), (0, 0, 0))
"""Colours to lay a photo over: light blue, white, grey, peach, teal, black; of equals the first is taken.

By measurement of how much of a logo's alpha is kept: eleven shapes in fifteen paints over nineteen colours with
U²-Netp, some with IS-Net. Over light blue it is 99 % of compact shapes and 94 to 97 % of letters, be they black, white,
both, or grey besides (of which grey keeps 36 %). White is a little better for U²-Netp, and loses a tenth of some shapes
with IS-Net. Pure primaries lose a star or a ring altogether.
"""

NEAR = 64
"""Levels of the channel that differs most, up to which a colour is taken for like the backdrop."""

FEW = 0.01
"""The part of what is visible that may be like the backdrop without counting."""


def over_backdrop(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """The photo, uint8 HxWx3, as it looks over a backdrop; ``rgb`` itself where it is opaque.

    The colour of a pixel counts as far as its alpha (uint8 HxW) says, in the choice of the backdrop too: two photos
    that differ only under alpha 0 give the same bytes. A wholly transparent photo becomes one colour.
    """
    if alpha is None or int(alpha.min()) == 255:
        return rgb
    colour = np.array(_backdrop(rgb, alpha), np.uint16)
    over = np.empty_like(rgb)

    def lay(rows: slice) -> None:
        part = alpha[rows, :, None].astype(np.uint16)
        # 255 * 255 and half of 255 fit 16 bits; rounded to nearest
        weighted_sum = rgb[rows] * part
        weighted_sum += colour * (255 - part)
        weighted_sum += 127
        np.floor_divide(weighted_sum, 255, out=over[rows], casting="unsafe")

    parallel(lay, bands(alpha.shape))
    return over


def _backdrop(rgb: np.ndarray, alpha: np.ndarray) -> tuple[int, int, int]:
    """The colour of ``BACKDROPS`` that the smallest part of what is visible is like."""
    weights, lock = np.zeros(16**3), Lock()

    def count(rows: slice) -> None:
        red, green, blue = (rgb[rows, :, channel].astype(np.uint16) >> 4 for channel in range(3))
        bins = (red << 8) + (green << 4) + blue
        # sums of whole numbers, which are exact in any order
        part = np.bincount(bins.ravel(), alpha[rows].ravel(), 16**3)
        with lock:
            np.add(weights, part, out=weights)

    parallel(count, bands(alpha.shape))
    total = weights.sum()
    if not total:
        return BACKDROPS[0]
    levels = np.arange(16) * 16 + 8
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)

    def likeness(backdrop: tuple[int, int, int]) -> float:
        like = np.abs(colours - np.array(backdrop)).max(axis=1) <= NEAR
        return max(float(weights[like].sum() / total), FEW)

    return min(BACKDROPS, key=likeness)
