"""Memory of photos that are done goes back to the system, and does not stay with the process's heap.

The GNU C library takes blocks from the heap once ones of their size were freed, up to 32 MB, and has a heap for each
thread, which keeps what lies below a block in use. The masks of sixteen photos of 12 megapixels, with ``-j 8 --memory
400M``, took 623 MiB, the program included; with this they take 307.
"""

from __future__ import annotations

import sys

MAPPED = 4 << 20
"""Bytes from which on a block is mapped for itself, and given back when it is freed."""

KEPT = 16 << 20
"""Bytes that may stay free at the end of the heap."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def return_large_blocks() -> bool:
    """From now on give large blocks back when they are freed; false where the system's allocator is another.

    It is for the whole process: only a command may do it.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, MAPPED) and mallopt(_M_TRIM_THRESHOLD, KEPT))
