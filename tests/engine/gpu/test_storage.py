"""What is stored as float16 in half precision: activations and weights of products, and nothing that repeats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.lowering.storage import CHUNK, fits_half, parameters
from engine.ops.window_attention import WindowGrid
from tests.engine.attention import attention
from tests.engine.models import load_graph, model, node


def parameter_names(nodes: list[NodeProto], inputs: dict[str, Any], **constants: Any) -> set[str]:
    graph = load_graph(model(nodes, inputs, nodes[-1].output[0], constants))
    return {value.name for value in parameters(graph)}


def operand_types(nodes: list[NodeProto], inputs: dict[str, Any], kernel: str, **constants: Any) -> dict[str, str]:
    """The storage type of each operand of the dispatch of ``kernel``, by its name, with Negs around."""
    first, last = node("Neg", "x", "x0"), node("Neg", nodes[-1].output[0], "end")
    graph = load_graph(model([first, *nodes, last], inputs, "end", constants))
    lowering = Lowering(graph, half=True)
    lowering.run()
    (dispatch,) = (dispatch for dispatch in lowering.dispatches if dispatch.kernel == kernel)
    return {operand.name: operand.tensor.dtype for operand in dispatch.operands}


def test_what_every_reader_repeats_is_a_parameter() -> None:
    statistics = [
        node("ReduceMean", "x", "mean", axes=[2]),
        node("Sub", "x mean", "centred"),
        node("ReduceMean", "centred", "other", axes=[2]),
        node("Mul", "centred other", "a"),
        node("Add", "a other", "y"),
    ]
    assert parameter_names(statistics, {"x": [2, 40, 64]}) == {"mean", "other"}


def test_a_gate_that_a_network_makes_is_one_through_all_that_relabels_it() -> None:
    gate = [
        node("GlobalAveragePool", "x", "pooled"),
        node("Conv", "pooled w", "squeezed"),
        node("Sigmoid", "squeezed", "opened"),
        node("Reshape", "opened shape", "gate"),
        node("Mul", "x gate", "y"),
    ]
    weights = {"w": np.ones((64, 64, 1, 1), np.float32), "shape": np.array([2, 64, 1, 1])}
    assert parameter_names(gate, {"x": [2, 64, 8, 8]}, **weights) == {"squeezed", "opened", "gate"}


def test_what_another_reader_takes_as_it_is_is_an_activation() -> None:
    nodes = [node("Exp", "m", "e"), node("Mul", "x e", "a"), node("MatMul", "e w", "b"), node("Add", "a b", "y")]
    inputs = {"x": [4, 20, 32], "m": [20, 32]}
    # what the MatMul makes of it is repeated again
    assert parameter_names(nodes, inputs, w=np.ones((32, 32), np.float32)) == {"b"}
    assert parameter_names(nodes[:2], inputs) == {"e"}


def test_scales_of_dynamic_quantisation_are_parameters() -> None:
    nodes = [
        node("DynamicQuantizeLinear", "x", "q scale zero"),
        node("MatMulInteger", "q w zero", "sums"),
        node("Mul", "scale weight_scale", "both"),
        node("Cast", "sums", "floats", to=TensorProto.FLOAT),
        node("Mul", "floats both", "y"),
    ]
    constants = {"w": np.ones((64, 48), np.int8), "weight_scale": np.float32(0.1)}
    assert parameter_names(nodes, {"x": [20, 64]}, **constants) == {"scale", "both"}


def test_a_bias_stays_float32_however_long_and_weights_are_float16_however_few() -> None:
    constants = {"w": np.ones((2048, 8, 1, 1), np.float32), "b": np.ones(2048, np.float32)}
    types = operand_types([node("Conv", "x0 w b", "y")], {"x": [1, 8, 40, 40]}, "conv", **constants)
    assert (types["x"], types["w"], types["x_bias"]) == ("f16", "f16", "f32")
    small = {"w": np.ones((8, 8, 1, 1), np.float32)}
    assert operand_types([node("Conv", "x0 w", "y")], {"x": [1, 8, 4, 4]}, "conv", **small)["w"] == "f16"
    added = {"b": np.ones((1, 2048), np.float32)}
    assert operand_types([node("Add", "x0 b", "y")], {"x": [4, 2048]}, "elementwise", **added)["x_a1"] == "f32"


@pytest.mark.parametrize(
    ("operator", "kernel", "shape", "w"),
    [
        (node("Conv", "x0 w", "y"), "conv", [1, 8, 9, 9], (40, 8, 3, 3)),
        (node("Conv", "x0 w", "y", group=8), "conv_direct", [1, 8, 9, 9], (8, 1, 3, 3)),
        (node("ConvTranspose", "x0 w", "y"), "conv_transpose", [1, 8, 9, 9], (8, 4, 3, 3)),
        (node("MatMul", "x0 w", "y"), "conv", [20, 32], (32, 24)),
        (node("MatMul", "x0 w", "y"), "matmul", [4, 32], (32, 24)),
        (node("Gemm", "x0 w", "y"), "matmul", [20, 32], (32, 24)),
        (node("Einsum", "x0 w", "y", equation="ij,jk->ik"), "matmul", [20, 32], (32, 24)),
    ],
)
@pytest.mark.parametrize(("largest", "expected"), [(65504.0, "f16"), (65505.0, "f32"), (np.inf, "f16")])
def test_weights_that_float16_does_not_hold_stay_float32(
    operator: NodeProto, kernel: str, shape: list[int], w: tuple[int, ...], largest: float, expected: str
) -> None:
    weights = np.ones(w, np.float32)
    weights.flat[-1] = -largest
    types = operand_types([operator], {"x": shape}, kernel, w=weights)
    assert types["b" if kernel == "matmul" else "w"] == expected


def test_every_chunk_of_weights_is_looked_at() -> None:
    weights = np.zeros(CHUNK + 7, np.float32)
    assert fits_half(weights)
    assert fits_half(np.zeros(0, np.float32))
    weights[-1] = 7e4
    assert not fits_half(weights)
    weights[-1], weights[0] = np.nan, -7e4
    assert not fits_half(weights)
    weights[0] = -np.inf
    assert fits_half(weights)


def test_position_biases_stay_float32() -> None:
    graph = attention(WindowGrid(12, 12, 12, 0), heads=2, size=8)
    lowering = Lowering(graph, half=True, outside=())
    lowering.run()
    (dispatch,) = lowering.dispatches
    assert {operand.name: operand.tensor.dtype for operand in dispatch.operands} == {
        "x0": "f16",
        "bias": "f32",
        "y": "f16",
    }
