"""The foreground's own colour where a photo shows a mixture of it and of what is behind it.

Multi-level foreground estimation (T. Germer, T. Uelwer, S. Conrad, S. Harmeling, "Fast Multi-Level Foreground
Estimation", 2020). Foreground F and background B are sought that mix to the photo, I = a F + (1 - a) B, and are smooth,
most of all where alpha changes. Solved from the coarsest level of a pyramid to the finest, each beginning with what the
one before it found. Here a level is computed where alpha is soft and near it, levels are means of 2 x 2 pixels, not
samples, and Jacobi iterations stand for the paper's successive updates, of which each is worth about two of them. There
are eight where four would equal the paper's two: hair comes out nearer to the truth. A lower weight of alpha's gradient
does the same, but only as long as alpha is exact.
"""

from __future__ import annotations

import numpy as np

from nss.arrays.tiles import Area, Tile, parallel, tiles
from nss.errors import UsageError

SMOOTHNESS = 1e-5
"""Weight of smoothness where alpha does not change."""

SMALL = 32
"""Levels up to this side get more iterations."""

ITERATIONS_SMALL = 20
ITERATIONS = 8

REACH = ITERATIONS + 4
"""How far from soft pixels a level is solved: what the level above reads, from half as many of its own pixels away."""


def decontaminate(rgb: np.ndarray, alpha: np.ndarray, amount: float) -> np.ndarray:
    """The photo with the background's colour taken out of soft pixels.

    Args:
        rgb: uint8 HxWx3.
        alpha: float32 HxW in 0..1.
        amount: from 0, the photo's colours, to 1, the foreground's; those between are mixtures.

    Returns:
        uint8 HxWx3, ``rgb`` itself for amount 0. Pixels whose alpha is 0 or 255 once it is rounded to 8 bits are
        unchanged.

    Raises:
        UsageError: the amount is not within 0..1.
    """
    if not 0 <= amount <= 1:
        raise UsageError(f"decontaminate={amount:g}: an amount from 0 to 1 is possible")
    if amount == 0:
        return rgb
    out = rgb.copy()
    below = _solve(_pyramid(rgb, alpha))

    def work(tile: Tile) -> None:
        part = _soft_part(_is_soft(alpha[tile.core]), tile.core)
        if part is None:
            return
        window, inner = _with_halo(part, ITERATIONS, alpha.shape)
        a = alpha[window]
        image = rgb[window].transpose(2, 0, 1)
        foreground = _iterate(image, a, _enlarge(below, window), ITERATIONS)[0][:, *inner].transpose(1, 2, 0)
        soft = _is_soft(alpha[part])
        own = out[part][soft].astype(np.float32)
        out[part][soft] = np.rint(own + np.float32(amount) * (foreground[soft] * 255 - own))

    parallel(work, tiles((rgb.shape[0], rgb.shape[1])))
    return out


def _is_soft(alpha: np.ndarray) -> np.ndarray:
    return (alpha * 255 > 0.5) & (alpha * 255 <= 254.5)


def _soft_part(soft: np.ndarray, area: Area) -> Area | None:
    """The rows and columns of an area that hold soft pixels, which are those of ``soft``; None where there is none."""
    rows, columns = np.flatnonzero(soft.any(axis=1)), np.flatnonzero(soft.any(axis=0))
    if not rows.size:
        return None
    top, left = area[0].start, area[1].start
    return (
        slice(top + int(rows[0]), top + int(rows[-1]) + 1),
        slice(left + int(columns[0]), left + int(columns[-1]) + 1),
    )


def _with_halo(part: Area, halo: int, shape: tuple[int, ...]) -> tuple[Area, Area]:
    """The area with a halo as far as the image goes, and the area within it."""
    starts = [max(0, span.start - halo) for span in part]
    window = tuple(
        slice(start, min(span.stop + halo, end)) for start, span, end in zip(starts, part, shape, strict=False)
    )
    inner = tuple(slice(span.start - start, span.stop - start) for start, span in zip(starts, part, strict=True))
    return (window[0], window[1]), (inner[0], inner[1])


