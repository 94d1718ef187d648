"""Weights so large that fast algorithms and the definition part: the definition holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine import Session
from engine.cpu.conv import ConvKernel
from engine.cpu.kernel import ReferenceKernel
from engine.cpu.lower import lower
from engine.graph.bounds import LARGEST_WEIGHT, is_extreme, needs_direct
from engine.graph.load import load
from engine.graph.passes import optimize
from engine.graph.passes.compose_convolutions import compose_convolutions
from engine.graph.passes.fold_batch_norm import fold_batch_norm
from tests.engine.models import U2NETP, execute, feeds, interpret, load_graph, model, node, with_image_side

F32 = np.float32


def weights(*shape: int, **overrides: float) -> np.ndarray:
    """Weights of unit gain; ``first`` and ``filter`` put another number into the first weight or filter."""
    w = np.random.default_rng(0).standard_normal(shape).astype(F32) / F32(np.sqrt(np.prod(shape[1:])))
    if "filter" in overrides:
        w[0] = overrides["filter"]
    if "first" in overrides:
        w.flat[0] = overrides["first"]
    return w


def layer(w: np.ndarray, *after: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    nodes = [node("Conv", "x w", "c" if after else "y", pads=[1, 1, 1, 1]), *after]
    return model(nodes, {"x": [1, 32, 32, 32]}, "y", {"w": w, **constants})


def algorithm(proto: onnx.ModelProto) -> str:
    kernel = lower(load_graph(proto).nodes[0])
    assert isinstance(kernel, ConvKernel)
    return type(kernel.algorithm).__name__


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "WinogradRows"),
        ({"first": 0.9e12}, "WinogradRows"),
        ({"first": 1.1e12}, "ColumnProduct"),
        ({"first": -1.1e12}, "ColumnProduct"),
        ({"first": np.nan}, "ColumnProduct"),
        ({"first": -np.inf}, "ColumnProduct"),
        ({"first": 1e-40}, "WinogradRows"),
        ({"filter": 0.0}, "WinogradRows"),
        ({"filter": 1e-31}, "ColumnProduct"),
    ],
)
def test_winograd_takes_weights_whose_transform_keeps_them(overrides: dict[str, float], expected: str) -> None:
    assert algorithm(layer(weights(32, 32, 3, 3, **overrides))) == expected


@pytest.mark.parametrize("overrides", [{"first": 1e33}, {"first": -3e38}, {"filter": 1e-37}])
def test_a_layer_is_what_the_reference_makes_of_it(overrides: dict[str, float]) -> None:
    """Every pixel but those that meet the large weight is as it was, down to the rounding of a sum."""
    graph = load_graph(layer(weights(32, 32, 3, 3, **overrides)))
    x = feeds(graph)
    x[0][:, 0, 8:24] = 0
    (expected,), (result,) = interpret(graph, x), execute(graph, x)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(result), finite)
    scale = np.abs(expected).max(1, keepdims=True, initial=0, where=finite)
    assert (np.abs(result[finite] - expected[finite]) <= 1e-5 * np.broadcast_to(scale, expected.shape)[finite]).all()


def test_the_layers_behind_run_by_definition_too() -> None:
    """What comes out of one layer overflows in another, and its infinities spread."""
    w, v = weights(32, 32, 3, 3, first=4e37), weights(32, 32, 3, 3)
    after = [
        node("Conv", "c v", "d", pads=[1, 1, 1, 1]),
        node("Relu", "d", "e"),
        node("Resize", "e - k", "y", mode="linear"),
    ]
    graph = load_graph(layer(w, *after, v=v, k=np.array([1, 1, 1.5, 1.5], F32)))
    assert needs_direct(graph)
    kernels = [lower(step, direct=True) for step in graph.nodes]
    assert [type(kernel.algorithm).__name__ for kernel in kernels if isinstance(kernel, ConvKernel)] == [
        "ColumnProduct"
    ] * 2
    assert isinstance(kernels[-1], ReferenceKernel)
    x = feeds(graph)
    (expected,), (result,) = interpret(graph, x), execute(graph, x)
    np.testing.assert_array_equal(np.isfinite(result), np.isfinite(expected))


def test_networks_as_they_are_keep_their_fast_kernels() -> None:
    graph = load(with_image_side(U2NETP, 96))
    optimize(graph)
    assert not needs_direct(graph)
    assert not needs_direct(load_graph(layer(weights(32, 32, 3, 3, first=LARGEST_WEIGHT))))


def with_another_weight(tensor: str, index: int, value: float) -> bytes:
    """U²-Netp at 96 pixels with one weight that is another number."""
    proto = onnx.load_from_string(with_image_side(U2NETP, 96))
    initializer = next(item for item in proto.graph.initializer if item.name == tensor)
    w = numpy_helper.to_array(initializer).copy()
    w.flat[index] = value
    initializer.CopyFrom(numpy_helper.from_array(w, tensor))
    return proto.SerializeToString()


DAMAGES = [("2258", 1581, -1.7e37), ("2261", 13779, -2.5e36), ("2300", 15741, -9.6e34)]
"""A tensor, a weight of it and its value: by Winograd the mask is NaN, or another one."""


@pytest.mark.parametrize(("tensor", "index", "value"), DAMAGES)
def test_one_damaged_weight_of_a_real_network(tensor: str, index: int, value: float) -> None:
    data, x = with_another_weight(tensor, index, value), np.random.default_rng(0).random((1, 3, 96, 96)).astype(F32)
    masks = []
    for backend in ("numpy", "reference"):
        with Session(data, backend=backend) as session:
            masks.append(session.run({session.inputs[0].name: x})[session.outputs[0].name])
    np.testing.assert_allclose(*masks, rtol=0, atol=2e-6)


def test_extreme_weights_are_not_composed() -> None:
    for first, count in ((1.0, 1), (1e20, 0)):
        nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Conv", "c v", "y")]
        constants = {"w": weights(4, 2, 3, 3, first=first), "v": weights(1, 4, 1, 1)}
        assert compose_convolutions(load_graph(model(nodes, {"x": [1, 2, 8, 8]}, "y", constants))) == count


def test_a_norm_is_not_folded_into_extreme_weights() -> None:
    statistics = {name: np.ones(4, F32) for name in "smtv"}
    nodes = [node("Conv", "x w", "c"), node("BatchNormalization", "c s t m v", "y")]
    for first, variance, count in ((1.0, 1.0, 1), (1e20, 1.0, 0), (1.0, 1e20, 0)):
        constants = {**statistics, "w": weights(4, 2, 3, 3, first=first), "v": np.full(4, variance, F32)}
        assert fold_batch_norm(load_graph(model(nodes, {"x": [1, 2, 8, 8]}, "y", constants))) == count


def test_what_is_extreme() -> None:
    assert not is_extreme(np.zeros((0, 3), F32))
    assert not is_extreme(np.full(3, 1 << 60))  # an integer is what it is
    assert not is_extreme(np.array([LARGEST_WEIGHT, -LARGEST_WEIGHT]))
    assert is_extreme(np.array([0, np.nan], F32))
