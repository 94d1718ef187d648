"""What is known before a run is computed before it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from engine.graph.passes.fold_constants import fold_constants, fold_large_sums
from engine.graph.passes.widen_f16 import widen_f16
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import load_graph, model, node


def test_everything_known_is_folded_at_load() -> None:
    nodes = [node("Exp", "w", "e"), node("Add", "e w", "s"), node("Mul", "x s", "y")]
    graph = load_graph(model(nodes, {"x": [3]}, "y", {"w": np.arange(3, dtype=np.float32)}))
    assert graph.histogram() == {"Mul": 1}
    (constant,) = graph.constants()
    np.testing.assert_allclose(constant.data, np.exp(np.arange(3)) + np.arange(3), rtol=1e-6)


def test_folds_what_became_constant_since() -> None:
    proto = model([node("Neg", "x", "n"), node("Exp", "n", "e"), node("Add", "e z", "y")], {"x": [2], "z": [2]}, "y")
    graph = load_graph(proto)
    graph.inputs[0].data = np.array([1, 2], np.float32)
    assert fold_constants(graph) == 2
    assert graph.histogram() == {"Add": 1}
    np.testing.assert_allclose(graph.nodes[0].input(0).data, np.exp([-1, -2]), rtol=1e-6)


def test_every_output_of_a_node_is_folded() -> None:
    graph = load_graph(model([node("Split", "x", "a b", axis=0)], {"x": [4]}, "a b", opset=13))
    graph.inputs[0].data = np.arange(4, dtype=np.float32)
    assert fold_constants(graph) == 1
    np.testing.assert_array_equal([value.data for value in graph.outputs], [[0, 1], [2, 3]])


def test_shape_needs_no_data() -> None:
    nodes = [node("Relu", "x", "r"), node("Shape", "r", "s"), node("Size", "r", "n"), node("Mul", "s n", "y")]
    graph = load_graph(model(nodes, {"x": [2, 3]}, "y"))
    np.testing.assert_array_equal(graph.outputs[0].data, [12, 18])


def test_what_a_run_decides_stays() -> None:
    proto = model([node("Add", "x w", "a"), node("Mul", "a a", "y")], {"x": [2]}, "y", {"w": np.ones(2, np.float32)})
    rewrite(proto, fold_constants, 0)


def test_float16_constants_are_folded_in_float16() -> None:
    # 1 + 2^-11 rounds to 1 in float16: the model says so, and widening afterwards must not undo it
    w = np.array([1, 2**-11], np.float16)
    nodes = [node("ReduceSum", "w", "s", keepdims=0), node("Mul", "x s", "y")]
    graph = load_graph(model(nodes, {"x": (np.float16, [1])}, "y", {"w": w}))
    widen_f16(graph)
    (constant,) = graph.constants()
    assert constant.data == np.float32(1)


@pytest.mark.parametrize(("dtype", "waits"), [(np.float32, True), (np.float16, False)])
def test_a_sum_that_is_many_times_its_terms_waits(dtype: type[np.floating], waits: bool) -> None:
    weights = {"bias": np.ones((1, 1024, 1), dtype), "mask": np.ones((4096, 1, 1), dtype)}
    nodes = [node("Add", "bias mask", "s"), node("Mul", "x s", "y")]
    graph = load_graph(model(nodes, {"x": (dtype, [1])}, "y", weights))
    assert fold_constants(graph) == 0
    assert graph.histogram() == ({"Add": 1, "Mul": 1} if waits else {"Mul": 1})
    assert fold_large_sums(graph) == waits
    (total,) = graph.constants()
    np.testing.assert_array_equal(total.data, np.full((4096, 1024, 1), 2, dtype))
