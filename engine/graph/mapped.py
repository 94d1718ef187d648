"""ONNX protobuf without its weights: large raw tensors are cut out of what protobuf parses and stay where they lie.

protobuf would copy every weight of a file, and hand out a further copy of each. Its wire format is walked here only as
deep as tensors lie. Each large ``raw_data`` is replaced by the place that it has in the file, in the tensor's
``segment``, which no ONNX file in use has: ``begin`` is -1 less the offset (no genuine segment begins below 0) and
``end`` the length in bytes. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

SMALLEST = 4096
"""Bytes of raw data from which on it is cut out; smaller ones are no burden to protobuf."""

PIECE = 1 << 20
"""Bytes that are read at a time where a file cannot be mapped."""

DEEPEST = 100
"""Messages within messages: protobuf refuses more."""

# Where tensors lie, by message and field number of onnx.proto. A message that is not a key is a tensor.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _FUNCTION, _TENSOR = range(6)
_CHILDREN: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH},
    _FUNCTION: {7: _NODE},
}
_RAW_DATA, _SEGMENT = 9, 3
_VARINT, _I64, _LENGTH, _I32 = 0, 1, 2, 5

Pieces = list[bytes | memoryview]


def contents(path: Path, max_bytes: int) -> memoryview:
    """The bytes of a file, mapped into memory; read once where it cannot be mapped (a pipe, a device, an empty file).

    At most ``max_bytes`` and one more are read: a device may have no end. A mapped file may be renamed, deleted or
    replaced by another meanwhile. One that is truncated in place ends the process when the missing part is read: no
    reader of mapped files can catch that.
    Raises OSError, ValueError for a name that holds a NUL, and MemoryError.
    """
    with path.open("rb") as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            buffer = bytearray()
            while len(buffer) <= max_bytes and (piece := file.read(min(PIECE, max_bytes + 1 - len(buffer)))):
                buffer += piece
            return memoryview(buffer).toreadonly()


def without_weights(content: memoryview) -> bytes:
    """The model in ``content`` with each large ``raw_data`` replaced by its place. Raises DecodeError where damaged."""
    pieces = _strip(content, 0, len(content), message=_MODEL, depth=0)
    return bytes(content) if pieces is None else b"".join(pieces)


def place(tensor: onnx.TensorProto) -> slice | None:
    """The place in the file of what was cut out of the tensor; None where nothing was."""
    start = -1 - tensor.segment.begin
    return slice(start, start + tensor.segment.end) if start >= 0 else None


def _strip(content: memoryview, start: int, stop: int, message: int, depth: int) -> Pieces | None:
    """The message in content[start:stop] without its weights, in pieces; None where it stays as it is."""
    if depth > DEEPEST:
        return None
    if message == _TENSOR:
        return _strip_tensor(content, start, stop)
    children = _CHILDREN[message]
    pieces: Pieces = []
    copied_from = start
    for number, wire, begin, value, end in _fields(content, start, stop):
        child = children.get(number)
        if child is None or wire != _LENGTH or end - value < SMALLEST:
            continue
        inner = _strip(content, value, end, message=child, depth=depth + 1)
        if inner is not None:
            length = sum(map(len, inner))
            pieces += [content[copied_from:begin], _varint(number << 3 | _LENGTH), _varint(length), *inner]
            copied_from = end
    return [*pieces, content[copied_from:stop]] if pieces else None


def _strip_tensor(content: memoryview, start: int, stop: int) -> Pieces | None:
    raw_data: tuple[int, int, int] | None = None
    for number, wire, begin, value, end in _fields(content, start, stop):
        if number == _SEGMENT or (number == _RAW_DATA and (raw_data or wire != _LENGTH)):
            return None  # a segment of its own, or raw data twice: for protobuf to judge
        if number == _RAW_DATA:
            raw_data = begin, value, end
    if raw_data is None or raw_data[2] - raw_data[1] < SMALLEST:
        return None
    begin, value, end = raw_data
    segment = onnx.TensorProto.Segment(begin=-1 - value, end=end - value).SerializeToString()
    head = _varint(_SEGMENT << 3 | _LENGTH) + _varint(len(segment))
    return [content[start:begin], head, segment, content[end:stop]]


def _fields(content: memoryview, start: int, stop: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Of each field in content[start:stop]: number, wire type, where it begins, where its value does, where it ends."""
    at = start
    while at < stop:
        tag, value = _read_varint(content, at, stop)
        wire = tag & 7
        if wire == _LENGTH:
            length, value = _read_varint(content, value, stop)
            end = value + length
        elif wire == _VARINT:
            end = _read_varint(content, value, stop)[1]
        elif wire in (_I64, _I32):
            end = value + (8 if wire == _I64 else 4)
        else:
            raise DecodeError(f"wire type {wire} at byte {at}")
        if end > stop:
            raise DecodeError(f"the field at byte {at} ends at byte {end}, behind byte {stop}")
        yield tag >> 3, wire, at, value, end
        at = end


def _read_varint(content: memoryview, at: int, stop: int) -> tuple[int, int]:
    """The number that begins at byte ``at``, and where it ends."""
    number = shift = 0
    while at < stop and shift < 70:
        byte = content[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7
    raise DecodeError(f"a number that does not end at byte {at}")


def _varint(number: int) -> bytes:
    digits = []
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])
