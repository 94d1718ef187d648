"""LayerNormalization, Softmax and LogSoftmax against the reference, whole and finely cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.engine.cpu.kernels import compare
from tests.engine.models import execute, load_graph, model, node


def parameters(shape: list[int], dtype: Any = np.float32) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {name: random.standard_normal(shape).astype(dtype) for name in ("s", "b")}


@pytest.mark.parametrize("shape", [[3, 5, 7], [2, 700], [1, 1], [9, 96], [40, 1, 33]], ids=str)
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("has_shift", [True, False])
def test_layer_norm(shape: list[int], axis: int, has_shift: bool) -> None:
    names = "x s b" if has_shift else "x s"
    norm = node("LayerNormalization", names, "y", axis=axis, epsilon=1e-3)
    # 5e-7 was measured
    compare(model([norm], {"x": shape}, "y", parameters(shape[axis:])), atol=4e-6, kernel="LayerNormKernel")


def test_layer_norm_far_from_zero() -> None:
    x = np.random.default_rng(2).standard_normal((50, 192)) + 100
    proto = model([node("LayerNormalization", "x s b", "y")], {"x": [50, 192]}, "y", parameters([192]))
    graph = load_graph(proto)
    scale, shift = parameters([192]).values()
    wide = x.astype(np.float32).astype(np.float64)
    exact = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5) * scale + shift
    # x itself is rounded to 4e-6; 2e-5 was measured
    np.testing.assert_allclose(execute(graph, [x.astype(np.float32)])[0], exact, atol=1e-4)


@pytest.mark.parametrize(
    ("outputs", "dtype", "scale"),
    [("y m", np.float32, [7]), ("y - i", np.float32, [7]), ("y", np.float64, [7]), ("y", np.float32, [1])],
    ids=str,
)
def test_layer_norm_by_the_reference(outputs: str, dtype: Any, scale: list[int]) -> None:
    model_outputs = outputs.replace("- ", "")
    norm = node("LayerNormalization", "x s b", outputs)
    proto = model([norm], {"x": (dtype, [3, 5, 7])}, model_outputs, parameters(scale, dtype))
    compare(proto, kernel="ReferenceKernel")


def test_layer_norm_whose_scale_is_computed_runs_by_the_reference() -> None:
    norm = node("LayerNormalization", "x s", "y")
    compare(model([norm], {"x": [3, 7], "s": [7]}, "y"), kernel="ReferenceKernel")


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", [[3, 5, 7], [2, 3, 5, 49], [700], [6, 1]], ids=str)
def test_softmax(op: str, shape: list[int]) -> None:
    compare(model([node(op, "x", "y", axis=-1)], {"x": shape}, "y"), rtol=2e-6, atol=1e-6, kernel="SoftmaxKernel")


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_of_old(op: str, axis: int) -> None:
    softmax = node(op, "x", "y", axis=axis)
    compare(model([softmax], {"x": [3, 5, 7]}, "y", opset=11), rtol=2e-6, atol=1e-6, kernel="SoftmaxKernel")


def test_softmax_of_extremes() -> None:
    graph = load_graph(model([node("Softmax", "x", "y")], {"x": [2, 3]}, "y"))
    x = np.array([[300, 300, -np.inf], [-300, -500, -300]], np.float32)
    np.testing.assert_array_equal(execute(graph, [x])[0], [[0.5, 0.5, 0], [0.5, 0, 0.5]])


def test_softmax_of_other_axes_and_dtypes_runs_by_the_reference() -> None:
    compare(model([node("Softmax", "x", "y", axis=1)], {"x": [3, 5, 7]}, "y"), kernel="ReferenceKernel")
    compare(model([node("Softmax", "x", "y")], {"x": (np.float64, [3, 5])}, "y"), kernel="ReferenceKernel")


def test_results_may_lie_on_the_input() -> None:
    nodes = [
        node("Neg", "x", "a"),
        node("LayerNormalization", "a s b", "c"),
        node("Softmax", "c", "d"),
        node("LogSoftmax", "d", "y"),
    ]
    compare(model(nodes, {"x": [90, 40]}, "y", parameters([40])), atol=2e-6)
