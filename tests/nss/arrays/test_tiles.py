"""Tiles cover an image once, show what they promise, and change nothing by where they are cut."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from nss.arrays.tiles import in_order, map_tiles, parallel, tiles


@given(height=st.integers(1, 70), width=st.integers(1, 70), halo=st.integers(0, 40), side=st.integers(1, 33))
def test_cores_cover_once_and_windows_hold_the_halo(height: int, width: int, halo: int, side: int) -> None:
    counts = np.zeros((height, width), int)
    index = np.arange(height * width).reshape(height, width)
    for tile in tiles((height, width), halo, side):
        counts[tile.core] += 1
        assert np.array_equal(index[tile.window][tile.inner], index[tile.core])
        for core, window, end in zip(tile.core, tile.window, (height, width), strict=True):
            assert window.start == max(0, core.start - halo)
            assert window.stop == min(end, core.stop + halo)
    assert (counts == 1).all()


def box(window: np.ndarray) -> np.ndarray:
    """The mean of the 5 x 5 pixels around each, edges repeated: looks two pixels far."""
    padded = np.pad(window, 2, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).mean(axis=(2, 3), dtype=np.float64)


@pytest.mark.parametrize("side", [7, 16, 31, 256])
def test_the_result_is_that_of_the_whole(side: int) -> None:
    mask = np.zeros((60, 90), np.float32)
    mask[20:40, 30:70] = 1
    mask[25:30, 40:50] = np.random.default_rng(0).random((5, 10))
    assert np.array_equal(map_tiles(box, mask, halo=2, side=side), box(mask).astype(np.float32))


def test_constant_windows_are_passed_over() -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[40:, :] = 1
    calls: list[int] = []

    def count(window: np.ndarray, other: np.ndarray) -> np.ndarray:
        calls.append(1)
        assert window.shape == other.shape[:2]
        return window

    assert np.array_equal(map_tiles(count, mask, np.zeros((64, 64, 3), np.uint8), halo=3, side=16), mask)
    assert len(calls) == 4  # one row of tiles holds the edge, and no halo of another reaches it


def test_an_error_in_a_tile_is_raised() -> None:
    items: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise ValueError("three")
        items.append(item)

    with pytest.raises(ValueError, match="three"):
        parallel(work, range(8))
    assert 3 not in items


def test_results_come_in_order_and_not_far_ahead() -> None:
    begun: list[int] = []
    most = 2 * engine.available_cores() + 1

    def square(number: int) -> int:
        begun.append(number)
        time.sleep(0.001 * (number % 3))
        return number * number

    for number, result in enumerate(in_order(square, range(200))):
        assert result == number * number
        assert len(begun) <= number + most
    assert sorted(begun) == list(range(200))


def test_an_error_comes_in_its_turn_and_what_waits_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    results = in_order(work, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    results = in_order(work, range(1000))
    next(results)
    results.close()
    assert len(begun) < 100
