"""4-bit weights on the GPU: packed where a product's kernel has their blocks, else as bytes, else as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.gpu.plan.target import WebgpuTarget
from engine.graph.ir import Graph
from engine.graph.passes import optimize
from tests.engine.four_bits import KINDS, OPSET, convolution, four_bit_tensor, product
from tests.engine.gpu.gpu import run
from tests.engine.gpu.plans import plan_case
from tests.engine.models import feeds, interpret, load_graph, model, node


def planned(proto: onnx.ModelProto) -> Graph:
    graph = load_graph(proto)
    optimize(graph, WebgpuTarget())
    return graph


def constant_bytes(graph: Graph) -> int:
    """What the constants of the graph's plan take."""
    return sum(plan_case(graph).data.constant_sizes)


WIDE = 64 * 48 * 4
"""Bytes of the weights of the products below as float32."""


@pytest.mark.parametrize(
    ("proto", "packed"),
    [
        (product(64, 48), 64 * 48 // 2 + 2 * 48 * 4),
        (product(64, 48, kind=TensorProto.UINT4, zero=True, transposed=True), 64 * 48 // 2 + 2 * 2 * 48 * 4),
        (product(64, 48, per="axis", gemm=True, transposed=True), 64 * 48 // 2 + 2 * 48 * 4),
        (product(64, 48, block=8, gemm=True), 64 * 48 + 8 * 48 * 4),  # bytes
        (product(64, 48, axis=1, block=16), WIDE),
        (convolution("axis"), 24 * 9 * 32 + 32 * 4),
        (convolution("tensor", TensorProto.UINT4, zero=True), 24 * 9 * 32 + 32 * 4),
        (convolution("block"), 24 * 9 * 32 * 4),
    ],
)
def test_weights(proto: onnx.ModelProto, packed: int) -> None:
    graph = planned(proto)
    # offsets are aligned, a bias may stand beside, and tiles may be filled up
    assert packed <= constant_bytes(graph) < 1.3 * packed + 1024
    inputs = feeds(graph)
    (expected,) = interpret(load_graph(proto), inputs)
    (result,), _ = run(planned(proto), inputs)
    np.testing.assert_allclose(result, expected, 1e-5, 5e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8])
def test_what_is_cast_to_them_wraps(dtype: Any, kind: int) -> None:
    nodes = [node("Cast", "x", "q", to=kind), node("Cast", "q", "y", to=TensorProto.FLOAT)]
    graph = load_graph(model(nodes, {"x": (dtype, [60])}, "y", opset=OPSET))
    inputs = [(np.arange(60) - (0 if dtype == np.uint8 else 30)).astype(dtype)]
    (expected,) = interpret(graph, inputs)
    (result,), _ = run(graph, inputs)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attributes", [{}, {"axis": 1}, {"axis": 1, "block_size": 2}])
def test_what_a_run_quantises(attributes: dict[str, Any], kind: int) -> None:
    """It is rounded, moved and saturated to four bits, turned and dequantised."""
    shape = {0: [], 1: [6], 2: [4, 3]}[len(attributes)]
    random = np.random.default_rng(3)
    nodes = [
        node("QuantizeLinear", "x s z", "q", **attributes),
        node("Transpose", "q", "t"),
        node("Cast", "t", "y", to=TensorProto.FLOAT),
        node("DequantizeLinear", "q s z", "w", **attributes),
    ]
    constants = {"s": np.asarray(random.uniform(0.1, 0.3, shape)).astype(np.float32)}
    proto = model(nodes, {"x": [4, 6]}, "y w", constants, opset=OPSET)
    proto.graph.initializer.append(four_bit_tensor("z", kind, np.asarray(random.integers(0, 8, shape))))
    inputs = [random.uniform(-2, 2, (4, 6)).astype(np.float32)]
    expected = interpret(load_graph(proto), inputs)
    assert len(np.unique(expected[0])) > 4
    results, _ = run(planned(proto), inputs)
    np.testing.assert_array_equal(results[0], expected[0])
    np.testing.assert_allclose(results[1], expected[1], 1e-6)
