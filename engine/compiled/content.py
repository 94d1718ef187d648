"""The content of the constant buffers into stored units: as it is, or narrower where that was asked for."""

from __future__ import annotations

import numpy as np

from engine.compiled.encodings import ENCODINGS, LEAST_ELEMENTS, UNIT, UNIT_BYTES, Encoding, encoding_of, narrow
from engine.compiled.fields import HeaderError
from engine.compiled.model import CompiledModel
from engine.compiled.segments import Segment, StoredWeights, starts
from engine.compiled.shards import ShardWriter

_ZEROS = bytes(1 << 20)

_NARROWED = 1 << 20
"""Bytes that are narrowed at once."""


class UntypedError(Exception):
    """Nothing could be narrowed of weights whose types nobody knows."""


def write_weights(model: CompiledModel, sink: ShardWriter, weights: str) -> StoredWeights:
    """Write the constants of a model, narrowed as ``weights`` says (a key of ENCODINGS), and say where they stand.

    Raises HeaderError where a piece is not in its place, UntypedError, and OSError.
    """
    sizes, wanted = model.plan.constant_sizes, ENCODINGS[weights]
    places = starts(sizes)
    content = ContentWriter(sink)
    untyped = False
    for piece in model.weights.pieces():
        place = f"a piece of the weights, buffer {piece.buffer} at {piece.offset}"
        if piece.buffer >= len(sizes) or piece.offset + len(piece.data) > sizes[piece.buffer]:
            raise HeaderError(f"{place}, goes beyond its buffer")
        start = places[piece.buffer] + piece.offset
        if start < content.position:
            raise HeaderError(f"{place}, is not behind the one before")
        content.pad(start)
        data = np.ascontiguousarray(piece.data)
        encoding = _encoding(data, piece.dtype, start, wanted)
        if encoding == "raw":
            content.write(data.data)
            untyped |= not piece.dtype and _is_large(data)
        else:
            content.write_narrow(data, encoding)
    content.pad(places[-1])
    sink.finish()
    if untyped and wanted != "raw" and all(segment.encoding == "raw" for segment in content.segments):
        raise UntypedError
    return StoredWeights(tuple(sink.shards), tuple(content.segments))


def _is_large(data: np.ndarray) -> bool:
    return data.size >= 4 * LEAST_ELEMENTS


def _encoding(data: np.ndarray, dtype: str, start: int, wanted: Encoding) -> Encoding:
    """How the piece at ``start`` is stored: large float32 as it is wanted, where that can hold it."""
    if wanted == "raw" or dtype != "float32" or not _is_large(data) or data.size % 4 or start % UNIT:
        return "raw"
    return encoding_of(data.view("<f4"), wanted)


class ContentWriter:
    """The content of the constant buffers, in its order, into stored units."""

    def __init__(self, sink: ShardWriter) -> None:
        self._sink = sink
        self._pending = bytearray()  # of a raw unit that is not full
        self.position = 0
        """Bytes of the buffers that are written."""
        self.segments: list[Segment] = []

    def write(self, data: memoryview) -> None:
        """Append bytes as they are. Raises OSError."""
        self.position += len(data)
        if self._pending:
            room = UNIT - len(self._pending)
            self._pending += data[:room]
            data = data[room:]
            if len(self._pending) < UNIT:
                return
            self._add(memoryview(bytes(self._pending)), "raw")
            self._pending.clear()
        whole = len(data) // UNIT * UNIT
        self._add(data[:whole], "raw")
        self._pending += data[whole:]

    def write_narrow(self, data: np.ndarray, encoding: Encoding) -> None:
        """Append float32 (uint8, one axis) from the beginning of a unit on, and zeros to the end of its last unit.

        Raises OSError.
        """
        for start in range(0, data.size, _NARROWED):
            part = data[start : start + _NARROWED]
            if part.size % UNIT:
                part = np.concatenate([part, np.zeros(-part.size % UNIT, np.uint8)])
            self._add(narrow(part, encoding).data, encoding)
            self.position += part.size

    def pad(self, position: int) -> None:
        """Append zeros up to ``position``. Raises OSError."""
        while self.position < position:
            self.write(memoryview(_ZEROS)[: position - self.position])

    def _add(self, stored: memoryview, encoding: Encoding) -> None:
        units = len(stored) // UNIT_BYTES[encoding]
        if not units:
            return
        self._sink.write(stored, UNIT_BYTES[encoding])
        if self.segments and self.segments[-1].encoding == encoding:
            units += self.segments.pop().units
        self.segments.append(Segment(encoding, units))
