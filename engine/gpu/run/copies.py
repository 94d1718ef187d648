"""Inputs copied into mapped memory, over a few threads, and looked at while they are in the cache.

A photo's input of 12.6 MB takes a core 1 to 2 ms to copy and as long again to look through for NaN; NumPy lets go of
the interpreter lock in both. Each thread copies a piece that fits its cache and looks at that piece.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from engine.cores import available_cores
from engine.forks import in_child

PIECE_BYTES = 1 << 21
"""Copied, and then looked at: within the second-level cache of a core; with smaller ones threads meet at the lock."""

ALONE_BYTES = 1 << 20
"""Up to which one thread copies: waking another takes as long."""

ALONE_LOOKING_BYTES = 1 << 23
"""Up to which one thread looks at what is copied already."""

THREADS = 3
"""That copy at the most, the caller included: more meet at the memory's own limit, and at the interpreter's lock."""


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
    _each(destination, source)


def copy_looking_for_nan(destination: np.ndarray | None, source: np.ndarray) -> bool:
    """Copy floating-point numbers; whether there is a NaN among them.

    The arrays have one axis, one type and one length, and are contiguous. Without a destination the numbers are only
    looked at.
    """
    return not _each(destination, source, _is_no_nan)


def copy_looking_for_infinities(destination: np.ndarray | None, source: np.ndarray) -> bool:
    """The same; whether there is a NaN or an infinity among them."""
    return not _each(destination, source, _is_finite)


Look = Callable[[np.ndarray], bool]
"""Whether a piece is as it should be."""


def _is_no_nan(piece: np.ndarray) -> bool:
    return not np.isnan(piece.min())


def _is_finite(piece: np.ndarray) -> bool:
    return bool(np.isfinite(piece.min()) and np.isfinite(piece.max()))


def _each(destination: np.ndarray | None, source: np.ndarray, look: Look | None = None) -> bool:
    """Copy; whether ``look`` holds of every piece."""
    alone = ALONE_LOOKING_BYTES if destination is None else ALONE_BYTES
    helpers = _helpers() if source.nbytes > alone else None
    if helpers is None:
        return _part(destination, source, look)
    count = _threads()
    bounds = [len(source) * index // count for index in range(count + 1)]
    parts = [
        (None if destination is None else destination[first:end], source[first:end], look)
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
    return all(results)


def _part(destination: np.ndarray | None, source: np.ndarray, look: Look | None) -> bool:
    holds = True
    step = max(1, PIECE_BYTES // source.itemsize)
    for first in range(0, len(source), step):
        piece = source[first : first + step]
        if destination is not None:
            destination[first : first + step] = piece
        if look is not None:
            holds = look(piece) and holds
    return holds
