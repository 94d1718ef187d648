"""Inputs copied into mapped memory, over a few threads, and looked at while they are in the cache.

A photo's input of 12.6 MB takes a core 1 to 2 ms to copy and as long again to look through for NaN; NumPy lets go of
the interpreter lock in both. Each thread copies a piece that fits its cache and looks at that piece.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from engine.cores import available_cores
from engine.forks import in_child

PIECE_BYTES = 1 << 18
"""Copied, and then looked at: within the second-level cache of a core."""

ALONE_BYTES = 1 << 20
"""Up to which one thread copies: waking another takes as long."""

THREADS = 4
"""That copy at the most, the caller included: more meet at the memory's own limit."""


def _threads() -> int:
    """Half of the cores at the most: on two, the other is seldom idle, and waiting for it takes longer than copying."""
    return max(1, min(THREADS, available_cores() // 2))


_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _forget() -> None:
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


in_child(_forget)


def _helpers() -> ThreadPoolExecutor | None:
    """The threads beside the caller, or None."""
    global _pool
    count = _threads() - 1
    with _pool_lock:
        if _pool is None and count > 0:
            _pool = ThreadPoolExecutor(count, "nss-copy")
        return _pool


def copy(destination: np.ndarray, source: np.ndarray) -> None:
    """Copy an array, uint8 or any type, of one axis and contiguous, into one of the same type and length."""
    _each(destination, source, None)


def copy_looking_for_nan(destination: np.ndarray | None, source: np.ndarray, *, infinite: bool) -> tuple[bool, bool]:
    """Copy floating-point numbers; whether there is a NaN among them, and whether all are finite.

    The arrays have one axis, one type and one length, and are contiguous. Infinities count only where ``infinite``
    asks for them. Without a destination the numbers are only looked at.
    """
    return _each(destination, source, infinite)


def _each(destination: np.ndarray | None, source: np.ndarray, infinite: bool | None) -> tuple[bool, bool]:
    helpers = _helpers() if source.nbytes > ALONE_BYTES else None
    if helpers is None:
        return _part(destination, source, infinite)
    count = _threads()
    bounds = [len(source) * index // count for index in range(count + 1)]
    parts = [
        (None if destination is None else destination[first:end], source[first:end], infinite)
        for first, end in itertools.pairwise(bounds)
    ]
    futures = [helpers.submit(_part, *part) for part in parts[1:]]
    try:
        results = [_part(*parts[0])]
        # what no other thread has begun is done here
        results += [
            _part(*part) if future.cancel() else future.result()
            for future, part in zip(futures, parts[1:], strict=True)
        ]
    except BaseException:
        # an interrupt: nobody writes any more when this is left
        wait(future for future in futures if not future.cancel())
        raise
    return any(nan for nan, _ in results), all(finite for _, finite in results)


def _part(destination: np.ndarray | None, source: np.ndarray, infinite: bool | None) -> tuple[bool, bool]:
    nan, finite = False, True
    step = max(1, PIECE_BYTES // source.itemsize)
    for first in range(0, len(source), step):
        piece = source[first : first + step]
        if destination is not None:
            destination[first : first + step] = piece
        if infinite is not None:
            lowest = piece.min()
            nan = nan or bool(np.isnan(lowest))
            if infinite:
                finite = finite and bool(np.isfinite(lowest) and np.isfinite(piece.max()))
    return nan, finite
