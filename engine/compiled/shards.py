"""Weights in files: the constant buffers one behind the other, cut into shards that are named by their SHA-256."""

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

from engine.compiled.fields import HeaderError
from engine.compiled.header import Shard, starts
from engine.compiled.model import Piece, Weights
from engine.cores import available_cores
from engine.errors import ModelError

_ZEROS = bytes(1 << 20)


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
    """The weights of a compiled model, mapped: read when they are asked for, and not copied.

    The files may be deleted meanwhile, but not cut short or written to.
    """

    def __init__(self, folder: Path, sizes: Sequence[int], shards: Sequence[Shard]) -> None:
        """``sizes``: bytes of each constant buffer. Raises HeaderError where a file has another size, and OSError."""
        self._folder = folder
        self._sizes = sizes
        self._starts = starts(sizes)
        self._shards = shards
        self._ends = [0]
        for shard in shards:
            self._ends.append(self._ends[-1] + shard.bytes)
        if self._ends[-1] != self._starts[-1]:
            raise HeaderError(f"its shards have {self._ends[-1]:,} bytes, and its buffers {self._starts[-1]:,}")
        maps = {shard: _map(folder / shard.name, shard.bytes) for shard in dict.fromkeys(shards)}
        self._arrays = [maps[shard] for shard in shards]

    def pieces(self) -> Iterator[Piece]:
        """Each buffer, cut where a shard ends; the arrays are views of the files."""
        for buffer, size in enumerate(self._sizes):
            offset = 0
            for part in self._parts(self._starts[buffer], size):
                yield Piece(buffer, offset, part)
                offset += len(part)

    def array(self, buffer: int, offset: int, nbytes: int) -> np.ndarray:
        """As Weights has it: a view, unless a shard ends within."""
        parts = list(self._parts(self._starts[buffer] + offset, nbytes))
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

    def _parts(self, start: int, nbytes: int) -> Iterator[np.ndarray]:
        """The bytes from ``start`` on, in views that each lie in one shard."""
        stop = start + nbytes
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
    """Bytes into shards of a folder, as they come. A context: an error or an interruption closes the file."""

    def __init__(self, folder: Path, size: int) -> None:
        """``size``: bytes of each shard but the last one."""
        self._folder = folder
        self._size = size
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._room = size
        self.position = 0
        """Bytes written so far."""
        self.shards: list[Shard] = []
        """The shards that are whole."""

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes. Raises OSError."""
        rest = memoryview(data)
        while rest:
            part, rest = rest[: self._room], rest[self._room :]
            if self._file is None:
                self._file = (self._folder / "part").open("wb", buffering=0)
            left = part
            while left:
                left = left[self._file.write(left) :]
            self._hash.update(part)
            self.position += len(part)
            self._room -= len(part)
            if not self._room:
                self.finish()

    def pad(self, position: int) -> None:
        """Append zeros up to ``position``. Raises OSError."""
        while self.position < position:
            self.write(memoryview(_ZEROS)[: position - self.position])

    def finish(self) -> None:
        """End the last shard. Raises OSError."""
        if self._file is not None:
            self._file.close()
            shard = Shard(self._hash.hexdigest(), self._size - self._room)
            (self._folder / "part").replace(self._folder / shard.name)  # equal shards are one file
            self.shards.append(shard)
            self._file, self._hash, self._room = None, hashlib.sha256(), self._size
