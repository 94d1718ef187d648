"""Work on a mask tile by tile, over every core, and only where there is something to do.

Most of a mask is 0 or 1 without a break. What refines its edges costs as much as the edges are long, not as much as the
photo is large, if tiles without an edge are passed over; and a tile with its scratch stays in a core's cache.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

import engine

TILE = 256

_threads: int | None = None

BAND = 1 << 16
"""Pixels of a band of rows: with its copies, float32 among them, it stays in a core's cache."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Area = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """A part of an image, and the window that is read to compute it.

    Attributes:
        core: the rows and columns to compute.
        window: ``core`` and a halo around it, as far as the image goes.
        inner: ``core`` within ``window``.
    """

    core: Area
    window: Area
    inner: Area


def limit_threads(count: int | None) -> None:
    """Let the process have at most ``count`` threads for tiles; with 1 the caller's own, None: one for each core.

    For one of many processes that work at the same time. To be called before any work is done.
    """
    global _threads
    _threads = count
    _pool.cache_clear()


def tiles(size: tuple[int, int], halo: int = 0, side: int = TILE) -> Iterator[Tile]:
    """Tiles of at most ``side`` pixels that cover an image of ``size`` = (height, width), from the top left."""
    height, width = size
    for top in range(0, height, side):
        rows, window_rows, inner_rows = _spans(top, side, halo, height)
        for left in range(0, width, side):
            columns, window_columns, inner_columns = _spans(left, side, halo, width)
            yield Tile((rows, columns), (window_rows, window_columns), (inner_rows, inner_columns))


def _spans(first: int, side: int, halo: int, end: int) -> tuple[slice, slice, slice]:
    last = min(first + side, end)
    window_start = max(0, first - halo)
    return (
        slice(first, last),
        slice(window_start, min(last + halo, end)),
        slice(first - window_start, last - window_start),
    )


def map_tiles(
    function: Callable[..., np.ndarray], mask: np.ndarray, *others: np.ndarray, halo: int, side: int = TILE
) -> np.ndarray:
    """``function`` of the windows of ``mask`` and of ``others``, computed where ``mask`` varies.

    Args:
        function: takes the windows and gives an array of the first one's size; what it gives within ``halo`` pixels of
            an edge of the window that is no edge of the image is dropped. It must map a constant mask to itself.
        mask: float32 HxW.
        others: arrays of HxW or HxWxC that are cut alike.
        halo: how far the function looks, in pixels.
        side: the side of a tile in pixels.

    Returns:
        float32 HxW; where a window is constant, the mask itself. It does not depend on ``side``.
    """
    out = np.empty_like(mask)

    def work(tile: Tile) -> None:
        window = mask[tile.window]
        first = window[0, 0]
        if (window == first).all():
            out[tile.core] = first
        else:
            out[tile.core] = function(window, *(array[tile.window] for array in others))[tile.inner]

    parallel(work, tiles((mask.shape[0], mask.shape[1]), halo, side))
    return out


def bands(size: tuple[int, ...], pixels: int = BAND) -> Iterator[slice]:
    """Rows, from the top, of an image of ``size`` = (height, width, ...), so many that they have about ``pixels``."""
    height, width = size[:2]
    rows = max(1, pixels // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def parallel(work: Callable[[Item], object], items: Iterable[Item], *, most: int | None = None) -> None:
    """Call ``work`` once for each item, on every core, the calling thread's too; in any order, begun in theirs.

    The other threads are shared by the process. Within ``work`` a thread does all items of a further call itself.

    ``most`` threads are at work at a time, where each holds much memory.

    Raises the error of the first item that has one; what has not begun by then is not done. An interrupt is raised at
    once, while others may still be at the item that they have.
    """
    queue = deque(enumerate(items))
    others = _pool(os.getpid()) if len(queue) > 1 and not _thread.is_at_work else None
    errors: list[tuple[int, BaseException]] = []

    def drain() -> None:
        with _thread.at_work():
            while True:
                try:
                    index, item = queue.popleft()
                except IndexError:
                    return
                try:
                    work(item)
                except BaseException as error:
                    queue.clear()
                    errors.append((index, error))
                    if not isinstance(error, Exception):
                        raise
                    return

    count = min(others.threads, len(queue) - 1, (most or len(queue)) - 1) if others else 0
    helpers = [others.submit(drain) for _ in range(count)] if others else []
    try:
        drain()
        for helper in helpers:
            if not helper.cancel():  # one that has not begun would find nothing to do
                helper.exception()
    finally:
        queue.clear()
    if errors:
        raise min(errors, key=lambda error: error[0])[1]


class _Thread(threading.local):
    """Whether this thread is within ``work``."""

    is_at_work = False

    @contextmanager
    def at_work(self) -> Iterator[None]:
        before, self.is_at_work = self.is_at_work, True
        try:
            yield
        finally:
            self.is_at_work = before


_thread = _Thread()


class Others(ThreadPoolExecutor):
    """The threads that share out work with the one that has it."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, "nss-tiles")
        self.threads = threads


def in_order(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What ``work`` gives for each item, on every core, in the order of the items; raises the first error.

    At most two results a core are ahead of the one that is taken, so that results need not fit into memory together.
    The calling thread does the one that is taken where no other has begun with it, and all within ``work``.
    """
    others = None if _thread.is_at_work else _pool(os.getpid())
    if others is None:
        yield from map(work, items)
        return
    ahead: deque[tuple[Future[Result], Item]] = deque()

    def do(item: Item) -> Result:
        with _thread.at_work():
            return work(item)

    def first() -> Result:
        future, item = ahead.popleft()
        return do(item) if future.cancel() else future.result()

    try:
        for item in items:
            ahead.append((others.submit(do, item), item))
            if len(ahead) > 2 * (others.threads + 1):
                yield first()
        while ahead:
            yield first()
    finally:
        for future, _ in ahead:
            future.cancel()


@lru_cache(maxsize=1)
def _pool(process: int) -> Others | None:  # noqa: ARG001 (a forked child has none of its parent's threads)
    others = (_threads or engine.available_cores()) - 1
    return Others(others) if others else None