Level = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A photo, uint8 3xHxW, its alpha, float32 HxW, and where the photo's own alpha is soft, bool HxW."""


def _pyramid(rgb: np.ndarray, alpha: np.ndarray) -> list[Level]:
    """Levels from half the photo's size to a single pixel."""
    half = -(-alpha.shape[0] // 2), -(-alpha.shape[1] // 2)
    image, small, soft = np.empty((3, *half), np.uint8), np.empty(half, np.float32), np.empty(half, bool)

    def work(tile: Tile) -> None:
        rows, columns = (slice(2 * span.start, 2 * span.stop) for span in tile.core)
        image[:, *tile.core] = _to_bytes(_halve(rgb[rows, columns].transpose(2, 0, 1)))
        small[tile.core] = _halve(alpha[rows, columns])
        soft[tile.core] = _any_of_four(_is_soft(alpha[rows, columns]))

    parallel(work, tiles(half))
    levels = [(image, small, soft)]
    while max(small.shape) > 1:
        image, small = _to_bytes(_halve(image)), _halve(small)
        soft = _any_of_four(soft)
        levels.append((image, small, soft))
    return levels


def _any_of_four(soft: np.ndarray) -> np.ndarray:
    """At half the size, where any of 2 x 2 pixels is soft: the mean of a faint one and its neighbours may not be."""
    rows = soft[::2].copy()
    rows[: soft.shape[0] // 2] |= soft[1::2]
    columns = rows[:, ::2].copy()
    columns[:, : soft.shape[1] // 2] |= rows[:, 1::2]
    return columns


def _to_bytes(x: np.ndarray) -> np.ndarray:
    return np.rint(x, out=x).astype(np.uint8)


def _halve(x: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of ...xHxW, float32; the last row or column of an odd number stands for two."""
    rows = x[..., ::2, :].astype(np.float32)
    rows[..., : x.shape[-2] // 2, :] += x[..., 1::2, :]
    rows[..., : x.shape[-2] // 2, :] *= 0.5
    columns = rows[..., ::2].copy()
    columns[..., : x.shape[-1] // 2] += rows[..., 1::2]
    columns[..., : x.shape[-1] // 2] *= 0.5
    return columns


def _solve(levels: list[Level]) -> np.ndarray:
    """Foreground and background at the finest of these levels, float32 2x3xHxW, within ``REACH`` of soft pixels."""
    # the coarsest level has one pixel, which cannot tell the two apart
    colours = _mean_colours(levels)
    for image, alpha, soft in reversed(levels):
        if max(alpha.shape) <= SMALL:
            colours = _iterate(image, alpha, _enlarge(colours, _whole(alpha)), ITERATIONS_SMALL)
        else:
            colours = _level(image, alpha, soft, colours)
    return colours


def _mean_colours(levels: list[Level]) -> np.ndarray:
    """What is surely foreground and what is surely background, float32 2x3x1x1 in 0..1."""
    image, alpha, _ = levels[min(3, len(levels) - 1)]  # as good for a mean as a finer one
    means = np.empty((2, 3, 1, 1), np.float32)
    for side, sure in enumerate((alpha > 0.9, alpha < 0.1)):
        colours = image[:, sure] if sure.any() else image.reshape(3, -1)
        means[side, :, 0, 0] = colours.mean(axis=1, dtype=np.float64) / 255
    return means


def _whole(alpha: np.ndarray) -> Area:
    return slice(0, alpha.shape[0]), slice(0, alpha.shape[1])


def _level(image: np.ndarray, alpha: np.ndarray, soft: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Foreground and background of a level within ``REACH`` of soft pixels, float16 2x3xHxW; nothing elsewhere."""
    out = np.zeros((2, *image.shape), np.float16)  # where the next level begins: no need for more

    def work(tile: Tile) -> None:
        soft_area = _soft_part(soft[tile.window], tile.window)
        if soft_area is None:
            return
        part = _within(_with_halo(soft_area, REACH, alpha.shape)[0], tile.core)
        window, inner = _with_halo(part, ITERATIONS, alpha.shape)
        colours = _iterate(image[:, *window], alpha[window], _enlarge(below, window), ITERATIONS)
        out[:, :, *part] = colours[:, :, *inner]

    parallel(work, tiles((alpha.shape[0], alpha.shape[1]), halo=REACH))
    return out


def _within(area: Area, bounds: Area) -> Area:
    rows, columns = (
        slice(max(span.start, bound.start), min(span.stop, bound.stop))
        for span, bound in zip(area, bounds, strict=True)
    )
    return rows, columns


def _enlarge(below: np.ndarray, window: Area) -> np.ndarray:
    """A window of a level from the level of half its size, each value repeated, 2x3xHxW."""
    rows, columns = window
    part = below[:, :, rows.start // 2 : (rows.stop + 1) // 2, columns.start // 2 : (columns.stop + 1) // 2]
    out = np.empty((2, 3, 2 * part.shape[2], 2 * part.shape[3]), np.float32)
    for row in range(2):
        for column in range(2):
            out[:, :, row::2, column::2] = part
    top, left = rows.start % 2, columns.start % 2
    return out[:, :, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


def _iterate(image: np.ndarray, alpha: np.ndarray, start: np.ndarray, iterations: int) -> np.ndarray:
    """Jacobi iterations on the paper's equation (9), 2x3xHxW; beyond the window each pixel has itself as neighbour.

    With the means F' and B' of the neighbours, weighted by S in all, the 2 x 2 system of a pixel has the solution
    F = F' + a r, B = B' + (1 - a) r with r = (I - a F' - (1 - a) B') / (a^2 + (1 - a)^2 + S).
    """
    rest = 1 - alpha
    weights = np.full((4, *alpha.shape), SMOOTHNESS, np.float32)
    down, right = np.abs(np.diff(alpha, axis=0)), np.abs(np.diff(alpha, axis=1))
    weights[0, 1:] += down
    weights[1, :-1] += down
    weights[2, :, 1:] += right
    weights[3, :, :-1] += right
    total = weights.sum(axis=0)
    weights /= total
    share = np.stack([alpha, rest])
    step = share / (alpha * alpha + rest * rest + total)
    out = np.empty((2, *image.shape), np.float32)
    # one colour at a time: what it takes stays in a core's cache
    height, width = alpha.shape
    grid = np.empty((2, height + 2, width + 2), np.float32)
    current = grid[:, 1:-1, 1:-1]
    neighbours = (
        grid[:, :-2, 1:-1],
        grid[:, 2:, 1:-1],
        grid[:, 1:-1, :-2],
        grid[:, 1:-1, 2:],
    )
    mean, product = np.empty((2, height, width), np.float32), np.empty((2, height, width), np.float32)
    for channel in range(3):
        own = image[channel] * np.float32(1 / 255)
        current[:] = start[:, channel]
        for _ in range(iterations):
            grid[:, 0], grid[:, -1] = grid[:, 1], grid[:, -2]
            grid[:, :, 0], grid[:, :, -1] = grid[:, :, 1], grid[:, :, -2]
            np.multiply(neighbours[0], weights[0], out=mean)
            for neighbour, weight in zip(neighbours[1:], weights[1:], strict=True):
                np.multiply(neighbour, weight, out=product)
                mean += product
            np.multiply(mean, share, out=product)
            residue = own - product[0]
            residue -= product[1]
            np.multiply(residue, step, out=product)
            mean += product
            np.clip(mean, 0, 1, out=current)
        out[:, channel] = current
    return out
