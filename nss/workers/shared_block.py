"""Arrays in memory that two processes share by a descriptor: it has no name, so that nothing of it can be left behind.

The system frees it with the last process that holds it, however that ends. `multiprocessing.shared_memory` has names,
and needs a process of its own to clear up after one that was killed.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ALIGNMENT = 64
"""Bytes at whose multiples arrays begin: a cache line."""

STEP = 1 << 20
"""Bytes by whose multiples a block grows."""

KEPT = 64 << 20
"""Bytes that a block keeps for the next photo: the 8-bit pixels of 20 megapixels."""


@dataclass(frozen=True)
class Place:
    """Where an array lies in a block: its first byte, its shape, and NumPy's name of its dtype."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class SharedBlock:
    """One side's view of the memory behind a descriptor; the two sides take turns, which their messages see to."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor``: what ``create`` made, here or in the process that this one inherited it from."""
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> SharedBlock:
        """An empty one; a child inherits it where the descriptor is passed on. Raises OSError."""
        if sys.platform == "linux":
            return cls(os.memfd_create("nss-worker", os.MFD_CLOEXEC))
        import tempfile

        with tempfile.TemporaryFile(prefix="nss-wgpu-") as file:  # which has no name any more
            return cls(os.dup(file.fileno()))

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.descriptor).st_size

    def write(self, arrays: Sequence[np.ndarray]) -> tuple[Place, ...]:
        """Copy arrays in, over what was there, and say where they lie.

        Raises:
            MemoryError: the block cannot grow so far.
        """
        import numpy as np

        places, end = [], 0
        for array in arrays:
            start = -(-end // ALIGNMENT) * ALIGNMENT
            places.append(Place(start, array.shape, array.dtype.str))
            end = start + array.nbytes
        if end > self.size:
            try:
                os.ftruncate(self.descriptor, -(-end // STEP) * STEP)
            except OSError as error:
                raise MemoryError(f"{end} bytes of shared memory") from error
        for view, array in zip(self.read(places), arrays, strict=True):
            np.copyto(view, array)
        return tuple(places)

    def read(self, places: Sequence[Place]) -> list[np.ndarray]:
        """The arrays themselves, without a copy: they hold until the next ``write`` of either side."""
        import numpy as np

        # not np.ndarray(shape, dtype, map): that does not keep the map from being closed under it
        return [
            np.frombuffer(self._mapped(), place.dtype, math.prod(place.shape), place.offset).reshape(place.shape)
            if all(place.shape)
            else np.empty(place.shape, place.dtype)  # of which no memory can be mapped
            for place in places
        ]

    def shrink(self, to: int = KEPT) -> None:
        """Give a large block's memory back, unless arrays of it are still held here; the other side must have let go.

        Memory that is cut off under a map ends the process that touches it.
        """
        if self.size > to and self.unmap():
            with suppress(OSError):
                os.ftruncate(self.descriptor, 0)

    def unmap(self) -> bool:
        """Let go of the map; whether no array is left that looks into it."""
        if self._map is not None:
            try:
                self._map.close()
            except BufferError:
                return False
            self._map = None
        return True

    def close(self) -> None:
        """Let go of descriptor and map; arrays that are still held keep their memory."""
        self.unmap()
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _mapped(self) -> mmap.mmap:
        if self._map is None or len(self._map) < self.size:
            self.unmap()
            self._map = mmap.mmap(self.descriptor, self.size)  # arrays that look into an older one keep it
        return self._map
