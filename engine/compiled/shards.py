"""Weights in files: the stored units one behind the other, cut into shards that are named by their SHA-256."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import IO

import numpy as np

from engine.compiled.encodings import UNIT, UNIT_BYTES, widen
from engine.compiled.fields import HeaderError
from engine.compiled.model import Piece, Weights
from engine.compiled.segments import Shard, StoredWeights, ends, starts
from engine.cores import available_cores
from engine.errors import ModelError

WIDENED = 4 << 20
"""Bytes that a piece has at the most where it is widened: a multiple of those of a unit."""


def open_file(path: Path) -> IO[bytes]:
    """A regular file, opened to be read: neither a link nor a device, nor a fifo that nobody writes to.

    Raises HeaderError for those, and OSError.
    """
    if path.is_symlink():
        raise HeaderError(f"{path.name} is a link, and links are not followed")
    # a system without these has no such files either
    flags = [getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")]
    descriptor = os.open(path, os.O_RDONLY | flags[0] | flags[1] | flags[2] | flags[3])
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HeaderError(f"{path.name} is no regular file")
    return os.fdopen(descriptor, "rb")


class MappedWeights(Weights):
    """The weights of a compiled model, mapped: read when they are asked for.

    Raw ones are not copied, and narrow ones are widened each time. The files may be deleted meanwhile, but not cut
    short or written to.
    """

    def __init__(self, folder: Path, sizes: Sequence[int], stored: StoredWeights) -> None:
        """``sizes``: bytes of each constant buffer, which ``stored.check`` has been given.

        Raises HeaderError where a file has another size than its shard, and OSError.
        """
        self._folder = folder
        self._sizes = sizes
        self._starts = starts(sizes)
        self._segments = stored.segments
        self._units = ends(segment.units for segment in stored.segments)
        self._stored = ends(segment.bytes for segment in stored.segments)
        self._shards = stored.shards
        self._ends = ends(shard.bytes for shard in stored.shards)
        maps = {shard: _map(folder / shard.name, shard.bytes) for shard in dict.fromkeys(stored.shards)}
        self._arrays = [maps[shard] for shard in stored.shards]

    def pieces(self) -> Iterator[Piece]:
        """Each buffer, cut where a segment or a shard ends: views of the files, or of float32 what was widened."""
        for buffer, size in enumerate(self._sizes):
            first = self._starts[buffer]
            for index, start, stop in self._runs(first, first + size):
                narrow = self._segments[index].encoding != "raw"
                while start < stop:
                    end = min(stop, start + WIDENED) if narrow else stop
                    offset = start - first
                    for data in self._parts(start, end):
                        yield Piece(buffer, offset, data, "float32" if narrow else "", narrow)
                        offset += len(data)
                    start = end

    def array(self, buffer: int, offset: int, nbytes: int) -> np.ndarray:
        """As Weights has it: a view, unless a shard ends within or the bytes are stored narrow."""
        start = self._starts[buffer] + offset
        parts = list(self._parts(start, start + nbytes))
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, np.uint8)])

    def verify(self) -> None:
        """Hold each file to its SHA-256, on all cores. Raises ModelError that names the folder and the file."""
        arrays = dict(zip(self._shards, self._arrays, strict=True))
        ahead = deque(arrays.items())
        whole: set[Shard] = set()
        faulty: list[Shard] = []

        def work() -> None:
            with suppress(IndexError):
                while True:
                    shard, data = ahead.popleft()
                    if hashlib.sha256(data.data).hexdigest() != shard.sha256:  # which lets go of the interpreter's lock
                        faulty.append(shard)
                        ahead.clear()
                        return
                    whole.add(shard)

        # daemons: whoever leaves meanwhile does not wait for them
        threads = [Thread(target=work, name="engine-hashes", daemon=True) for _ in range(available_cores())]
        for thread in threads[: len(arrays)]:
            thread.start()
        for thread in threads[: len(arrays)]:
            thread.join()
        # a thread that could not go on has left what it was at
        for shard in faulty or [shard for shard in arrays if shard not in whole]:
            raise damaged(self._folder, f"{shard.name} is damaged: its SHA-256 is another")

    def _runs(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """The segments, by their index, that hold these bytes of the buffers, and which of them each holds."""
        while start < stop:
            index = bisect_right(self._units, start // UNIT) - 1
            end = min(stop, self._units[index + 1] * UNIT)
            yield index, start, end
            start = end

    def _parts(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """These bytes of the buffers: views that each lie in one shard, and what each narrow segment holds of them."""
        for index, first, last in self._runs(start, stop):
            if self._segments[index].encoding == "raw":
                place = self._stored[index] - self._units[index] * UNIT
                yield from self._views(place + first, place + last)
            else:
                yield self._widened(index, first, last)

    def _widened(self, index: int, start: int, stop: int) -> np.ndarray:
        """The bytes of the buffers from ``start`` to ``stop``, which a narrow segment holds."""
        encoding = self._segments[index].encoding
        unit = UNIT_BYTES[encoding]
        first, last = start // UNIT, -(-stop // UNIT)
        place = self._stored[index] - self._units[index] * unit
        content = np.empty((last - first) * UNIT, np.uint8)
        begin = 0
        for part in self._views(place + first * unit, place + last * unit):
            end = begin + len(part) // unit * UNIT
            widen(part, encoding, content[begin:end])
            begin = end
        return content[start - first * UNIT : stop - first * UNIT]

    def _views(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The stored bytes from ``start`` to ``stop``, in views that each lie in one shard."""
        while start < stop:
            index = bisect_right(self._ends, start) - 1
            end = min(stop, self._ends[index + 1])
            yield self._arrays[index][start - self._ends[index] : end - self._ends[index]]
            start = end


def damaged(folder: Path, what: str) -> ModelError:
    """The error for a folder that holds no whole compiled model."""
    return ModelError(f"{folder}: is no compiled model that can be used: {what}; compile the model again")


def _map(path: Path, size: int) -> np.ndarray:
    with open_file(path) as file:
        held = os.fstat(file.fileno()).st_size
        if held != size:
            raise HeaderError(f"{path.name} has {held:,} bytes, not {size:,}")
        return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)


class ShardWriter:
    """Units into shards of a folder, as they come. A context: an error or an interruption closes the file."""

    def __init__(self, folder: Path, size: int) -> None:
        """``size``: bytes of each shard, at most."""
        self._folder = folder
        self._size = size
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._room = size
        self.shards: list[Shard] = []
        """The shards that are whole."""

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, data: memoryview, unit: int) -> None:
        """Append stored units of ``unit`` bytes each, none of which two shards share. Raises OSError."""
        rest = data
        while rest:
            room = self._room // unit * unit
            if not room:
                self.finish()
                continue
            part, rest = rest[:room], rest[room:]
            if self._file is None:
                self._file = (self._folder / "part").open("wb", buffering=0)
            left = part
            while left:
                left = left[self._file.write(left) :]
            self._hash.update(part)
            self._room -= len(part)
            if not self._room:
                self.finish()

    def finish(self) -> None:
        """End the last shard. Raises OSError."""
        if self._file is not None:
            self._file.close()
            shard = Shard(self._hash.hexdigest(), self._size - self._room)
            (self._folder / "part").replace(self._folder / shard.name)  # equal shards are one file
            self.shards.append(shard)
            self._file, self._hash, self._room = None, hashlib.sha256(), self._size
