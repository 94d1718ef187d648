"""A graph as data and back: what `engine.compiled.model.NumpyPlan` holds.

The data is JSON. Values are numbered: the inputs first, then the constants, then what the nodes make, in order::

    {"name": "net",
     "inputs": [["x", "float32", [1, 3, 320, 320]], ...],
     "constants": [["w", "float32", [16, 3, 3, 3], buffer, offset], ...],
     "nodes": [{"op": "Conv", "domain": "", "version": 17, "name": "conv0",
                "inputs": [0, 4, null], "outputs": [["y", "float32", [1, 16, 320, 320]]],
                "attributes": {"group": 1, "pads": [1, 1, 1, 1]}}, ...],
     "outputs": [9]}

A value is its name, dtype and shape. That of a constant is followed by the place of its elements, which are
little-endian and gapless. An attribute stands as it is where JSON has its kind (a tuple as a list), and else as an
object that names the kind: ``{"float": "inf"}``, ``{"bytes": "00ff"}``, ``{"dtype": "int8"}``, ``{"array": constant}``
and ``{"attributes": {...}}``, those of another node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from engine.compiled.model import ALIGNMENT, Piece, Weights
from engine.errors import ModelError
from engine.graph import bounds
from engine.graph.dtypes import DTYPES, name_of
from engine.graph.ir import Graph, Node, TensorType, Value
from engine.ops.registry import infer

DEEPEST = 4
"""Lists and attributes within another: those of an activation may have lists of tensors."""

_DTYPES = {name_of(dtype): dtype for dtype in DTYPES.values()}
_NUMBERS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


class GraphConstants(Weights):
    """Arrays in one buffer of ``nbytes``, each at an offset that is a multiple of ALIGNMENT."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._arrays: dict[int, np.ndarray] = {}

    def place(self, array: np.ndarray) -> int:
        """The offset at which the array will lie."""
        offset = self.nbytes
        if array.nbytes:
            self._arrays[offset] = array
            self.nbytes += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        return offset

    def pieces(self) -> Iterator[Piece]:
        for offset, array in self._arrays.items():
            yield Piece(0, offset, _bytes_of(array), name_of(array.dtype))

    def array(self, buffer: int, offset: int, nbytes: int) -> np.ndarray:
        array = self._arrays.get(offset)
        if array is not None and array.nbytes == nbytes and buffer == 0:
            return _bytes_of(array)
        return super().array(buffer, offset, nbytes)

    def verify(self) -> None:
        """There is no file to hold to anything."""


def _bytes_of(array: np.ndarray) -> np.ndarray:
    little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8)


def dump(graph: Graph) -> tuple[dict[str, Any], GraphConstants]:
    """The graph as data, the same in each process, and its constants, each of them once.

    Raises TypeError on an attribute of a kind that no loaded graph has.
    """
    constants = GraphConstants()
    numbers = {value: number for number, value in enumerate([*graph.inputs, *graph.constants()])}
    count = len(numbers)
    places = [
        _describe_array(value.data, value.name, constants) for value in graph.constants() if value.data is not None
    ]
    nodes = []
    for node in graph.nodes:
        inputs = [None if value is None else numbers[value] for value in node.inputs]
        for value in node.outputs:
            if value is not None:
                numbers.setdefault(value, count)
                count += 1
        nodes.append(
            {
                "op": node.op,
                "domain": node.domain,
                "version": node.version,
                "name": node.name,
                "inputs": inputs,
                "outputs": [None if value is None else _describe(value) for value in node.outputs],
                "attributes": _encode_all(node.attributes, constants),
            }
        )
    data = {
        "name": graph.name,
        "inputs": [_describe(value) for value in graph.inputs],
        "constants": places,
        "nodes": nodes,
        "outputs": [numbers[value] for value in graph.outputs],
    }
    return data, constants


def _describe(value: Value) -> list[Any]:
    return [value.name, name_of(value.dtype), list(value.shape)]


def _describe_array(array: np.ndarray, name: str, constants: GraphConstants) -> list[Any]:
    return [name, name_of(array.dtype), list(array.shape), 0, constants.place(array)]


def _encode_all(attributes: Mapping[str, Any], constants: GraphConstants) -> dict[str, Any]:
    return {name: _encode(attribute, constants) for name, attribute in attributes.items()}


def _encode(attribute: Any, constants: GraphConstants) -> Any:
    if isinstance(attribute, tuple):
        return [_encode(item, constants) for item in attribute]
    if isinstance(attribute, np.ndarray):
        return {"array": _describe_array(attribute, "", constants)}
    if isinstance(attribute, np.dtype):
        return {"dtype": name_of(attribute)}
    if isinstance(attribute, dict):
        return {"attributes": _encode_all(attribute, constants)}
    if isinstance(attribute, bytes):
        return {"bytes": attribute.hex()}
    if type(attribute) is float and not isfinite(attribute):
        return {"float": str(attribute)}
    if attribute is None or type(attribute) in (bool, int, float, str):
        return attribute
    raise TypeError(f"an attribute of {type(attribute).__name__} has no form as data")


def load(data: Mapping[str, Any], buffers: Sequence[int], weights: Weights, *, trusted: bool = False) -> Graph:
    """The graph of data from anywhere; ``buffers`` are the sizes of those that ``weights`` hold, in bytes.

    Constants are read-only, and views of what the weights map. Raises ModelError where the data is no graph that
    ``dump`` could have written: each value has the type that its operator gives it, and is made before it is read. What
    this version of the engine has written itself, and is ``trusted``, is taken at its word for the types.
    TooLargeError is for what this machine has not the memory for.
    """
    return _Loader(buffers, weights, trusted=trusted).graph(data)


