"""Specks and pinholes of a mask: connected areas below a size are dropped or filled, and their soft rims with them.

Grey-level area opening and closing (L. Vincent, "Morphological area openings and closings for grey-scale images",
1992): what is cut at a threshold leaves the rims below it behind, so each of several levels is cut, and a pixel is
judged at all those that it reaches.

No loop goes over pixels. A row is a list of runs, a level's runs are a selection of the mask's, and a run takes the
label of the first one that it touches in the row above; only the few places where parts meet are left to unite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nss.arrays.components import labels, ranges
from nss.arrays.tiles import parallel

# Powers of two near black, where a step must be small beside the haze that it stands on; sixteenths above. The first is
# the last that 8 bits show as black (0.498 / 255). None lies above a half: what stands on more than that is foreground.
LEVELS = np.array([2**-9, 2**-7, 2**-6, 2**-5, *(k / 16 for k in range(1, 9))], np.float32)

# Pixels of a band: with its copies it stays in a core's cache.
_BAND = 1 << 18


def drop_islands(mask: np.ndarray, area: float) -> np.ndarray:
    """The mask without islands of fewer than ``area`` pixels.

    At each of ``LEVELS`` the islands are the components of {mask >= level} by 8-connectivity; one at the image's
    border has the area that the image shows. A pixel stays what it is, to the bit, unless it lies in an island; then
    it is lowered to the lowest level whose island it lies in, and to 0 if that is the first. What stands on glass or
    haze so falls to less than a step above it.

    Args:
        mask: float32 HxW in 0..1.
        area: in square pixels; 0 drops nothing.

    Returns:
        float32 HxW in 0..1, nowhere higher than ``mask``; ``mask`` itself where nothing is dropped.
    """
    return _without_small(mask, area, holes=False)


def fill_holes(mask: np.ndarray, area: float) -> np.ndarray:
    """The mask without holes of fewer than ``area`` pixels.

    The mirror image of ``drop_islands``, on 1 - mask, with two differences that keep what is seen through the subject:
    holes are connected by 4-connectivity, so that a line that touches at corners closes one off, as it does to the
    eye; and an area that reaches the image's border is background, however small, since its end is not seen.

    Args:
        mask: float32 HxW in 0..1.
        area: in square pixels; 0 fills nothing.

    Returns:
        float32 HxW in 0..1, nowhere lower than ``mask``; ``mask`` itself where nothing is filled.
    """
    return _without_small(mask, area, holes=True)


@dataclass(frozen=True)
class _Runs:
    """Runs of a row whose pixels reach the same level.

    Offsets count along the rows of a mask that is one column wider: that column, at no level, keeps rows apart.

    Attributes:
        start: the offset where each begins, ascending, and the end of the whole.
        level: uint8, how many of the levels each reaches.
        stride: the offset from one row to the next: the mask's width plus one.
    """

    start: np.ndarray
    level: np.ndarray
    stride: int

    def reaching(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """The half-open ranges of runs that reach ``level``: the indices of their first runs, and of their ends."""
        reaches = np.zeros(self.level.size + 2, bool)
        np.greater_equal(self.level, level, out=reaches[1:-1])
        ends = np.flatnonzero(reaches[1:] != reaches[:-1])
        return ends[::2], ends[1::2]


def _without_small(mask: np.ndarray, area: float, *, holes: bool) -> np.ndarray:
    if area <= 1 or not mask.size:  # no part has less than one pixel
        return mask
    runs = _encode(mask, holes)
    limit = np.full(runs.level.size, LEVELS.size, np.uint8)
    # one level after the other: its steps are too short for threads to pay
    for index in reversed(range(LEVELS.size)):
        first, end = runs.reaching(index + 1)
        small = _small(runs, first, end, area=area, holes=holes)
        limit[ranges(first[small], end[small])] = index
    return _apply_limits(mask, runs, limit, holes) if (limit < LEVELS.size).any() else mask


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _BAND // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _encode(mask: np.ndarray, holes: bool) -> _Runs:
    height, width = mask.shape
    stride = width + 1
    parts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    offset_type = np.int32 if height * stride < 2**31 else np.int64

    def encode(rows: slice) -> None:
        values = 1 - mask[rows] if holes else mask[rows]
        level = np.zeros((values.shape[0], stride), np.uint8)
        inside = level[:, :width]
        for threshold in LEVELS:
            inside += values >= threshold
        flat = level.ravel()
        start = np.flatnonzero(flat[1:] != flat[:-1])
        start += 1
        start = np.concatenate(([0], start))
        parts[rows.start] = (start + rows.start * stride).astype(offset_type), flat[start]

    parallel(encode, _bands(height, width))
    bands = [parts[top] for top in sorted(parts)]
    starts = [start for start, _ in bands]
    return _Runs(
        np.concatenate([*starts, np.array([height * stride], offset_type)]),
        np.concatenate([level for _, level in bands]),
        stride,
    )


def _small(runs: _Runs, first: np.ndarray, end: np.ndarray, *, area: float, holes: bool) -> np.ndarray:
    """Which of the ranges of runs from ``first`` to ``end`` belong to a component of fewer than ``area`` pixels."""
    starts, ends = runs.start[first].astype(np.int64), runs.start[end].astype(np.int64)
    length = (ends - starts).astype(np.float64)
    if holes:
        height = runs.start[-1] // runs.stride
        outer = (starts < runs.stride) | (starts >= (height - 1) * runs.stride)
        outer |= (starts % runs.stride == 0) | (ends % runs.stride == runs.stride - 1)
        length[outer] = np.inf
    label = labels(starts, ends, runs.stride, reach=0 if holes else 1)
    return np.bincount(label, length)[label] < area


def _apply_limits(mask: np.ndarray, runs: _Runs, limit: np.ndarray, holes: bool) -> np.ndarray:
    """The mask, in each run no higher than the level that ``limit`` names; for holes, no lower than its mirror."""
    height, width = mask.shape
    highest = np.concatenate(([0], LEVELS[1:])).astype(np.float32)
    bounds, apply = (1 - highest, np.maximum) if holes else (highest, np.minimum)
    out = np.empty(mask.shape, np.float32)

    def bound(rows: slice) -> None:
        begin = rows.start * runs.stride
        band = out[rows]
        band[:] = mask[rows]
        among = slice(*np.searchsorted(runs.start, (begin, rows.stop * runs.stride)))
        above_limit = among.start + np.flatnonzero(limit[among] < LEVELS.size)
        first, end = runs.start[above_limit], runs.start[above_limit + 1]
        offsets = ranges(first, end) - begin
        offsets -= offsets // runs.stride  # one less for each row that it comes after
        flat = band.reshape(-1)
        flat[offsets] = apply(flat[offsets], np.repeat(bounds[limit[above_limit]], end - first))

    parallel(bound, _bands(height, width))
    return out
