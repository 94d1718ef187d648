"""A float16 model in float32: only its edge stays float16, and no result gets worse."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from engine import Session
from engine.graph.ir import Graph
from engine.graph.passes import ORDER, optimize
from engine.graph.passes.widen_f16 import F16, widen_f16
from tests.engine.models import execute, feeds, interpret, load_graph, model, node

STEP = 2.0**-10
"""A float16 result, rounded once, is within half of this of the exact one, relatively."""


def widen(proto: onnx.ModelProto, count: int) -> Graph:
    """The widened graph; asserts the count, that only the edge is float16, and that results are as good or better."""
    graph, inputs = load_graph(proto), feeds(load_graph(proto))
    exact = load_graph(proto)
    expected = interpret(exact, inputs)
    assert widen_f16(graph) == count
    assert [value.dtype for value in graph.inputs] == [value.dtype for value in exact.inputs]
    assert [value.dtype for value in graph.outputs] == [value.dtype for value in exact.outputs]
    edge = {*graph.inputs, *graph.outputs}
    for graph_node in graph.nodes:
        for value in (*graph_node.used_inputs(), *graph_node.used_outputs()):
            assert value in edge or value.dtype != F16
    for result, reference in zip(interpret(graph, inputs), expected, strict=True):
        np.testing.assert_allclose(result, reference, 4 * STEP, 4 * STEP)
        assert result.dtype == reference.dtype
    for result, reference in zip(execute(graph, inputs), expected, strict=True):
        np.testing.assert_allclose(result, reference, 4 * STEP, 4 * STEP)
    return graph


WEIGHTS = np.linspace(-1, 1, 54, dtype=np.float16).reshape(2, 3, 3, 3)


def test_convolution_with_float16_edges() -> None:
    proto = model(
        [node("Conv", "x w", "c"), node("Sigmoid", "c", "y")], {"x": (np.float16, [1, 3, 5, 5])}, "y", {"w": WEIGHTS}
    )
    graph = widen(proto, 4)  # x, w, c and y
    assert [node.op for node in graph.nodes] == ["Cast", "Conv", "Sigmoid", "Cast"]
    assert [value.name for value in (*graph.inputs, *graph.outputs)] == ["x", "y"]


def test_casts_inside_a_mixed_model_vanish() -> None:
    nodes = [
        node("Cast", "x", "h", to=TensorProto.FLOAT16),
        node("Conv", "h w", "c"),
        node("Cast", "c", "y", to=TensorProto.FLOAT),
    ]
    proto = model(nodes, {"x": [1, 3, 5, 5]}, "y", {"w": WEIGHTS})
    graph = widen(proto, 3)
    optimize(graph, order=ORDER)
    assert [node.op for node in graph.nodes] == ["Conv"]


def test_no_rounding_in_between() -> None:
    # 2048 + 1 is not a float16; the model's own arithmetic would lose the one
    proto = model(
        [node("Add", "x one", "a"), node("Sub", "a x", "y")],
        {"x": (np.float16, [1])},
        "y",
        {"one": np.ones(1, np.float16)},
    )
    graph = load_graph(proto)
    widen_f16(graph)
    (result,) = interpret(graph, [np.array([2048], np.float16)])
    assert result.dtype == np.float16
    assert result == 1


def test_input_that_is_an_output_and_output_that_is_wanted_twice() -> None:
    proto = model([node("Relu", "x", "y")], {"x": (np.float16, [4])}, "x y y")
    graph = widen(proto, 2)
    assert len(graph.outputs) == 3


def test_constant_output_keeps_its_dtype() -> None:
    proto = model([node("Add", "x w", "y")], {"x": (np.float16, [2])}, "y w", {"w": np.ones(2, np.float16)})
    widen(proto, 3)


def test_other_dtypes_stay() -> None:
    nodes = [node("Cast", "x", "d", to=TensorProto.DOUBLE), node("Add", "d w", "y"), node("Relu", "z", "r")]
    proto = model(nodes, {"x": (np.int64, [2]), "z": [2]}, "y r", {"w": np.ones(2)})
    graph = load_graph(proto)
    assert widen_f16(graph) == 0
    assert graph.histogram() == {"Cast": 1, "Add": 1, "Relu": 1}


def test_session_keeps_float16_at_the_edge() -> None:
    proto = model([node("Conv", "x w", "y")], {"x": (np.float16, [1, 3, 5, 5])}, "y", {"w": WEIGHTS})
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float16)
    results = []
    for backend in ("reference", "numpy"):
        with Session(proto.SerializeToString(), backend=backend) as session:
            assert session.inputs[0].dtype == session.outputs[0].dtype == F16
            results.append(session.run({"x": x})["y"])
    assert results[0].dtype == results[1].dtype == F16
    np.testing.assert_allclose(results[0], results[1], STEP, STEP)


def test_attributes_that_name_float16() -> None:
    proto = model(
        [node("LayerNormalization", "x s", "y mean", stash_type=TensorProto.FLOAT16)],
        {"x": (np.float16, [1, 4, 8])},
        "y mean",
        {"s": np.ones(8, np.float16)},
    )
    with Session(proto.SerializeToString(), outputs="all") as session:
        x = np.linspace(-1, 1, 32, dtype=np.float16).reshape(1, 4, 8)
        results = session.run({"x": x})
    np.testing.assert_allclose(results["mean"][0, :, 0], x.mean(axis=2)[0], atol=2 * STEP)
