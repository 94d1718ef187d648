"""What the arrays' own functions say of themselves as tables, for whoever computes the same elsewhere."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from nss.arrays import dilation, gaussian
from nss.arrays.filters import Filter
from nss.arrays.resample import line_weights, resize


@pytest.mark.parametrize("method", get_args(Filter))
@pytest.mark.parametrize(("old", "new"), [(50, 50), (50, 7), (7, 50), (1000, 3), (331, 64), (64, 331), (1, 9), (9, 1)])
def test_weights_are_those_of_resize(method: Filter, old: int, new: int) -> None:
    first, counts, weights = line_weights(old, new, method)
    assert weights.shape == (new, counts.max())
    matrix = np.zeros((new, old))
    for line in range(new):
        assert not weights[line, counts[line] :].any()
        assert weights[line, 0]
        assert weights[line, counts[line] - 1]
        matrix[line, first[line] : first[line] + counts[line]] = weights[line, : counts[line]]
    source = np.random.default_rng(0).random((old, 3)).astype(np.float32)
    np.testing.assert_allclose(matrix @ source, resize(source, (new, 3), method), rtol=0, atol=1e-6)


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.0, 1.5, 2.3, 5.0, 9.7])
def test_points_are_those_that_dilate_looks_at(radius: float) -> None:
    points = dilation.points(radius)
    assert len(points) == len(set(points))
    assert {(-row, column) for row, column in points} == {(column, row) for row, column in points} == set(points)
    window = np.random.default_rng(0).random((31, 33)).astype(np.float32)
    result = dilation.dilate(window, radius)
    for row, column in [(15, 16), (0, 0), (30, 5), (12, 32)]:
        values = [window[row, column]]
        for down, right in points:
            y, x = row + down, column + right
            if 0 <= y <= 30 and 0 <= x <= 32:
                top, left = int(y), int(x)
                bottom, end = min(top + 1, 30), min(left + 1, 32)
                upper = window[top, left] + (window[top, end] - window[top, left]) * (x - left)
                lower = window[bottom, left] + (window[bottom, end] - window[bottom, left]) * (x - left)
                values.append(upper + (lower - upper) * (y - top))
        assert abs(max(values) - result[row, column]) < 1e-6


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.5, 100.0])
def test_half_a_kernel_is_what_blur_makes_of_one_pixel(sigma: float) -> None:
    half, reach = gaussian.half_kernel(sigma), gaussian.reach(sigma)
    assert half.dtype == np.float32
    assert len(half) == reach + 1
    line = np.zeros((1, 2 * reach + 1), np.float32)
    line[0, reach] = 1
    blurred = gaussian.blur(line, sigma)[0]
    assert (blurred[reach:] == half).all()
    assert 2 * half[1:].sum(dtype=np.float64) + half[0] == 1
