"""A graph comes back from data as it was, the data is the same everywhere, and nothing damaged is let in."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from engine.compiled.model import ALIGNMENT, Piece, Weights
from engine.cpu import graph_data
from engine.cpu.executor import NumpyExecutor
from engine.errors import EngineError, ModelError, TooLargeError
from engine.graph.dtypes import DTYPES
from engine.graph.ir import Graph, Node, TensorType, Value
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.models import U2NETP, execute, feeds, model, node, with_image_side
from tests.project import ROOT
from tools.make_birefnet import make_birefnet
from tools.quantize_model import quantize

BLOCK = 99_999
"""Bytes of the parts that stored constants come in, so that most lie in more than one."""


class StoredWeights(Weights):
    """What another weights' pieces put into one buffer, in blocks of bytes."""

    def __init__(self, weights: Weights, nbytes: int) -> None:
        self.content = np.zeros(nbytes, np.uint8)
        for piece in weights.pieces():
            self.content[piece.offset : piece.offset + len(piece.data)] = piece.data

    def pieces(self) -> Iterator[Piece]:
        for offset in range(0, len(self.content), BLOCK):
            yield Piece(0, offset, self.content[offset : offset + BLOCK])


def stored(graph: Graph) -> tuple[dict[str, Any], list[int], Weights]:
    """A graph's data after a way through JSON, the sizes of its buffers, and its constants after one through bytes."""
    data, constants = graph_data.dump(graph)
    text = json.dumps(data, allow_nan=False, sort_keys=True)
    return json.loads(text), [constants.nbytes], StoredWeights(constants, constants.nbytes)


def outputs(graph: Graph) -> list[np.ndarray]:
    executor = NumpyExecutor(graph, 1)
    try:
        return executor.run(feeds(graph))
    finally:
        executor.close()


def u2netp() -> Graph:
    return load(with_image_side(U2NETP, 96), outputs="all")


def birefnet(form: str) -> Graph:
    shapes = {"pixel_values": (1, 3, 128, 128)}
    return load(make_birefnet("tiny", form).SerializeToString(), input_shapes=shapes)


def quantized() -> Graph:
    return load(quantize(make_birefnet("tiny", "opset20"), "int8").SerializeToString())


NETWORKS: dict[str, Callable[[], Graph]] = {
    "u2netp": u2netp,
    "birefnet opset14": lambda: birefnet("opset14"),
    "birefnet opset20": lambda: birefnet("opset20"),
    "birefnet int8": quantized,
}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_comes_back_gives_the_same_bits(network: str) -> None:
    graph = NETWORKS[network]()
    optimize(graph)
    result = graph_data.load(*stored(graph))
    assert result.histogram() == graph.histogram()
    for loaded, original in zip(outputs(result), outputs(graph), strict=True):
        assert loaded.dtype == original.dtype
        np.testing.assert_array_equal(loaded, original)


