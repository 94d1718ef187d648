"""Products with 4-bit weights become MatMulNBits where its blocks can be theirs, and nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.graph.ir import Graph
from engine.graph.passes import optimize
from engine.graph.passes.pack_products import pack_products
from engine.ops.matmul_nbits import MatMulNBits
from tests.engine.four_bits import KINDS, convolution, dequantized, four_bit_tensor, product
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import execute, feeds, interpret, load_graph, need_opset, node

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""Sums of up to 200 products that reach 20 on the way; the weights are equal, the sums in another order."""


def blocks_of(graph: Graph) -> list[int]:
    return [entry.attributes["block_size"] for entry in graph.nodes if entry.op == "MatMulNBits"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    ("options", "block"),
    [
        ({"k": 70, "n": 5}, 32),
        ({"k": 70, "n": 5, "transposed": True}, 32),
        ({"k": 200, "n": 3, "transposed": True, "gemm": True, "block": 96}, 32),
        ({"k": 64, "n": 7, "gemm": True, "block": 64}, 64),
        ({"k": 33, "n": 4, "block": 1000}, 64),
        ({"k": 384, "n": 2, "per": "axis"}, 128),
        ({"k": 20, "n": 3, "per": "axis", "transposed": True, "rows": (2, 3)}, 32),
        ({"k": 17, "n": 1, "per": "tensor", "rows": ()}, 32),
    ],
)
def test_products(options: dict[str, Any], block: int, zero: bool, kind: int) -> None:
    graph = rewrite(product(kind=kind, zero=zero, **options), pack_products, 1, **CLOSE)
    assert [entry.op for entry in graph.nodes] == ["MatMulNBits"]
    (packed,) = graph.nodes
    assert blocks_of(graph) == [block]
    blocks = -(-options["k"] // block)
    weights = packed.constant(1)
    assert weights is not None
    assert weights.nbytes == options["n"] * blocks * block // 2
    # the zero points of MatMulNBits are 8 unless they are given, and those of UINT4 are 0
    assert (packed.optional_input(3) is None) == (kind == TensorProto.INT4 and not zero)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transposed", [False, True])
def test_the_weights_are_those_of_the_file_bit_by_bit(transposed: bool, kind: int) -> None:
    """A unit matrix on the left gives them back."""
    proto = product(48, 5, rows=(48,), transposed=transposed, zero=True, kind=kind, block=16)
    graph = load_graph(proto)
    (expected,) = interpret(graph, [np.eye(48, dtype=np.float32)])
    pack_products(graph)
    (node_,) = graph.nodes
    weights = MatMulNBits.reference(node_, np.eye(48, dtype=np.float32), *map(node_.constant, range(1, 4)))
    np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize("scales", [np.float16, np.float32])
def test_a_float16_file_is_packed_too(scales: Any) -> None:
    nodes = [node("Cast", "w", "h", to=TensorProto.FLOAT16), node("Transpose", "h", "t"), node("MatMul", "a t", "y")]
    proto = dequantized(nodes, {"a": (np.float16, [3, 64])}, [5, 64], axis=1, dtype=scales)
    graph = load_graph(proto)
    inputs = feeds(graph)
    (expected,) = interpret(load_graph(proto), inputs)
    assert optimize(graph)["pack_products"] == 1
    (result,) = execute(graph, inputs)
    assert result.dtype == np.float16
    np.testing.assert_allclose(result, expected, 2e-3, 2e-3)


def test_an_addend_that_is_no_bias_is_added_behind() -> None:
    proto = product(64, 5, gemm=True)
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "c")
    proto.graph.initializer.remove(bias)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("c", 1, [3, 1]))
    graph = rewrite(proto, pack_products, 1, **CLOSE)
    assert [entry.op for entry in graph.nodes] == ["MatMulNBits", "Add"]


@pytest.mark.parametrize("shape", [[5], [1, 5], [1], [], [3, 5]])
def test_what_a_gemm_adds(shape: list[int]) -> None:
    """A number for each column goes into the product, and all else behind it."""
    addend = {"c": np.asarray(np.random.default_rng(2).standard_normal(shape)).astype(np.float32)}
    proto = dequantized([node("Gemm", "a w c", "y")], {"a": [3, 64]}, [64, 5], constants=addend)
    graph = rewrite(proto, pack_products, 1, **CLOSE)
    behind = [] if shape in ([5], [1, 5]) else ["Add"]
    assert [entry.op for entry in graph.nodes] == ["MatMulNBits", *behind]


@pytest.mark.parametrize("zero_point_has_an_axis", [False, True])
def test_a_scale_and_a_zero_point_of_other_shapes(zero_point_has_an_axis: bool) -> None:
    """ONNX Runtime refuses them when it runs; the arithmetic is clear."""
    proto = product(64, 5, per="tensor" if zero_point_has_an_axis else "axis")
    points = np.arange(5) if zero_point_has_an_axis else np.array(3)
    proto.graph.initializer.append(four_bit_tensor("z", TensorProto.INT4, points))
    proto.graph.node[0].input.append("z")
    if zero_point_has_an_axis:
        proto.graph.node[0].attribute.add(name="axis", type=onnx.AttributeProto.INT, i=1)
    graph = rewrite(proto, pack_products, 0)
    assert optimize(graph)["pack_products"] == 0


