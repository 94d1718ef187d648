"""Colour under full transparency that holds nothing of what was removed: the edge's, continued outwards.

A hidden pixel takes the mean of the visible ones around it, weighted by alpha (a faint pixel shows more of the
background than of the foreground) and, farther out, by the inverse cube of the distance: an interpolation after
D. Shepard, "A two-dimensional interpolation function for irregularly-spaced data", 1968, with squares for circles.
Beyond the widest square there is one colour, which costs a file next to nothing.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from nss.arrays.tiles import Tile, parallel, tiles

STEPS = (1, 3, 9, 27)
"""Squares 3, 9, 27 and 81 pixels wide: each is the sum of nine of the one before it, so many pixels apart."""

REACH = sum(STEPS)
"""How far the widest square reaches, in pixels."""

FAR = 81 * 16 * 255
"""What the one colour weighs in the widest square: as much as opaque pixels over a fifth of it."""


def bleed(rgb: np.ndarray, alpha8: np.ndarray) -> np.ndarray:
    """The photo's colours where anything of it is seen, and the edge's colours elsewhere.

    Args:
        rgb: uint8 HxWx3.
        alpha8: uint8 HxW.

    Returns:
        uint8 HxWx3: ``rgb`` where alpha is over 0 (``rgb`` itself if that is everywhere). A hidden pixel with visible
        neighbours has their mean, weighted by alpha; those over ``REACH`` pixels from any have the mean of all such
        neighbours; between, the one changes into the other. All is black where nothing is visible. What ``rgb`` hides
        changes nothing, and a flipped or turned picture gives the same, flipped or turned.
    """
    if alpha8.all():
        return rgb
    out = np.empty_like(rgb)
    far = _edge_colour(rgb, alpha8)

    def work(tile: Tile) -> None:
        core = out[tile.core]
        hidden = alpha8[tile.core] == 0
        if hidden.any():
            core[:] = _continue_colours(rgb, alpha8, tile, far) if alpha8[tile.window].any() else np.rint(far)
            np.copyto(core, rgb[tile.core], where=~hidden[..., None])
        else:
            core[:] = rgb[tile.core]

    parallel(work, tiles((rgb.shape[0], rgb.shape[1]), halo=REACH))
    return out


def _edge_colour(rgb: np.ndarray, alpha8: np.ndarray) -> np.ndarray:
    """The mean, weighted by alpha, of all hidden pixels' visible neighbours, float32 3; black if there are none."""
    total = np.zeros(4, np.int64)
    lock = Lock()

    def work(tile: Tile) -> None:
        if alpha8[tile.core].all() or not alpha8[tile.window].any():
            return
        planes = [_sum_nine(plane, 1) for plane in _weigh_by_alpha(rgb, alpha8, tile, 1)]
        edge = (alpha8[tile.core] == 0) & (planes[3] > 0)
        sums = [plane[edge].sum(dtype=np.int64) for plane in planes]
        with lock:
            np.add(total, sums, out=total)

    parallel(work, tiles((rgb.shape[0], rgb.shape[1]), halo=1))
    return (total[:3] / max(1, total[3])).astype(np.float32)


def _continue_colours(rgb: np.ndarray, alpha8: np.ndarray, tile: Tile, far: np.ndarray) -> np.ndarray:
    """The colours of a tile's hidden pixels, uint8 HxWx3."""
    *colours, alpha = _weigh_by_alpha(rgb, alpha8, tile, REACH)
    closest, weight = _square_sums(alpha, 1)
    near = closest > 0
    np.copyto(weight, closest, where=near)
    out = np.empty((*weight.shape, 3), np.uint8)
    for channel, colour in enumerate(colours):
        closest, mean = _square_sums(colour, far[channel])
        np.copyto(mean, closest, where=near)
        mean /= weight
        out[..., channel] = np.rint(mean, out=mean)
    return out


def _square_sums(plane: np.ndarray, far: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the smallest square, int32, and weighted ones over all and what lies beyond, float32: HxW each."""
    # integers, so that no order of summing shows
    squares = [plane]
    for step in STEPS:
        squares.append(_sum_nine(squares[-1], step))
    weight = np.float32(1)
    weighted_sum = np.zeros(squares[-1].shape, np.float32)
    margin = REACH
    for step, square in zip(STEPS, squares[1:], strict=True):
        margin -= step
        weighted_sum += _inner(square, margin) * weight
        weight *= np.float32(1 / 27)
    weighted_sum += np.float32(FAR * far) * weight * 27
    return _inner(squares[1], REACH - 1), weighted_sum


def _inner(array: np.ndarray, margin: int) -> np.ndarray:
    return array[margin : array.shape[0] - margin, margin : array.shape[1] - margin]


def _weigh_by_alpha(rgb: np.ndarray, alpha8: np.ndarray, tile: Tile, margin: int) -> list[np.ndarray]:
    """Alpha times each colour, and alpha, of a tile and its halo of ``margin``, int32; 0 beyond the image."""
    size = tuple(span.stop - span.start + 2 * margin for span in tile.core)
    place = tuple(
        slice(margin - inner.start, margin - inner.start + window.stop - window.start)
        for inner, window in zip(tile.inner, tile.window, strict=True)
    )
    alpha = np.zeros(size, np.int32)
    alpha[place] = alpha8[tile.window]
    planes = []
    for channel in range(3):
        plane = np.zeros(size, np.int32)
        np.multiply(rgb[..., channel][tile.window], alpha[place], out=plane[place])
        planes.append(plane)
    return [*planes, alpha]


def _sum_nine(sums: np.ndarray, step: int) -> np.ndarray:
    """Sums of the 3 x 3 values ``step`` apart around each pixel of HxW that has them all: smaller by 2 ``step``."""
    rows = sums[: -2 * step] + sums[step:-step]
    rows += sums[2 * step :]
    columns = rows[:, : -2 * step] + rows[:, step:-step]
    columns += rows[:, 2 * step :]
    return columns