def same(a: Any, b: Any) -> bool:
    """Whether two attributes are of one kind and have one value; a NaN equals itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and (a == b).all())
    return bool(repr(a) == repr(b))


def test_attributes_of_every_kind_come_back() -> None:
    attributes = {
        "integer": -(2**63),
        "float": 0.1,
        "negative zero": -0.0,
        "infinite": (inf, -inf, nan),
        "text": 'é"\n',
        "bytes": b"\x00\xff",
        "flags": (True, None),
        "integers": (1, 2),
        "none": (),
        "strings": ("a", "b"),
        "array": np.arange(6, dtype=np.int8).reshape(2, 3).T,
        "scalar": np.array(True),
        "dtype": np.dtype(np.float16),
        "of an activation": {"min": -inf, "weights": (np.zeros((0, 2)), np.ones(3, np.float16))},
    }
    kind = TensorType(np.dtype(np.float32), (2,))
    x, y = Value("x", kind), Value("y", kind)
    graph = Graph([x], [y], [Node("Relu", [x], [y], attributes, "", 17, "r")], "net")
    result = graph_data.load(*stored(graph))
    assert same(result.nodes[0].attributes, attributes)
    (relu,) = result.nodes
    assert (relu.op, relu.domain, relu.version, relu.name, result.name) == ("Relu", "", 17, "r", "net")


def test_an_attribute_without_a_form_is_refused() -> None:
    graph = Graph([], [], [Node("Relu", [], [], {"a": {1}})])
    with pytest.raises(TypeError, match="an attribute of set"):
        graph_data.dump(graph)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_constants_of_every_dtype_come_back(dtype: np.dtype[Any]) -> None:
    arrays = [np.arange(6).reshape(2, 3).astype(dtype).T, np.array(1, dtype), np.zeros((0, 4), dtype)]
    constants = [Value.constant(f"c{index}", array) for index, array in enumerate(arrays)]
    result = graph_data.load(*stored(Graph([], [*constants, constants[0]], [])))
    assert result.outputs[3] is result.outputs[0]
    for value, array in zip(result.outputs, arrays, strict=False):
        assert value.data is not None
        assert (value.data.dtype, value.data.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(value.data, array)
        assert not value.data.flags.writeable
        assert value.data.flags.aligned


def test_a_shared_constant_is_stored_once_and_each_is_aligned() -> None:
    x = Value("x", TensorType(np.dtype(np.float32), (100,)))
    w = Value.constant("w", np.ones(100, np.float32))
    sums = [Value(name, x.type) for name in "ab"]
    graph = Graph(
        [x], [*sums, Value.constant("v", np.ones(3, np.float32))], [Node("Add", [x, w], [y], version=17) for y in sums]
    )
    data, constants = graph_data.dump(graph)
    places = [(name, offset) for name, _, _, _, offset in data["constants"]]
    assert places == [("w", 0), ("v", 2 * ALIGNMENT)]
    assert [piece.offset for piece in constants.pieces()] == [0, 2 * ALIGNMENT]
    result = graph_data.load(data, [constants.nbytes], constants)
    assert result.nodes[0].inputs[1] is result.nodes[1].inputs[1]


def digest() -> str:
    """The hash of a network's data and constants."""
    graph = birefnet("opset20")
    optimize(graph)
    data, constants = graph_data.dump(graph)
    content = hashlib.sha256(json.dumps(data).encode())
    for piece in constants.pieces():
        content.update(f"{piece.offset}".encode() + piece.data.tobytes())
    return content.hexdigest()


def test_two_processes_make_the_same_bytes() -> None:
    script = f"from {__name__} import digest; print(digest())"
    seeds = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0].strip() for process in seeds)
    assert len(first) == 64
    assert first == second


