"""Tiles cover an image once, show what they promise, and change nothing by where they are cut."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from nss.arrays.tiles import bands, in_order, map_tiles, parallel, tiles
from tests.nss import cores
from tests.wall_clock import wait_until


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


@pytest.mark.parametrize("number", cores.CORES)
def test_the_error_of_the_first_item_is_raised_and_no_further_one_is_begun(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores.use(number, monkeypatch)
    done: list[int] = []
    dropped = threading.Event()

    class Item:
        def __init__(self, number: int) -> None:
            self.number = number

    def items() -> Iterator[Item]:
        yield from map(Item, range(99))
        last = Item(99)
        weakref.finalize(last, dropped.set)
        yield last

    def work(item: Item) -> None:
        if item.number in (3, 4, 5):
            time.sleep(0.05 if item.number == 3 else 0)  # the others are sooner
            raise ValueError(f"item {item.number}")
        done.append(item.number)
        if item.number > 5:  # on a busy machine these would all be done before the first error is
            dropped.wait(30)
            dropped.set()  # so that a wait in vain is the only one

    with pytest.raises(ValueError, match="item 3"):
        parallel(work, items())
    assert sorted(done)[:3] == [0, 1, 2]
    assert len(done) < 3 + number


@pytest.mark.parametrize("number", cores.CORES)
def test_as_many_threads_work_as_there_are_cores(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cores.use(number, monkeypatch)
    barrier = threading.Barrier(number)
    threads: set[int] = set()

    def work(_: int) -> None:
        barrier.wait(timeout=60)  # nobody comes through before that many are at work
        threads.add(threading.get_ident())

    parallel(work, range(number))
    assert len(threads) == number
    assert threading.get_ident() in threads


def test_no_more_threads_work_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    cores.use(5, monkeypatch)
    barrier = threading.Barrier(2, timeout=60)
    threads: set[int] = set()

    def note(_: int) -> None:
        threads.add(threading.get_ident())

    def meet(item: int) -> None:
        note(item)
        barrier.wait()  # no thread does an item without another at work

    parallel(meet, range(20), most=2)
    assert len(threads) == 2
    threads.clear()
    parallel(note, range(20), most=1)
    assert threads == {threading.get_ident()}


def test_an_interrupt_is_raised_at_once_and_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cores.use(2, monkeypatch)
    caller, release, begun = threading.get_ident(), threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        if threading.get_ident() == caller:
            assert begun.wait(60)
            raise KeyboardInterrupt
        begun.set()
        assert release.wait(60)
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        parallel(work, range(9))
    release.set()
    parallel(lambda _: None, range(9))
    wait_until(lambda: done)
    assert len(done) == 1


def test_threads_that_share_the_pool_all_come_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cores.use(2, monkeypatch)
    sums = [0] * 8

    def caller(number: int) -> None:
        results: list[int] = []
        parallel(lambda item: parallel(results.append, [item, item]), range(50))
        sums[number] = sum(results)

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
    assert sums == [2 * sum(range(50))] * 8


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


@pytest.mark.parametrize("number", cores.CORES)
def test_results_in_order_within_other_work_are_of_the_thread_that_has_it(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores.use(number, monkeypatch)
    threads: list[tuple[int, ...]] = []

    def outer(_: int) -> None:
        inner = in_order(lambda _: threading.get_ident(), range(5))
        threads.append((threading.get_ident(), *inner))

    parallel(outer, range(6))
    assert [len(set(identities)) for identities in threads] == [1] * 6
    assert list(in_order(lambda item: -item, range(40))) == [-item for item in range(40)]


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