def test_weights_that_two_products_read_are_packed_once() -> None:
    nodes = [node("MatMul", "a w", "p"), node("MatMul", "p w", "r"), node("Gemm", "r w", "y", transB=1)]
    graph = rewrite(dequantized(nodes, {"a": [3, 64]}, [64, 64], per="tensor"), pack_products, 3, rtol=1e-4, atol=1e-2)
    first, second, turned = (entry.inputs[1] for entry in graph.nodes)
    assert first is second
    assert turned is not first


BLOCKS_OF_COLUMNS = product(64, 32, axis=1)
A_SCALE_FOR_EACH_ROW = product(64, 5, per="axis", axis=0)
BLOCKS_OF_NO_POWER = product(64, 5, block=24)
SMALL_BLOCKS = product(64, 5, block=8)
ON_THE_LEFT = dequantized([node("MatMul", "w a", "y")], {"a": [64, 3]}, [5, 64])
A_STACK = dequantized([node("MatMul", "a w", "y")], {"a": [3, 64]}, [2, 64, 5], axis=1)
SCALED = dequantized([node("Gemm", "a w", "y", alpha=0.5)], {"a": [3, 64]}, [64, 5])
TURNED_LEFT = dequantized([node("Gemm", "a w", "y", transA=1)], {"a": [64, 3]}, [64, 5])
A_PART_ADDED = dequantized([node("Gemm", "a w c", "y", beta=0.5)], {"a": [3, 64], "c": [5]}, [64, 5])
NO_SUMMANDS, NO_COLUMNS = product(0, 5, per="tensor"), product(64, 0, per="tensor")


@pytest.mark.parametrize(
    ("proto", "op", "bytes_are_known"),
    [
        (BLOCKS_OF_COLUMNS, "MatMul", True),
        (A_SCALE_FOR_EACH_ROW, "MatMul", True),
        (BLOCKS_OF_NO_POWER, "MatMul", True),
        (SMALL_BLOCKS, "MatMul", True),
        (ON_THE_LEFT, "MatMul", True),
        (A_STACK, "MatMul", False),
        (SCALED, "Gemm", True),
        (TURNED_LEFT, "Gemm", True),
        (A_PART_ADDED, "Gemm", True),
        (NO_SUMMANDS, "MatMul", True),
        (NO_COLUMNS, "MatMul", True),
        (convolution("axis"), "Conv", True),
        (convolution("block"), "Conv", False),
    ],
)
def test_what_stays_is_dequantised_once(proto: onnx.ModelProto, op: str, bytes_are_known: bool) -> None:
    """And remembers its integers, as bytes, where a GPU might keep these."""
    graph = rewrite(proto, pack_products, 0)
    assert optimize(graph)["pack_products"] == 0
    (last,) = graph.nodes
    assert last.op == op
    weights = last.input(0 if proto is ON_THE_LEFT else 1)
    assert weights.dtype == np.float32
    assert (weights.quantized is not None) == bytes_are_known
    if weights.quantized is not None:
        assert weights.quantized.integers.dtype == np.int8


def test_what_a_run_makes_is_not_packed() -> None:
    """Neither the scales nor the zero points, nor a product that no pass has widened to float32."""
    scales, points = product(64, 5), product(64, 5, zero=True)
    for proto, name, kind, shape in ((scales, "s", TensorProto.FLOAT, [2, 5]), (points, "z", TensorProto.INT4, [2, 5])):
        stored = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
        proto.graph.initializer.remove(stored)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    half = dequantized([node("MatMul", "a w", "y")], {"a": (np.float16, [3, 64])}, [64, 5], dtype=np.float16)
    for proto in (scales, points, half):
        assert pack_products(load_graph(proto)) == 0


@pytest.mark.parametrize(("scales", "output"), [(np.float32, np.float16), (np.float16, np.float32)])
def test_a_product_of_another_type_than_its_scales_is_not_packed(scales: Any, output: Any) -> None:
    """As DequantizeLinear's ``output_dtype`` has it from operator set 23 on."""
    need_opset(23)
    proto = dequantized([node("MatMul", "a w", "y")], {"a": (output, [3, 64])}, [64, 5], dtype=scales)
    proto.opset_import[0].version = 23
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(output))
    proto.graph.node[0].attribute.add(name="output_dtype", type=onnx.AttributeProto.INT, i=kind)
    assert pack_products(load_graph(proto)) == 0


def test_a_scale_that_is_no_number_is_not_packed() -> None:
    """A zero times it is none, and what fills a block up are zeros."""
    proto = product(20, 3)
    scales = next(tensor for tensor in proto.graph.initializer if tensor.name == "s")
    scales.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3), np.inf, np.float32), "s"))
    assert pack_products(load_graph(proto)) == 0


def test_a_backend_without_the_product_keeps_what_there_is() -> None:
    class Without:
        def supports(self, node: Any) -> bool:
            return bool(node.op != "MatMulNBits")

    graph = load_graph(product(64, 5))
    assert pack_products(graph, Without()) == 0
    assert [entry.op for entry in graph.nodes] == ["Unpack4Bit", "DequantizeLinear", "MatMul"]