class _Loader:
    def __init__(self, buffers: Sequence[int], weights: Weights, *, trusted: bool) -> None:
        self.buffers, self.weights, self.trusted = buffers, weights, trusted
        self.values: list[Value] = []

    def graph(self, data: Any) -> Graph:
        what = "the graph"
        inputs = [self._value(entry, "an input") for entry in _get(data, "inputs", list, what)]
        self.values += inputs
        self.values += [self._constant(entry) for entry in _get(data, "constants", list, what)]
        nodes = [self._node(entry) for entry in _get(data, "nodes", list, what)]
        outputs = [self._read(number, "an output") for number in _get(data, "outputs", list, what)]
        return Graph(inputs, outputs, nodes, _get(data, "name", str, what))

    def _node(self, entry: Any) -> Node:
        op, name = _get(entry, "op", str, "a node"), _get(entry, "name", str, "a node")
        what = f"node {op} '{name}'"
        outputs = _get(entry, "outputs", list, what)
        node = Node(
            op=op,
            inputs=[None if n is None else self._read(n, what) for n in _get(entry, "inputs", list, what)],
            outputs=[None] * len(outputs),
            attributes=self._attributes(_get(entry, "attributes", dict, what), what),
            domain=_get(entry, "domain", str, what),
            version=_get(entry, "version", int, what),
            name=name,
        )
        if self.trusted:
            node.outputs = [self._output(entry, None, what) for entry in outputs]
            return node
        bounds.check_attributes(node)
        types = infer(node)
        if not 0 < len(outputs) <= len(types):
            raise _damaged(f"{what} has {len(outputs)} outputs")
        node.outputs = [self._output(*pair, what) for pair in zip(outputs, types, strict=False)]
        return node

    def _output(self, entry: Any, kind: TensorType | None, what: str) -> Value | None:
        if entry is None:
            return None
        value = self._value(entry, what)
        if kind is not None and value.type != kind:
            raise _damaged(f"{what}: '{value.name}' is {value.type}, and the operator gives {kind}")
        self.values.append(value)
        return value

    def _read(self, number: Any, what: str) -> Value:
        if type(number) is not int or not 0 <= number < len(self.values):
            raise _damaged(f"{what} reads value {number!r}, which nothing makes before")
        return self.values[number]

    def _value(self, entry: Any, what: str) -> Value:
        if type(entry) is not list or len(entry) != 3 or type(entry[0]) is not str:
            raise _damaged(f"{what} is not described by name, dtype and shape")
        name, dtype, shape = entry
        what = f"value '{name}'"
        if type(shape) is not list or not all(type(extent) is int for extent in shape):
            raise _damaged(f"{what} has a shape that is no list of integers")
        kind = TensorType(_dtype(dtype, what), tuple(shape))
        bounds.check_tensor(kind, what)
        return Value(name, kind)

    def _constant(self, entry: Any) -> Value:
        if type(entry) is not list or len(entry) != 5:
            raise _damaged("a constant is not described by name, dtype, shape, buffer and offset")
        value, (buffer, offset) = self._value(entry[:3], "a constant"), entry[3:]
        what, nbytes = f"constant '{value.name}'", value.type.nbytes
        if type(buffer) is not int or type(offset) is not int or offset < 0 or offset % ALIGNMENT:
            raise _damaged(f"{what} lies in buffer {buffer!r} at {offset!r}")
        content = np.zeros(0, np.uint8)
        if nbytes:
            if not 0 <= buffer < len(self.buffers) or offset + nbytes > self.buffers[buffer]:
                raise _damaged(f"{what} takes {nbytes} bytes at {offset} of buffer {buffer}, which has them not")
            content = self.weights.array(buffer, offset, nbytes)
        elements = content.view(value.dtype.newbyteorder("<")).astype(value.dtype, copy=False)
        value.data = elements.reshape(value.shape)
        value.data.flags.writeable = False
        return value

    def _attributes(self, entries: Mapping[str, Any], what: str) -> dict[str, Any]:
        return {name: self._attribute(entry, f"attribute '{name}' of {what}", 0) for name, entry in entries.items()}

    def _attribute(self, entry: Any, what: str, depth: int) -> Any:
        if depth > DEEPEST:
            raise _damaged(f"{what} is nested too deeply")
        if isinstance(entry, list):
            return tuple(self._attribute(item, what, depth + 1) for item in entry)
        if not isinstance(entry, dict):
            return entry
        ((kind, content),) = entry.items() if len(entry) == 1 else (("", None),)
        if kind == "array":
            return self._constant(content).data
        if kind == "dtype":
            return _dtype(content, what)
        if kind == "attributes" and isinstance(content, dict):
            return {name: self._attribute(item, what, depth + 1) for name, item in content.items()}
        if kind == "float" and isinstance(content, str) and content in _NUMBERS:
            return _NUMBERS[content]
        if kind == "bytes" and isinstance(content, str):
            try:
                return bytes.fromhex(content)
            except ValueError:
                pass
        raise _damaged(f"{what} is of no kind that an attribute has")


def _get(entry: Any, key: str, kind: type, what: str) -> Any:
    if not isinstance(entry, Mapping) or type(entry.get(key)) is not kind:
        raise _damaged(f"{what} has no {key} of type {kind.__name__}")
    return entry[key]


def _dtype(name: Any, what: str) -> np.dtype[Any]:
    if type(name) is not str or name not in _DTYPES:
        raise _damaged(f"{what} has dtype {name!r}, which the engine does not hold")
    return _DTYPES[name]


def _damaged(what: str) -> ModelError:
    return ModelError(f"the compiled model is damaged: {what}; compile the model again")
