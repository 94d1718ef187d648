"""TensorProto → NumPy: every numeric tensor type, in raw, typed and external storage."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.graph import bounds, mapped
from engine.graph.dtypes import dtype_of, is_four_bit
from engine.graph.ir import TensorType
from engine.graph.nibbles import unpack

_TYPED_STORAGE: dict[int, tuple[str, type[np.generic]]] = {
    TensorProto.FLOAT: ("float_data", np.float32),
    TensorProto.DOUBLE: ("double_data", np.float64),
    TensorProto.INT64: ("int64_data", np.int64),
    TensorProto.UINT32: ("uint64_data", np.uint64),
    TensorProto.UINT64: ("uint64_data", np.uint64),
}
"""Where elements are stored that are not raw, and as what; all other types are in ``int32_data``."""


UNREADABLE = (OSError, ValueError, RuntimeError)
"""What a path raises: among them a NUL or a surrogate in a name (ValueError) and a loop of links (RuntimeError)."""


def to_array(tensor: TensorProto, base: Path | None, content: memoryview | None = None) -> np.ndarray:
    """The tensor's elements as an array of its own dtype and dims, read-only where they lie in a file.

    ``base`` is the folder of the model file, where external data lies; None for a model that came as bytes. ``content``
    is the file itself, where `engine.graph.mapped` has left large tensors; one of them may begin at any byte, and then
    its array is not aligned. Raises ModelError when the stored bytes do not make up the dims or external data is
    missing, cut short or outside ``base``.
    """
    kind = tensor_type(tensor)
    stored = stored_array(tensor, base, content)
    return unpack(stored, kind) if is_four_bit(kind.dtype) else stored


def tensor_type(tensor: TensorProto) -> TensorType:
    """The dtype and dims of the tensor. Raises UnsupportedError for a type that the engine does not hold."""
    return TensorType(dtype_of(tensor.data_type, f"tensor '{tensor.name}'"), tuple(tensor.dims))


def stored_array(tensor: TensorProto, base: Path | None, content: memoryview | None = None) -> np.ndarray:
    """What ``to_array`` gives, but 4-bit integers as they are stored: uint8 on one axis, two of them in a byte."""
    what, kind = f"tensor '{tensor.name}'", tensor_type(tensor)
    dtype, shape = kind.dtype, kind.shape
    place = None if content is None else mapped.place(tensor)
    if min(shape, default=0) < 0 or (tensor.HasField("segment") and place is None):
        raise ModelError(f"{what} has negative dims or is stored in segments; export the model again")
    bounds.check_tensor(kind, what)
    if is_four_bit(dtype):
        dtype, shape = np.dtype(np.uint8), (-(-kind.size // 2),)
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, dtype, shape, base, kind)
    if tensor.HasField("raw_data") or place is not None:
        raw = tensor.raw_data if content is None or place is None else content[place]
        if len(raw) != prod(shape) * dtype.itemsize:
            raise ModelError(f"{what} holds {len(raw)} bytes for {kind}; the file is damaged")
        return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    field, storage = _TYPED_STORAGE.get(tensor.data_type, ("int32_data", np.int32))
    elements = getattr(tensor, field)
    if len(elements) != prod(shape):
        raise ModelError(f"{what} holds {len(elements)} elements for {kind}; the file is damaged")
    wide = np.array(elements, storage).reshape(shape)
    return wide.astype(np.uint16).view(np.float16) if dtype == np.float16 else wide.astype(dtype, copy=False)


def _external(
    tensor: TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...], base: Path | None, kind: TensorType
) -> np.ndarray:
    """Map the tensor's part of its external data file into memory, read-only; messages say that it is of ``kind``."""
    # protobuf lets text that is no UTF-8 through, as bytes
    entries = {entry.key: _text(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f"external data '{location}' of tensor '{tensor.name}'"
    if base is None:
        raise ModelError(f"{what} cannot be found for a model given as bytes; pass the path of the model instead")
    nbytes = prod(shape) * dtype.itemsize
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", nbytes))
    except ValueError:
        raise ModelError(f"{what} has an offset or length that is no number") from None
    if length != nbytes or offset < 0:
        raise ModelError(f"{what} has {length} bytes at {offset} for {kind}; the file is damaged")
    try:
        path = _inside(base, location, what)
        if not path.is_file():
            raise ModelError(f"{what} is missing; put the file beside the model, in {base}")
        size = path.stat().st_size
        if offset + length > size:
            raise ModelError(f"{what} ends at byte {size}, before byte {offset + length}; fetch the file again")
        if length == 0:
            return np.zeros(shape, dtype)
        elements = np.memmap(path, dtype.newbyteorder("<"), "r", offset, shape)
    except UNREADABLE as error:
        raise ModelError(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return np.asarray(elements).astype(dtype, copy=False)


def _text(text: str | bytes) -> str:
    return text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text


def _inside(base: Path, location: str, what: str) -> Path:
    """``location`` below ``base``; ModelError when it is absolute, climbs out, or leads out through a link."""
    root = base.resolve()
    path = (root / _relative(location, what)).resolve()
    if not (path.is_relative_to(root) or any(path.parent == blobs for blobs in _blobs(root))):
        raise ModelError(f"{what} leads outside the folder of the model through a link; refused")
    return path


def _relative(location: str, what: str) -> PurePosixPath:
    """``location`` as a path that stays below the folder of the model, by what is written; else ModelError."""
    parts = PurePosixPath(location.replace("\\", "/"))
    if not location or parts.is_absolute() or PureWindowsPath(location).drive or ".." in parts.parts:
        raise ModelError(f"{what} points outside the folder of the model; refused")
    return parts


def _blobs(root: Path) -> Iterator[Path]:
    """Where links may lead from a folder in the cache of huggingface_hub, which keeps its files as links.

    ``models--<owner>--<name>/snapshots/<commit>/`` links to ``models--<owner>--<name>/blobs/``.
    """
    for folder in root.parents:
        if folder.name == "snapshots" and folder.parent.name.startswith("models--"):
            yield folder.parent / "blobs"


def data_files(graph: onnx.GraphProto) -> list[PurePosixPath]:
    """The files that hold the graph's external data, relative to the folder of the model, sorted.

    Raises ModelError for one that would lie outside of it.
    """
    files = set()
    for tensor in _tensors(graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {entry.key: _text(entry.value) for entry in tensor.external_data}
            location = entries.get("location", "")
            files.add(_relative(location, f"external data '{location}' of tensor '{tensor.name}'"))
    return sorted(files)


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for proto in node.attribute:
            yield proto.t
            yield from proto.tensors
            for inner in (proto.g, *proto.graphs):
                yield from _tensors(inner)


def attribute(proto: onnx.AttributeProto, base: Path | None, content: memoryview | None = None) -> Any:
    """The attribute as plain Python: int, float, str, tuples of them, an array for a tensor.

    ``base`` and ``content`` are as `to_array` takes them. Raises UnsupportedError for what only operators hold that the
    engine does not have, such as a graph.
    """
    kind = onnx.AttributeProto
    if proto.ref_attr_name:
        raise ModelError(f"attribute '{proto.name}' refers to a function's parameter outside of a function")
    if proto.type == kind.STRING:
        return proto.s.decode("utf-8", "replace")
    if proto.type == kind.STRINGS:
        return tuple(text.decode("utf-8", "replace") for text in proto.strings)
    if proto.type == kind.TENSOR:
        return to_array(proto.t, base, content)
    if proto.type == kind.TENSORS:
        return tuple(to_array(tensor, base, content) for tensor in proto.tensors)
    if proto.type in (kind.INT, kind.FLOAT):
        return proto.i if proto.type == kind.INT else proto.f
    if proto.type in (kind.INTS, kind.FLOATS):
        return tuple(proto.ints if proto.type == kind.INTS else proto.floats)
    held = kind.AttributeType.Name(proto.type)
    raise UnsupportedError(f"attribute '{proto.name}' holds a type the engine does not read, {held}")
