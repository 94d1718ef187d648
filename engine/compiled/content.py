"""The content of the constant buffers into stored units: as it is, or narrower where that was asked for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from engine.compiled.encodings import (
    ENCODINGS,
    LEAST_ELEMENTS,
    UNIT,
    UNIT_BYTES,
    Encoding,
    filled_up,
    narrow,
    narrow_units,
)
from engine.compiled.fields import HeaderError
from engine.compiled.model import CompiledModel, Piece
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
        if wanted != "raw" and _may_be_narrow(piece, start):
            content.write_constant(data, wanted)
        else:
            content.write(data.data)
            untyped |= not piece.dtype and _is_large(piece)
    content.pad(places[-1])
    sink.finish()
    if untyped and wanted != "raw" and all(segment.encoding == "raw" for segment in content.segments):
        raise UntypedError
    return StoredWeights(tuple(sink.shards), tuple(content.segments))


def _is_large(piece: Piece) -> bool:
    return piece.data.size >= 4 * LEAST_ELEMENTS


def _may_be_narrow(piece: Piece, start: int) -> bool:
    """Whether a piece that begins there is float32, and large, or a part of something large."""
    whole_numbers = piece.dtype == "float32" and piece.data.size % 4 == 0 and start % UNIT == 0
    return whole_numbers and (_is_large(piece) or piece.narrow)


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

    def write_constant(self, data: np.ndarray, encoding: Encoding) -> None:
        """Append float32 (uint8, one axis) from the beginning of a unit on, narrow where it can be. Raises OSError."""
        chosen = narrow_units(data.view("<f4"), encoding)
        edges = [0, *(np.flatnonzero(np.diff(chosen)) + 1).tolist(), chosen.size]
        for first, last in pairwise(edges):
            part = data[first * UNIT : last * UNIT]
            if chosen[first]:
                self._write_narrow(part, encoding)
            else:
                self.write(part.data)

    def _write_narrow(self, data: np.ndarray, encoding: Encoding) -> None:
        """Append units, the last of which is filled up with zeros."""
        for start in range(0, data.size, _NARROWED):
            part = filled_up(data[start : start + _NARROWED])
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
