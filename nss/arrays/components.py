"""Connected parts of a binary image, without walking over pixels: rows are lists of runs, and runs unite."""

from __future__ import annotations

import numpy as np


def largest(members: np.ndarray) -> np.ndarray:
    """The part of ``members`` (bool HxW) with the most pixels, as bool HxW; of equal ones the first from the top left.

    Pixels are connected across edges, not across corners. Without members the result is empty.
    """
    height, width = members.shape
    # a column of its own, where nothing is, keeps the runs of one row from those of the next
    padded = np.zeros((height, width + 1), bool)
    padded[:, :width] = members
    flat = padded.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], changes]) if flat[0] else changes
    starts, ends = bounds[::2], bounds[1::2]
    if not starts.size:
        return np.zeros_like(members)
    part = labels(starts, ends, width + 1, reach=0)
    # a part's label is its first run, and argmax takes the first of equal ones
    sizes = np.bincount(part, ends - starts)
    chosen = part == sizes.argmax()
    marks = np.zeros(flat.size + 1, np.int8)
    marks[starts[chosen]] = 1
    marks[ends[chosen]] = -1
    return np.cumsum(marks[:-1], dtype=np.int8).reshape(height, width + 1)[:, :width] > 0


def labels(left: np.ndarray, right: np.ndarray, stride: int, reach: int) -> np.ndarray:
    """A label for each stretch of a row, equal where they hang together.

    Args:
        left: the places of their first pixels, ascending.
        right: the places after their last ones.
        stride: from one row to the next.
        reach: 1 if corners connect, 0 if only edges do.
    """
    # the stretches of the row above that each touches: from the index low up to the index high
    low = np.searchsorted(right, left - (stride + reach), side="right")
    high = np.searchsorted(left, right - (stride - reach), side="left")
    index = np.arange(left.size)
    root = _roots(np.where(low < high, low, index))
    more = np.maximum(high - low - 1, 0)
    touching = np.flatnonzero(more)
    if not touching.size:
        return root
    one = root[np.repeat(touching, more[touching])]
    other = root[ranges(low[touching] + 1, high[touching])]
    return _united(index, one, other)[root]


def _roots(parent: np.ndarray) -> np.ndarray:
    """The end of the chain that each index starts by way of ``parent``; one that is its own parent ends it."""
    while True:
        further = parent[parent]
        if np.array_equal(further, parent):
            return parent
        parent = further


def _united(label: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``label``, its own index everywhere, with the least one of all that the pairs ``one``, ``other`` tie together.

    In each round a label goes over to its least neighbour, if that is less. One that stays has taken a neighbour in, or
    that neighbour has found a lesser one, to which the first goes over in the next round: two rounds halve them.
    """
    while True:
        apart = one != other
        if not apart.any():
            return label
        one, other = one[apart], other[apart]
        np.minimum.at(label, np.maximum(one, other), np.minimum(one, other))
        label = _roots(label)
        one, other = label[one], label[other]


def ranges(first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The integers from each ``first`` to below each ``end``, one range after the other."""
    length = end - first
    before = np.cumsum(length) - length
    return np.repeat(first - before, length) + np.arange(length.sum())
