"""A model compiled for NumPy opens without its file, without onnx, and without reading what no kernel transforms."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from engine.compiled.model import CompiledModel, GraphCounts, ModelOrigin, NumpyPlan, Piece, Weights
from engine.cpu import executor as executor_module
from engine.cpu.compiled import compile_numpy, open_numpy
from engine.cpu.executor import NumpyExecutor
from engine.errors import ModelError
from engine.graph.ir import Graph
from engine.graph.load import load
from engine.graph.passes import optimize
from engine.session import Session
from tests.engine.models import U2NETP, feeds, load_graph, model, node, with_image_side
from tests.project import output_of

COUNTS = GraphCounts(in_file=3, loaded=2, planned=1)


def compiled(graph: Graph, **options: Any) -> CompiledModel:
    optimize(graph)
    return compile_numpy(graph, counts=COUNTS, **options)


def products() -> Graph:
    """Two products by one matrix, large enough that a kernel does not copy it for nothing."""
    nodes = [node("MatMul", "x w", "a"), node("Relu", "a", "r"), node("MatMul", "r w", "s"), node("Identity", "s", "y")]
    return load_graph(model(nodes, {"x": [2, 16]}, "y", {"w": np.eye(16, dtype=np.float32)}))


def run(model: CompiledModel, inputs: list[np.ndarray]) -> list[np.ndarray]:
    executor = open_numpy(model, 1)
    try:
        return executor.run(inputs)
    finally:
        executor.close()


def test_it_says_what_goes_in_and_comes_out() -> None:
    graph = products()
    (output,) = graph.outputs
    model = compiled(graph, outputs=[output], metadata={"a": 1})
    assert (model.backend, model.precision, model.counts, model.metadata) == ("numpy", "f32", COUNTS, {"a": 1})
    assert model.origin == ModelOrigin(name="test")
    assert [(place.name, place.dtype, place.shape) for place in model.inputs] == [("x", "float32", (2, 16))]
    # the pass that drops the Identity leaves another value in the output's place
    assert graph.outputs[0].name == "s"
    assert [(place.name, place.dtype, place.shape) for place in model.outputs] == [("y", "float32", (2, 16))]
    (x,) = feeds(graph)
    np.testing.assert_array_equal(run(model, [x])[0], np.maximum(x, 0))


def test_float16_inputs_and_outputs_keep_their_type() -> None:
    graph = load_graph(model([node("Relu", "x", "y")], {"x": (np.float16, [3])}, "y"))
    relu = compiled(graph)
    assert [place.dtype for place in (*relu.inputs, *relu.outputs)] == ["float16", "float16"]
    assert run(relu, [np.array([-1, 0, 2], np.float16)])[0].dtype == np.float16


class Stored(Weights):
    """Weights in memory that a test can change behind the kernels' backs."""

    def __init__(self, model: CompiledModel) -> None:
        assert isinstance(model.plan, NumpyPlan)
        self.content = np.zeros(model.plan.buffers[0], np.uint8)
        for piece in model.weights.pieces():
            self.content[piece.offset : piece.offset + len(piece.data)] = piece.data

    def pieces(self) -> Iterator[Piece]:
        yield Piece(0, 0, self.content)

    def array(self, buffer: int, offset: int, nbytes: int) -> np.ndarray:
        assert buffer == 0
        return self.content[offset : offset + nbytes]


def test_products_read_their_weights_where_they_are_mapped() -> None:
    model = compiled(products())
    weights = Stored(model)
    executor = open_numpy(replace(model, weights=weights), 1)
    x = np.ones((2, 16), np.float32)
    np.testing.assert_array_equal(executor.run([x])[0], x)
    weights.content.view(np.float32)[:] *= 2
    np.testing.assert_array_equal(executor.run([x])[0], 4 * x)
    executor.close()


@pytest.mark.parametrize("extreme", [False, True])
def test_weights_are_not_searched_for_extremes_again(extreme: bool) -> None:
    w = np.random.default_rng(0).standard_normal((32, 32, 3, 3)).astype(np.float32)
    if extreme:
        w[0, 0, 0, 0] = 1e30
    graph = load_graph(model([node("Conv", "x w", "y", pads=[1] * 4)], {"x": [1, 32, 33, 33]}, "y", {"w": w}))
    conv, inputs = compiled(graph), feeds(graph)
    (expected,) = NumpyExecutor(graph, 1).run(inputs)
    with mock.patch.object(executor_module, "needs_direct", side_effect=AssertionError):
        (result,) = run(conv, inputs)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "webgpu", "plan": None}, "compiled for webgpu; compile it for numpy"),
        ({"inputs": ()}, "its inputs or outputs are not the graph's"),
    ],
)
def test_a_model_for_something_else_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_numpy(replace(compiled(products()), **change))


@pytest.mark.parametrize("direct", [None, 1, "no"])
def test_a_plan_must_say_whether_it_is_direct(direct: Any) -> None:
    model = compiled(products())
    assert isinstance(model.plan, NumpyPlan)
    plan = replace(model.plan, graph={**model.plan.graph, "direct": direct})
    with pytest.raises(ModelError, match="damaged"):
        open_numpy(replace(model, plan=plan))


OPEN = """
import pickle, sys
import numpy as np
from engine.cpu.compiled import open_numpy

with open("model", "rb") as file:
    executor = open_numpy(pickle.load(file), 1)
np.save("y.npy", executor.run([np.load("x.npy")])[0])
unused = ("onnx", "google.protobuf", "jinja2", "wgpu", "engine.graph.load", "engine.gpu", "engine.cpu.deform_conv")
print(*(name for name in unused if name in sys.modules))
"""


def test_a_compiled_model_runs_without_onnx_and_without_kernels_that_it_lacks(tmp_path: Path) -> None:
    graph = load(with_image_side(U2NETP, 64))
    u2netp, (x,) = compiled(graph), feeds(graph)
    (tmp_path / "model").write_bytes(pickle.dumps(u2netp))
    np.save(tmp_path / "x.npy", x)
    assert output_of(OPEN, cwd=tmp_path).split() == []
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), run(u2netp, [x])[0])


def test_a_graph_whose_name_is_no_text_is_compiled_with_one_that_is() -> None:
    proto = model([node("Exp", "x", "e"), node("Neg", "e", "y")], {"x": [2]}, "y")
    proto.graph.name = "name"
    # protobuf gives a string that is no UTF-8 as bytes
    content = proto.SerializeToString().replace(b"name", b"na\xffe")
    with Session(content, backend="numpy", keep_compiled=True) as session:
        (y,) = session.run({"x": np.zeros(2, np.float32)}).values()
        assert session.compiled is not None
        assert json.dumps(session.compiled.plan.graph)  # type: ignore[union-attr]
    np.testing.assert_array_equal(y, [-1, -1])
