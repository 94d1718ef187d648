"""Weights on their way to the device.

``queue.write_buffer`` copies what it gets into memory of its own, all of which stays until the next submission has
been worked off. Here pieces go through two buffers of staging memory, one of which is filled while the other is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engine.compiled.model import Piece

STAGING_BYTES = 16 << 20
"""Of each of the two staging buffers, at the most."""

MAP_ALIGNMENT = 8
"""Bytes: writes into mapped memory begin at multiples of this."""


class Receiver(Protocol):
    """What an upload asks of a ``Device``, whose members these are."""

    handle: Any

    def guarded(self, activity: str) -> AbstractContextManager[None]: ...

    def buffer(self, nbytes: int, usage: str, label: str) -> Any: ...

    def fill(self, staging: Any, arrays: Sequence[np.ndarray]) -> None: ...

    def free(self, handles: Sequence[Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Copy:
    """``nbytes`` of ``data``, which fills up its part of the staging memory, for an offset of a buffer."""

    buffer: int
    offset: int
    nbytes: int
    data: np.ndarray


def upload(device: Receiver, buffers: Sequence[Any], pieces: Iterable[Piece]) -> None:
    """See ``Device.upload``."""
    stages: list[Any] = []
    try:
        for number, copies in enumerate(_loads(pieces)):
            if len(stages) < 2:
                nbytes = sum(copy.data.nbytes for copy in copies)  # less than the whole in the last load alone
                stages.append(device.buffer(nbytes, "MAP_WRITE|COPY_SRC", "staging of weights"))
            _send(device, stages[number % 2], buffers, copies)
    finally:
        device.free(stages)


def _send(device: Receiver, stage: Any, buffers: Sequence[Any], copies: Sequence[_Copy]) -> None:
    device.fill(stage, [copy.data for copy in copies])  # waits until what was in it has been copied
    with device.guarded("uploading"):
        encoder = device.handle.create_command_encoder()
        place = 0
        for copy in copies:
            encoder.copy_buffer_to_buffer(stage, place, buffers[copy.buffer], copy.offset, copy.nbytes)
            place += copy.data.nbytes
        device.handle.queue.submit([encoder.finish()])


def _loads(pieces: Iterable[Piece]) -> Iterator[list[_Copy]]:
    """The pieces, cut so that each list fills one staging buffer."""
    load: list[_Copy] = []
    room = STAGING_BYTES
    for piece in pieces:
        data, offset = piece.data, piece.offset
        while data.size:
            part, data = data[:room], data[room:]
            copy = _Copy(piece.buffer, offset, -(-part.size // 4) * 4, _filled_up(part))
            load.append(copy)
            offset, room = offset + copy.nbytes, room - copy.data.nbytes
            if not room:
                yield load
                load, room = [], STAGING_BYTES
    if load:
        yield load


def _filled_up(data: np.ndarray) -> np.ndarray:
    padding = -data.size % MAP_ALIGNMENT
    return np.concatenate([data, np.zeros(padding, np.uint8)]) if padding else data
