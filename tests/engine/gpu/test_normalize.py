"""Softmax and normalisations on the GPU against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare, run, test_adapter
from tests.engine.gpu.strided import shapes, views
from tests.engine.models import interpret, load_graph, model, node

few = settings(max_examples=30, deadline=None)

RTOL, ATOL = 5e-6, 3e-6

CUT = {"max-storage-buffer-binding-size": 2048}


@few
@given(st.data(), shapes(), st.sampled_from(["Softmax", "LogSoftmax"]), st.sampled_from([11, 13]))
def test_any_softmax(data: st.DataObject, shape: tuple[int, ...], op: str, opset: int) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    proto = model([*nodes, node(op, "v", "y", axis=axis)], {"v_in": input_shape}, "y", constants=constants, opset=opset)
    compare(proto, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_softmax_does_not_overflow(op: str) -> None:
    x = np.array([[1000, 999, -1000], [-1000, -1001, -5000]], np.float32)
    compare(model([node(op, "x", "y")], {"x": [2, 3]}, "y"), inputs=[x], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", [[3, 20000], [2, 170, 160]])
def test_long_rows(op: str, shape: list[int]) -> None:
    proto = model([node(op, "x", "y", axis=1)], {"x": shape}, "y", opset=11)
    compare(proto, rtol=1e-5, atol=1e-6)


@few
@given(st.data(), shapes(), st.sampled_from(["y", "y mean inverse"]), st.booleans())
def test_any_layer_normalization(data: st.DataObject, shape: tuple[int, ...], outputs: str, bias: bool) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    names = ["v", "scale", *(["b"] if bias else [])]
    random = np.random.default_rng(0)
    constants |= {name: random.standard_normal(shape[axis:]).astype(np.float32) for name in names[1:]}
    nodes = [*nodes, node("LayerNormalization", " ".join(names), outputs, axis=axis, epsilon=0.01)]
    compare(model(nodes, {"v_in": input_shape}, outputs, constants), rtol=1e-5, atol=1e-5)


@few
@given(st.data(), shapes())
def test_any_rms_normalization(data: st.DataObject, shape: tuple[int, ...]) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    constants["scale"] = np.random.default_rng(0).standard_normal(shape[axis:]).astype(np.float32)
    nodes = [*nodes, node("RMSNormalization", "v scale", "y", axis=axis)]
    compare(model(nodes, {"v_in": input_shape}, "y", constants=constants, opset=23), rtol=RTOL, atol=ATOL)


def channels(shape: list[int], names: str, count: int) -> dict[str, Any]:
    random = np.random.default_rng(len(shape))
    return {name: random.random(count).astype(np.float32) + np.float32(0.5) for name in names.split()}


@few
@given(st.data(), st.sampled_from(["InstanceNormalization", "GroupNormalization", "BatchNormalization"]))
def test_normalizations_with_numbers_for_each_channel(data: st.DataObject, op: str) -> None:
    groups = data.draw(st.integers(1, 3))
    count = groups * data.draw(st.integers(1, 4))
    shape = [data.draw(st.integers(1, 2)), count, *data.draw(st.lists(st.integers(2, 5), min_size=1, max_size=2))]
    nodes, input_shape, constants = data.draw(views(shape))
    options: dict[str, Any] = {"epsilon": 0.01}
    opset = 21
    names = "scale b"
    if op == "GroupNormalization":
        options["num_groups"] = groups
        opset = data.draw(st.sampled_from([18, 21]))
    if op == "BatchNormalization":
        names += " mean var"
    parameters = channels(shape, names, groups if opset == 18 else count)
    inputs: dict[str, Any] = {"v_in": input_shape}
    if data.draw(st.booleans()):
        constants |= parameters
        arrays = []
    else:
        inputs |= {name: list(array.shape) for name, array in parameters.items()}
        arrays = list(parameters.values())
    proto = model([*nodes, node(op, f"v {names}", "y", **options)], inputs, "y", constants=constants, opset=opset)
    x = np.random.default_rng(0).standard_normal(input_shape).astype(np.float32)
    compare(proto, inputs=[x, *arrays], rtol=1e-5, atol=1e-5)


@few
@given(st.data(), shapes())
def test_lp_and_mean_variance_normalization(data: st.DataObject, shape: tuple[int, ...]) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape), unique=True))
    p = data.draw(st.integers(1, 2))
    nodes = [
        *nodes,
        node("LpNormalization", "v", "y", axis=axis, p=p),
        node("MeanVarianceNormalization", "v", "z", axes=axes),
    ]
    proto = model(nodes, {"v_in": input_shape}, "y z", constants)
    # whole numbers: the variance of equal ones is 0, and 1e-9 divides what rounding leaves otherwise
    shape_in = load_graph(proto).inputs[0].shape
    x = np.random.default_rng(0).integers(-3, 4, shape_in).astype(np.float32)
    compare(proto, inputs=[x], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [3, 7, 100])
def test_nothing_is_left_of_equal_elements_without_their_mean(length: int) -> None:
    """1e-9 divides what is left: a unit in the last place, as a mean by the reciprocal leaves, would come out as 1."""
    x = np.repeat(np.arange(-3, 4, dtype=np.float32)[:, None], length, axis=1)
    nodes = [node("MeanVarianceNormalization", "x", "y", axes=[1])]
    compare(model(nodes, {"x": list(x.shape)}, "y"), inputs=[x])


def test_a_row_of_zeros_stays() -> None:
    x = np.array([[0, 0], [3, 4]], np.float32)
    compare(model([node("LpNormalization", "x", "y")], {"x": [2, 2]}, "y"), inputs=[x], rtol=1e-6)


def test_the_variance_does_not_cancel() -> None:
    x = np.random.default_rng(0).standard_normal([4, 64]).astype(np.float32) + np.float32(1000)
    constants = {"scale": np.ones(64, np.float32)}
    proto = model([node("LayerNormalization", "x scale", "y")], {"x": [4, 64]}, "y", constants)
    compare(proto, inputs=[x], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("op", ["InstanceNormalization", "GroupNormalization", "LayerNormalization"])
@pytest.mark.parametrize("turned", [False, True])
def test_long_rows_take_a_step_for_each_statistic(op: str, turned: bool) -> None:
    shape = [1, 4, 160, 180]
    options: dict[str, Any] = {"num_groups": 2} if op == "GroupNormalization" else {}
    outputs = "y"
    constants = channels(shape, "scale b", 4)
    if op == "LayerNormalization":
        options, outputs = {"axis": 1}, "y mean inverse"
        constants = {name: array.reshape(4, 1, 1) for name, array in constants.items()}
    nodes = [node("Transpose", "x", "c", perm=[0, 3, 1, 2] if turned else [0, 1, 2, 3])]
    nodes.append(node(op, "c scale b", outputs, **options))
    input_shape = [1, 160, 180, 4] if turned else shape
    proto = model(nodes, {"x": input_shape}, outputs, constants=constants, opset=21)
    graph = load_graph(proto)
    x = np.random.default_rng(0).standard_normal(input_shape).astype(np.float32)
    results, kernels = run(load_graph(proto), [x])
    assert kernels.count("row_reduction") >= 4
    for result, expected in zip(results, interpret(graph, [x]), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", ["Softmax", "LayerNormalization"])
def test_rows_are_cut(op: str) -> None:
    constants = {} if op == "Softmax" else {"scale": np.ones(50, np.float32)}
    proto = model([node(op, " ".join(["x", *constants]), "y")], {"x": [40, 50]}, "y", constants)
    graph = load_graph(proto)
    x = np.random.default_rng(0).standard_normal([40, 50]).astype(np.float32)
    (y,), kernels = run(load_graph(proto), [x], limits=CUT)
    assert len(kernels) >= 4
    np.testing.assert_allclose(y, interpret(graph, [x])[0], rtol=RTOL, atol=ATOL)


def test_in_half_storage() -> None:
    adapter = test_adapter()
    if adapter is not None and not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    proto = model([node("Softmax", "x", "y")], {"x": [64, 48]}, "y")
    graph = load_graph(proto)
    x = np.random.default_rng(0).integers(-4, 4, [64, 48]).astype(np.float32)
    (y,), _ = run(load_graph(proto), [x], half=True)
    np.testing.assert_allclose(y, interpret(graph, [x])[0], rtol=1e-3)
