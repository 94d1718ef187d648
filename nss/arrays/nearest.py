"""For each pixel of an image, the nearest pixel of a set: the Euclidean distance transform with its indices, exact.

Meijster, Roerdink and Hesselink, A general algorithm for computing distance transforms in linear time (2000): columns
first, then the lower envelope of one parabola a column, here for all rows at once, in integers.
"""

from __future__ import annotations

import numpy as np


def nearest(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (int64 HxW each) of the member nearest to each pixel.

    Of members that are equally near the one in the lowest column is taken, then the one in the lowest row, as
    ``scipy.ndimage.distance_transform_edt`` does.

    Args:
        members: bool HxW.

    Raises:
        ValueError: there is no member.
    """
    member_columns = np.flatnonzero(members.any(axis=0))
    if not member_columns.size:
        raise ValueError("no pixel is a member, so none is the nearest")
    rows = _nearest_in_column(members[:, member_columns])
    # one line of memory for each column, since columns are gone through one by one
    squares = np.ascontiguousarray(((rows - np.arange(len(rows))[:, None]) ** 2).T)
    columns = _envelope(squares, member_columns, members.shape[1])
    index = np.searchsorted(member_columns, columns)
    return np.take_along_axis(rows, index, axis=1), columns


def _nearest_in_column(members: np.ndarray) -> np.ndarray:
    """The row of the nearest member in the same column, the upper one of two; every column holds one."""
    height = len(members)
    own = np.arange(height)[:, None]
    far = 2 * height
    above = np.maximum.accumulate(np.where(members, own, -far), axis=0)
    below = np.minimum.accumulate(np.where(members, own, far)[::-1], axis=0)[::-1]
    return np.where(own - above <= below - own, above, below)


def _envelope(squares: np.ndarray, member_columns: np.ndarray, width: int) -> np.ndarray:
    """For each pixel the column in ``member_columns`` whose parabola is lowest there, int64 HxW.

    Args:
        squares: int64 MxH, for each column in ``member_columns`` the squared distance of each row to its member.
        member_columns: int64 M, ascending.
        width: W.
    """
    count, height = squares.shape
    every = np.arange(height)
    # a stack for each row: the parabolas of the envelope so far, and the first column where each is the lowest
    stack = np.zeros((count, height), np.int64)
    start = np.zeros((count, height), np.int64)
    top = np.zeros(height, np.int64)
    for index in range(1, count):
        column, square = member_columns[index], squares[index]
        rows, level = every, top
        while rows.size:  # drop what the new parabola beats already where it starts
            at, last = start[level, rows], stack[level, rows]
            is_beaten = (at - member_columns[last]) ** 2 + squares[last, rows] > (at - column) ** 2 + square[rows]
            rows, level = rows[is_beaten], level[is_beaten] - 1
            top[rows] = level
            rows, level = rows[level >= 0], level[level >= 0]
        bottom = np.maximum(top, 0)
        last = stack[bottom, every]
        before = member_columns[last]
        first = 1 + (column**2 - before**2 + square - squares[last, every]) // (2 * (column - before))
        first[top < 0] = 0
        rows = np.flatnonzero(first < width)
        top[rows] += 1
        stack[top[rows], rows], start[top[rows], rows] = index, first[rows]
    columns = np.empty((width, height), np.int64)
    for column in range(width - 1, -1, -1):
        columns[column] = member_columns[stack[top, every]]
        top -= (start[top, every] == column) & (top > 0)
    return columns.T
