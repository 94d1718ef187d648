"""8-bit weights that stay packed on the GPU: exact in integers, and float ones bit by bit as their float32 would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.gpu.lowering.lowering import Lowering
from engine.graph.ir import Graph
from tests.engine.gpu.gpu import compare, run
from tests.engine.models import feeds, interpret, load_graph, model, node


def integers(*shape: int, dtype: Any = np.int8) -> np.ndarray:
    """All of the type's range, both ends among it."""
    limits = np.iinfo(dtype)
    random = np.random.default_rng(0)
    result = random.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    result.reshape(-1)[:2] = limits.min, limits.max
    return result


def zero_point(zero: str, count: int, dtype: Any) -> np.ndarray:
    """The largest zero point, the one that leaves signed bytes, or one for each channel, over all of the range."""
    limits = np.iinfo(dtype)
    if zero == "channels":
        return np.linspace(limits.min, limits.max, count).round().astype(dtype)
    return np.array(limits.max if zero == "end" else (limits.max + limits.min + 1) // 2, dtype)


@pytest.mark.parametrize(
    ("dtype", "zero", "groups", "outputs", "kernel"),
    [
        (np.int8, "channels", 2, 21, "conv"),
        (np.uint8, "end", 2, 21, "conv"),
        (np.uint8, "middle", 1, 10, "conv"),
        (np.int8, "end", 8, 3, "conv_direct"),
        (np.uint8, "channels", 8, 1, "conv_direct"),
    ],
)
def test_integers_of_every_zero_point_are_exact(dtype: Any, zero: str, groups: int, outputs: int, kernel: str) -> None:
    random, shape = np.random.default_rng(3), [2, 24, 7, 5]
    w = integers(groups * outputs, 24 // groups, 3, 3, dtype=dtype)
    constants = {"w": w, "z": np.array(7, np.uint8), "v": zero_point(zero, groups * outputs, dtype)}
    nodes = [node("ConvInteger", "x w z v", "y", group=groups, pads=[1] * 4)]
    proto = model(nodes, {"x": (np.uint8, shape)}, "y", constants)
    inputs = [random.integers(0, 256, shape).astype(np.uint8)]
    (result,), kernels = run(load_graph(proto), inputs)
    assert kernel in kernels
    np.testing.assert_array_equal(result, interpret(load_graph(proto), inputs)[0])


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
    nodes = [
        node("DequantizeLinear", names, "w", axis=axis),
        node(op, inputs, "p", **attributes),
        node("Relu", "p", "y"),
    ]
    return model(nodes, {"x": shape}, "y", constants)


def without_integers(proto: onnx.ModelProto) -> Graph:
    """The graph with its weights as float32 alone."""
    graph = load_graph(proto)
    for value in graph.constants():
        value.quantized = None
    return graph


FLOATS = {
    "channels": (quantised("Conv", [2, 12, 9, 7], integers(21, 12, 3, 3, dtype=np.uint8), "channels", bias=21), "conv"),
    "one scale": (quantised("Conv", [1, 6, 9, 7], integers(20, 6, 3, 3), "none", vector=False), "conv"),
    "groups": (quantised("Conv", [1, 24, 7, 5], integers(70, 12, 1, 1), "end", group=2, strides=[2, 1]), "conv"),
    "in parts": (quantised("Conv", [1, 512, 3, 3], integers(8, 512, 1, 1, dtype=np.uint8), "middle"), "conv_sum"),
    "line": (quantised("Conv", [1, 8, 9], integers(21, 8, 3), "channels"), "conv"),
    "linear": (quantised("MatMul", [2, 20, 48], integers(48, 37), "channels"), "conv"),
    "few rows": (quantised("MatMul", [3, 48], integers(48, 37, dtype=np.uint8), "none"), "matmul"),
    "vector": (quantised("MatMul", [48], integers(48, 12), "end"), "matmul"),
    "gemm": (
        quantised(
            "Gemm", [20, 33], integers(38, 20, dtype=np.uint8), "channels", bias=38, transA=1, transB=1, alpha=0.5
        ),
        "matmul",
    ),
}


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_what_their_float32_gives_bit_by_bit(name: str) -> None:
    proto, kernel = FLOATS[name]
    graph = load_graph(proto)
    inputs = feeds(graph)
    (packed,), kernels = run(graph, inputs)
    (wide,), _ = run(without_integers(proto), inputs)
    assert kernel in kernels
    np.testing.assert_array_equal(packed, wide)
    (expected,) = interpret(load_graph(proto), inputs)
    np.testing.assert_allclose(packed, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize(("op", "rows"), [("MatMul", 20), ("MatMul", 3), ("Gemm", 20)])
def test_blocks_of_a_column_stay_bytes(op: str, rows: int, points: bool) -> None:
    """Of 24 positions, and one of 16 at the end."""
    random, transposed = np.random.default_rng(3), op == "Gemm"
    w = integers(64, 40, dtype=np.uint8 if points else np.int8)
    constants: dict[str, Any] = {"s": random.uniform(0.001, 0.02, (3, 40)).astype(np.float32)}
    if points:
        constants["z"] = random.integers(0, 256, (3, 40)).astype(np.uint8)
    constants = {name: array.T.copy() if transposed else array for name, array in {"q": w, **constants}.items()}
    nodes = [
        node("DequantizeLinear", "q s z" if points else "q s", "w", axis=int(transposed), block_size=24),
        node(op, "x w", "p", **({"transB": 1} if transposed else {})),
        node("Relu", "p", "y"),
    ]
    proto = model(nodes, {"x": [rows, 64]}, "y", constants, opset=21)
    compare(proto, kernels=["matmul"], rtol=1e-5, atol=2e-5)
    assert weight_bytes(load_graph(proto)) == w.nbytes + (1 + points) * 3 * 40 * 4


def test_columns_beyond_a_binding_are_cut() -> None:
    proto = quantised("MatMul", [3, 64], integers(64, 150), "channels")
    compare(proto, kernels=["matmul"] * 3, limits={"max-storage-buffer-binding-size": 4352}, rtol=1e-5, atol=2e-5)


def weight_bytes(graph: Graph) -> int:
    """Bytes of the constants that kernels read."""
    lowering = Lowering(graph)
    lowering.run()
    slots = {operand.tensor.slot for dispatch in lowering.dispatches for operand in dispatch.reads}
    return sum(slot.nbytes for slot in slots if slot.is_constant)


def test_weights_take_a_byte_each() -> None:
    w, b = integers(64, 64, 3, 3), integers(64, 128)
    floats = quantised("Conv", [1, 64, 9, 7], w, "none")
    assert weight_bytes(load_graph(floats)) == w.nbytes + 64 * 4
    assert weight_bytes(without_integers(floats)) == 4 * w.nbytes
    # a layer that float32 would have transformed for Winograd's tiles, of which there are four times as many weights
    large = quantised("Conv", [1, 64, 66, 66], w, "none")
    assert weight_bytes(load_graph(large)) == w.nbytes + 64 * 4
    assert weight_bytes(without_integers(large)) > 8 * w.nbytes
    assert weight_bytes(load_graph(quantised("MatMul", [2, 64], b, "none"))) == b.nbytes + 128 * 4
    convolution = model([node("ConvInteger", "x w", "y")], {"x": (np.uint8, [1, 64, 9, 7])}, "y", {"w": w})
    assert weight_bytes(load_graph(convolution)) == w.nbytes
    parameters: dict[str, Any] = {name: np.float32(0.1) for name in ("sa", "sb", "sy")}
    constants = parameters | {"b": b, "z": np.uint8(3), "v": np.int8(4), "w": np.uint8(5)}
    w = integers(64, 1, 3, 3)
    depthwise = model([node("ConvInteger", "x w", "y", group=64)], {"x": (np.uint8, [1, 64, 9, 7])}, "y", {"w": w})
    assert weight_bytes(load_graph(depthwise)) == w.nbytes
    product = model([node("QLinearMatMul", "a sa z b sb v sy w", "y")], {"a": (np.uint8, [2, 64])}, "y", constants)
    assert weight_bytes(load_graph(product)) <= b.nbytes + 16


def dynamic(
    channels: int, *, first: int = 0, outputs: int = 20, groups: int = 1, kernel: int = 3, height: int = 9
) -> onnx.ModelProto:
    """Two quantised convolutions of what a convolution computes, of its channels from ``first`` on."""
    random = np.random.default_rng(2)
    constants = {
        "w": random.integers(-3, 4, (first + channels, 4, 1, 1)).astype(np.float32),
        "starts": np.array([first]),
        "ends": np.array([first + channels]),
        "axes": np.array([1]),
        "q1": integers(outputs, channels // groups, kernel, kernel),
        "q2": integers(outputs, channels // groups, 1, 1, dtype=np.uint8),
        "z2": np.array(90, np.uint8),
    }
    nodes = [
        node("Conv", "x w", "c"),
        node("Slice", "c starts ends axes", "part"),
        node("DynamicQuantizeLinear", "part", "b scale zero"),
        node("ConvInteger", "b q1 zero", "y", group=groups, pads=[kernel // 2] * 4, strides=[2, 1]),
        node("ConvInteger", "b q2 zero z2", "z", group=groups),
    ]
    return model(nodes, {"x": [2, 4, height, 7]}, "y z", constants)


@pytest.mark.parametrize(
    ("proto", "packed"),
    [
        (dynamic(16), True),
        (dynamic(32, first=4, groups=2, kernel=1), True),
        (dynamic(12, first=2), False),
        (dynamic(10), False),
        (dynamic(20, groups=20), False),
    ],
    ids=["fours", "a slice", "no whole words", "no fours", "depthwise"],
)
def test_quantised_pixels_are_bytes_where_their_readers_load_words(proto: onnx.ModelProto, packed: bool) -> None:
    lowering = Lowering(load_graph(proto))
    lowering.run()
    assert packed == any(operand.tensor.dtype == "u8" for d in lowering.dispatches for operand in d.writes)
    compare(proto, inputs=[whole_numbers(2, 4, 9, 7)])


def test_quantised_pixels_in_ranges_of_rows() -> None:
    inputs, limits = [whole_numbers(2, 4, 50, 7)], {"max-storage-buffer-binding-size": 6400}
    compare(dynamic(16, height=50), inputs=inputs, limits=limits)


def whole_numbers(*shape: int) -> np.ndarray:
    """Of which float32 forms exact sums, so that nothing moves before it is rounded to a level."""
    return np.random.default_rng(4).integers(-20, 21, shape).astype(np.float32)
