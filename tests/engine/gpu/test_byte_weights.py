"""8-bit weights that stay packed on the GPU: exact in integers, and float ones bit by bit as their float32 would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.gpu.lowering.lowering import Lowering
from engine.graph.ir import Graph
from tests.engine.gpu.gpu import compare, run
from tests.engine.models import feeds, load_graph, model, node


def integers(*shape: int, dtype: Any = np.int8) -> np.ndarray:
    """All of the type's range, both ends among it."""
    limits = np.iinfo(dtype)
    random = np.random.default_rng(0)
    result = random.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    result.reshape(-1)[:2] = limits.min, limits.max
    return result


ZEROS = {"none": None, "end": -1, "middle": 0, "channels": 1}


def zero_point(zero: str, count: int, dtype: Any) -> np.ndarray | None:
    """No zero point, the largest, the one that leaves signed bytes, or one for each channel, over all of the range."""
    limits = np.iinfo(dtype)
    middle = 0 if dtype == np.int8 else 128
    each = np.linspace(limits.min, limits.max, count).round().astype(dtype)
    return {"none": None, "end": dtype(limits.max), "middle": dtype(middle), "channels": each}[zero]


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integers_of_every_zero_point_are_exact(dtype: Any, zero: str) -> None:
    random, groups, outputs = np.random.default_rng(3), 2, 21
    constants: dict[str, Any] = {"w": integers(groups * outputs, 12, 3, 3, dtype=dtype), "z": np.array(7, np.uint8)}
    points = zero_point(zero, groups * outputs, dtype)
    if points is not None:
        constants["v"] = points
    names = "x w z v" if points is not None else "x w z"
    nodes = [node("ConvInteger", names, "y", group=groups, pads=[1] * 4)]
    shape = [2, 24, 7, 5]
    proto = model(nodes, {"x": (np.uint8, shape)}, "y", constants)
    compare(proto, inputs=[random.integers(0, 256, shape).astype(np.uint8)], kernels=["elementwise", "conv", "elementwise"])


def quantised(
    op: str, shape: list[int], w: np.ndarray, zero: str, *, vector: bool = True, bias: int = 0, **attributes: Any
) -> onnx.ModelProto:
    """x → Conv, MatMul or Gemm with weights that a DequantizeLinear makes → y."""
    random = np.random.default_rng(1)
    axis = 0 if op == "Conv" or attributes.get("transB") else 1
    count = w.shape[axis]
    constants: dict[str, Any] = {"q": w, "s": random.uniform(0.001, 0.02, [count] if vector else []).astype(np.float32)}
    points = zero_point(zero, count, w.dtype.type)
    names = "q s"
    if points is not None:
        constants["v"] = points if points.ndim or not vector else np.full(count, points)
        names += " v"
    inputs = "x w"
    if bias:
        constants["b"] = random.standard_normal(bias).astype(np.float32)
        inputs += " b"
    nodes = [node("DequantizeLinear", names, "w", axis=axis), node(op, inputs, "p", **attributes), node("Relu", "p", "y")]
    return model(nodes, {"x": shape}, "y", constants)


def without_integers(proto: onnx.ModelProto) -> Graph:
    """The graph with its weights as float32 alone."""
    graph = load_graph(proto)
    for value in graph.constants():
        value.quantized = None
    return graph


PRODUCTS = {
    "conv": lambda dtype, zero: quantised("Conv", [2, 12, 9, 7], integers(21, 12, 3, 3, dtype=dtype), zero, bias=21),
    "one scale": lambda dtype, zero: quantised(
        "Conv", [1, 3, 9, 7], integers(20, 3, 3, 3, dtype=dtype), "none" if zero == "channels" else zero, vector=False
    ),
    "groups": lambda dtype, zero: quantised(
        "Conv", [1, 24, 7, 5], integers(70, 12, 1, 1, dtype=dtype), zero, group=2, strides=[2, 1]
    ),
    "deep": lambda dtype, zero: quantised("Conv", [1, 512, 3, 3], integers(8, 512, 1, 1, dtype=dtype), zero),
    "line": lambda dtype, zero: quantised("Conv", [1, 8, 9], integers(21, 8, 3, dtype=dtype), zero),
    "linear": lambda dtype, zero: quantised("MatMul", [2, 20, 48], integers(48, 37, dtype=dtype), zero),
}


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_floats_are_what_their_float32_gives_bit_by_bit(dtype: Any, zero: str) -> None:
    for name, make in PRODUCTS.items():
        proto = make(dtype, zero)
        compare(proto, rtol=1e-5, atol=2e-5)
        inputs = feeds(load_graph(proto))
        (packed,), kernels = run(load_graph(proto), inputs)
        (wide,), _ = run(without_integers(proto), inputs)
        assert "conv" in kernels, name
        np.testing.assert_array_equal(packed, wide, name)


def weight_bytes(graph: Graph) -> int:
    lowering = Lowering(graph)
    lowering.run()
    slots = {operand.tensor.slot for dispatch in lowering.dispatches for operand in dispatch.reads}
    return sum(slot.nbytes for slot in slots if slot.is_constant)


def test_weights_take_a_byte_each() -> None:
    columns = 64 * 4
    proto = quantised("Conv", [1, 64, 9, 7], integers(64, 64, 3, 3), "none")
    assert weight_bytes(load_graph(proto)) == 64 * 64 * 9 + columns
    assert weight_bytes(without_integers(proto)) == 4 * 64 * 64 * 9
    proto = model([node("ConvInteger", "x w", "y")], {"x": (np.uint8, [1, 64, 9, 7])}, "y", {"w": integers(64, 64, 3, 3)})
    assert weight_bytes(load_graph(proto)) == 64 * 64 * 9
