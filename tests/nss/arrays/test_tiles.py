"""Tiles cover an image once, show what they promise, and change nothing by where they are cut."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nss.arrays.tiles import bands, map_tiles, parallel, tiles
from tests.nss import cores


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


@pytest.mark.parametrize("number", cores.CORES)
def test_work_within_work_is_done_by_the_thread_that_has_it(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cores.use(number, monkeypatch)
    done: list[tuple[int, int, bool]] = []

    def outer(item: int) -> None:
        thread = threading.get_ident()
        parallel(lambda inner: done.append((item, inner, threading.get_ident() == thread)), range(3))

    parallel(outer, range(8))
    assert sorted(done) == [(item, inner, True) for item in range(8) for inner in range(3)]


def test_an_error_within_work_is_raised() -> None:
    def outer(item: int) -> None:
        parallel(lambda inner: 1 // (inner - 1), range(item))

    with pytest.raises(ZeroDivisionError):
        parallel(outer, range(3))


def test_one_item_needs_no_other_thread() -> None:
    threads: list[int] = []
    parallel(lambda _: threads.append(threading.get_ident()), [1])
    assert threads == [threading.get_ident()]


@given(height=st.integers(1, 70), width=st.integers(1, 70), pixels=st.integers(1, 900))
def test_bands_cover_once_from_the_top(height: int, width: int, pixels: int) -> None:
    rows = list(bands((height, width), pixels))
    assert [row for span in rows for row in range(span.start, span.stop)] == list(range(height))
    assert all((span.stop - span.start) * width <= max(pixels, width) for span in rows)