def small() -> Graph:
    """A graph with an attribute of each kind that networks have, an omitted input, and two outputs of one node."""
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1], name="conv"),
        node("Clip", "c low -", "r"),
        node("Resize", "r - scales", "s", mode="linear"),
        node("Split", "s", "a b", axis=1, num_outputs=2),
        node("Concat", "b a", "y", axis=1),
    ]
    constants = {
        "w": np.ones((4, 3, 3, 3), np.float32),
        "low": np.float32(0),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    graph = load(model(nodes, {"x": [1, 3, 5, 5]}, "y", constants, opset=18).SerializeToString())
    optimize(graph)
    return graph


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in the data."""
    if path:
        yield path
    if isinstance(data, dict | list):
        for key, item in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(item, (*path, key))


def edited(data: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The data with another value at a path."""
    result = place = copy.deepcopy(data)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


JUNK = (None, True, -1, 0, 3, 2**31, 2**70, 0.5, "", "Relu", "float64", [], [2], [[[[[[1]]]]]], {}, {"float": []})


def test_no_edit_gets_further_than_one_line() -> None:
    """Each part of the data in turn becomes something else: it is refused, or it is a graph that can be run."""
    data, sizes, weights = stored(small())
    refusals = []
    for path in leaves(data):
        for junk in JUNK:
            try:
                outputs(graph_data.load(edited(data, path, junk), sizes, weights))
            except EngineError as error:
                refusals.append(str(error))
    assert len(refusals) > 1000
    assert not any("\n" in refusal for refusal in refusals)


def with_node(data: dict[str, Any], index: int, **fields: Any) -> dict[str, Any]:
    return edited(data, ("nodes", index), {**data["nodes"][index], **fields})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: edited(d, ("constants", 0, 1), "complex64"), "constant 'w'|value 'w' has dtype 'complex64'"),
        (lambda d: edited(d, ("constants", 0, 2), [1 << 20, 3, 3, 3]), "takes 113246208 bytes at 0 of buffer 0"),
        (lambda d: edited(d, ("constants", 0, 2), [4, 3, -3, -3]), "negative extent"),
        (lambda d: edited(d, ("constants", 0, 3), 1), "of buffer 1, which has them not"),
        (lambda d: edited(d, ("constants", 0, 4), 1 << 40), "at 1099511627776 of buffer 0"),
        (lambda d: edited(d, ("constants", 0, 4), 4), "lies in buffer 0 at 4"),
        (lambda d: edited(d, ("constants", 0, 4), -256), "lies in buffer 0 at -256"),
        (lambda d: edited(d, ("inputs", 0, 2), [1, 3, 1 << 60, 5]), "more than any machine can address"),
        (lambda d: edited(d, ("inputs", 0, 2), [1] * 40), "40 axes"),
        (lambda d: edited(d, ("outputs", 0), 99), "an output reads value 99, which nothing makes before"),
        (lambda d: with_node(d, 0, inputs=[9, 1]), "node FusedConv 'conv' reads value 9, which nothing makes before"),
        (lambda d: with_node(d, 0, op="Convolution"), "no such operator"),
        (lambda d: with_node(d, 0, outputs=[["c", "float32", [1, 4, 6, 5]]]), r"'c' is float32\[1,4,6,5\], and the"),
        (lambda d: with_node(d, 0, outputs=[["c", "float16", [1, 4, 5, 5]]]), "'c' is float16"),
        (lambda d: with_node(d, 0, outputs=[]), "has 0 outputs"),
        (lambda d: with_node(d, 0, version="17"), "has no version of type int"),
        (lambda d: with_node(d, 0, attributes={"pads": [1 << 30] * 4}), "beyond 1,048,576 positions"),
        (lambda d: with_node(d, 0, attributes={"pads": {"array": ["", "int8", [9999], 0, 0]}}), "takes 9999 bytes"),
        (lambda d: {**d, "nodes": d["nodes"][::-1]}, "which nothing makes before"),
        (lambda d: {key: value for key, value in d.items() if key != "outputs"}, "has no outputs of type list"),
    ],
)
def test_damage_is_named(edit: Callable[[dict[str, Any]], dict[str, Any]], message: str) -> None:
    data, sizes, weights = stored(small())
    with pytest.raises(ModelError, match=message):
        graph_data.load(edit(data), sizes, weights)


def test_a_tensor_beyond_the_memory_is_too_large() -> None:
    data, sizes, weights = stored(small())
    with pytest.raises(TooLargeError, match="value 'x'"):
        graph_data.load(edited(data, ("inputs", 0, 2), [1, 3, 1 << 20, 1 << 20]), sizes, weights)


def test_what_is_trusted_is_taken_at_its_word_for_types(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = load(with_image_side(U2NETP, 64))
    data, constants = graph_data.dump(graph)
    inputs = feeds(graph)
    monkeypatch.setattr(graph_data, "infer", lambda node: pytest.fail(f"{node.label}: its types are inferred again"))
    again = graph_data.load(data, [constants.nbytes], constants, trusted=True)
    monkeypatch.undo()
    for result, expected in zip(execute(again, inputs), execute(graph, inputs), strict=True):
        np.testing.assert_array_equal(result, expected)
