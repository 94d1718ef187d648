"""Connected components of a binary image, by runs: rows are lists of runs, runs unite, and no loop goes over pixels."""

from __future__ import annotations

import numpy as np


def largest(members: np.ndarray) -> np.ndarray:
    """The part of ``members`` (bool HxW) with the most pixels, as bool HxW; of equal ones the first from the top left.

    Pixels are connected by 4-connectivity: across edges, not across corners. Without members the result is empty.
    """
    height, width = members.shape
    # a column of its own, where nothing is, keeps the runs of one row from those of the next
    padded_members = np.zeros((height, width + 1), bool)
    padded_members[:, :width] = members
    flat = padded_members.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], changes]) if flat[0] else changes
    starts, ends = bounds[::2], bounds[1::2]
    if not starts.size:
        return np.zeros_like(members)
    part = labels(starts, ends, width + 1, reach=0)
    # a part's label is its first run, and argmax takes the first of equal ones
    sizes = np.bincount(part, ends - starts)
    is_largest = part == sizes.argmax()
    marks = np.zeros(flat.size + 1, np.int8)
    marks[starts[is_largest]] = 1
    marks[ends[is_largest]] = -1
    return np.cumsum(marks[:-1], dtype=np.int8).reshape(height, width + 1)[:, :width] > 0


def labels(start: np.ndarray, end: np.ndarray, stride: int, reach: int) -> np.ndarray:
    """A label for each run of a row, equal where runs are connected.

    Args:
        start: the offset of the first pixel of each, ascending.
        end: the offset behind its last one: a run is the half-open range from ``start`` to ``end``.
        stride: offset from one row to the next.
        reach: 1 for 8-connectivity, 0 for 4-connectivity.
    """
    # the runs of the row above that each touches, as a half-open range of indices
    first = np.searchsorted(end, start - (stride + reach), side="right")
    stop = np.searchsorted(start, end - (stride - reach), side="left")
    index = np.arange(start.size)
    root = _roots(np.where(first < stop, first, index))
    more = np.maximum(stop - first - 1, 0)
    touching = np.flatnonzero(more)
    if not touching.size:
        return root
    one = root[np.repeat(touching, more[touching])]
    other = root[ranges(first[touching] + 1, stop[touching])]
    return _unite(index, one, other)[root]


def _roots(parent: np.ndarray) -> np.ndarray:
    """The root of each index in the forest ``parent``, in which a root is its own parent."""
    while True:
        further = parent[parent]
        if np.array_equal(further, parent):
            return parent
        parent = further


def _unite(label: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``label``, at first each one's own index, with the least index of each set that the pairs (one, other) connect.

    In each round a label takes the value of its least neighbour, if that is less. One that stays has given its value to
    a neighbour, or that neighbour has a lesser one, which the first takes in the next round: two rounds halve them.
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
    """The integers of the half-open ranges from each ``first`` to each ``end``, one range after the other."""
    length = end - first
    before = np.cumsum(length) - length
    return np.repeat(first - before, length) + np.arange(length.sum())
