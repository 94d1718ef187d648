"""Products with packed weights against the reference: any shape, with chains, in ranges and in float16 storage."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UnsupportedError
from engine.gpu.lowering.lowering import Lowering
from tests.engine.gpu.gpu import compare, run, test_adapter
from tests.engine.gpu.plans import assert_within_limits, plan_case
from tests.engine.models import feeds, interpret, load_graph, model, node
from tests.engine.packed import DOMAINS, bnb4, nbits

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-4}
"""Measured: 3.2e-5 on sums of 70 products that reach 60 on the way."""

CHAIN = (node("Add", "p c", "s"), node("Relu", "s", "y"))

# the tiles of few and of some rows: the widest, which compiles for long, has a test of its own
rows = st.lists(st.sampled_from([1, 3, 9, 32]), min_size=1, max_size=2)
depths = st.sampled_from([1, 4, 33, 70])
columns = st.sampled_from([1, 4, 7, 12, 32])


@settings(max_examples=12, deadline=None)
@given(
    rows,
    depths,
    columns,
    st.sampled_from([4, 8]),
    st.sampled_from([16, 32]),
    st.sampled_from(["", "packed", "float"]),
    st.booleans(),
)
def test_nbits(shape: list[int], k: int, n: int, bits: int, block: int, zero: str, bias: bool) -> None:
    proto = nbits([*shape, k], n, bits=bits, block=block, zero=zero, bias=bias)
    compare(proto, kernels=["matmul"], **CLOSE)


@settings(max_examples=8, deadline=None)
@given(rows, depths, columns, st.sampled_from([16, 64]), st.sampled_from([0, 1]))
def test_bnb4(shape: list[int], k: int, n: int, block: int, kind: int) -> None:
    compare(bnb4([*shape, k], n, block=block, kind=kind), kernels=["matmul"], **CLOSE)


@pytest.mark.parametrize("addend", [[2, 12, 16], [16], [1], [12, 1]])
def test_element_wise_nodes_join_the_product(addend: list[int]) -> None:
    inputs = {"c": (np.float32, addend)}
    compare(nbits([2, 12, 32], 16, zero="packed", bias=True, chain=CHAIN, inputs=inputs), kernels=["matmul"], **CLOSE)
    compare(bnb4([2, 12, 32], 16, chain=CHAIN, inputs=inputs), kernels=["matmul"], **CLOSE)


def test_gelu_joins_the_product() -> None:
    chain = (
        node("Div", "p root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "f"),
        node("Mul", "p f", "g"),
        node("Mul", "g half", "y"),
    )
    proto = nbits([9, 32], 16, bias=True, chain=chain)
    constants = {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.array(v), name) for name, v in constants.items())
    graph = load_graph(proto)
    inputs = feeds(graph)
    (expected,) = interpret(graph, inputs)
    (result,), _ = run(load_graph(proto), inputs)
    np.testing.assert_allclose(result, expected, **CLOSE)


@pytest.mark.parametrize("proto", [nbits([70, 70], 70, zero="packed"), bnb4([70, 70], 70)], ids=["nbits", "bnb4"])
def test_wide_tiles(proto: onnx.ModelProto) -> None:
    compare(proto, kernels=["matmul"], **CLOSE)


def test_vectors() -> None:
    compare(nbits([40], 9, bias=True), kernels=["matmul"], **CLOSE)
    compare(bnb4([40], 9), kernels=["matmul"], **CLOSE)
    b = np.random.default_rng(0).integers(0, 256, (40, 9)).astype(np.uint8)
    compare(
        model([node("MatMulInteger", "a b zero", "y")], {"a": (np.uint8, [40]), "zero": (np.uint8, [])}, "y", {"b": b})
    )


def test_a_long_chain_keeps_to_the_buffers_that_every_adapter_has() -> None:
    names = [f"c{index}" for index in range(6)]
    chain = [
        node("Add", f"{'p' if index == 0 else f't{index - 1}'} {name}", f"t{index}") for index, name in enumerate(names)
    ]
    chain[-1].output[0] = "y"
    inputs = {name: (np.float32, [9, 32]) for name in names}
    proto = nbits([9, 32], 32, zero="packed", bias=True, chain=tuple(chain), inputs=inputs)
    for program in plan_case(load_graph(proto)).data.programs:
        assert_within_limits(program.wgsl, program.kernel)
    compare(proto, **CLOSE)


def test_views_of_the_left_side() -> None:
    proto = nbits([2, 5, 24], 10, bias=True)
    turn = node("Transpose", "x", "a", perm=[1, 0, 2])
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    turned = model([turn, *proto.graph.node], {"x": [5, 2, 24]}, "y", constants=constants, domains=DOMAINS)
    compare(turned, kernels=["matmul"], **CLOSE)


@pytest.mark.parametrize("proto", [nbits([3, 64], 300, bias=True, zero="packed"), bnb4([3, 64], 300)], ids=["n", "b"])
def test_weights_beyond_a_binding_are_cut_by_columns(proto: onnx.ModelProto) -> None:
    compare(proto, limits={"max-storage-buffer-binding-size": 4352}, **CLOSE)


@pytest.mark.parametrize("make", [nbits, bnb4])
def test_in_half_storage(make: Any) -> None:
    adapter = test_adapter()
    if adapter is not None and not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    # scales that float16 holds, as those of a float16 file, since they too are stored so
    proto = make([36, 64], 300, dtype=np.float16)
    graph = load_graph(proto)
    inputs = feeds(graph)
    (expected,) = interpret(graph, inputs)
    (result,), _ = run(load_graph(proto), inputs, half=True)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=2e-3)


def test_weights_take_their_bits_and_are_there_once() -> None:
    proto = nbits([4, 512], 512, block=32)
    again = onnx.NodeProto()
    again.CopyFrom(proto.graph.node[0])
    again.input[0], again.output[0] = "y", "z"
    proto.graph.node.append(again)
    proto.graph.output[0].name = "z"
    lowering = Lowering(load_graph(proto))
    lowering.run()
    assert [dispatch.kernel for dispatch in lowering.dispatches] == ["matmul"] * 2
    slots = {operand.tensor.slot for dispatch in lowering.dispatches for operand in dispatch.reads}
    assert sum(slot.nbytes for slot in slots if slot.is_constant) == 512 * 512 // 2 + 512 * 16 * 4


def test_weights_that_only_a_run_knows_are_refused() -> None:
    proto = nbits([4, 32], 8)
    scales = next(tensor for tensor in proto.graph.initializer if tensor.name == "scales")
    proto.graph.initializer.remove(scales)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("scales", 1, [8, 2]))
    with pytest.raises(UnsupportedError, match="known at load; use backend 'numpy'"):
        Lowering(load_graph(proto)).run()


@settings(max_examples=12, deadline=None)
@given(
    rows,
    depths,
    columns,
    st.sampled_from([np.uint8, np.int8]),
    st.sampled_from(["", "one", "rows"]),
    st.sampled_from(["", "one", "columns"]),
)
def test_integers(shape: list[int], k: int, n: int, dtype: Any, a_zero: str, b_zero: str) -> None:
    random, limits = np.random.default_rng([k, n]), np.iinfo(dtype)

    def integers(dims: list[int]) -> np.ndarray:
        return random.integers(limits.min, limits.max, dims, endpoint=True).astype(dtype)

    a = [*shape, k] if len(shape) > 1 else [4, *shape, k]
    inputs: dict[str, Any] = {"a": (np.uint8, a)}
    constants = {"b": integers([k, n])}
    if a_zero:
        inputs["a_zero"] = (np.uint8, [] if a_zero == "one" else [a[-2]])
    if b_zero:
        constants["b_zero"] = integers([] if b_zero == "one" else [n])
    names = f"a b {'a_zero' if a_zero else '-'} {'b_zero' if b_zero else '-'}"
    kernels = ["elementwise", "matmul"] if a_zero == "rows" and a[-2] > 1 else ["matmul"]
    compare(model([node("MatMulInteger", names, "y")], inputs, "y", constants), kernels=kernels)


def test_integers_beyond_a_binding_are_cut_by_columns() -> None:
    random = np.random.default_rng(0)
    constants = {
        "b": random.integers(0, 256, (64, 150)).astype(np.uint8),
        "b_zero": random.integers(0, 256, 150).astype(np.uint8),
    }
    proto = model([node("MatMulInteger", "a b - b_zero", "y")], {"a": (np.uint8, [3, 64])}, "y", constants)
    compare(proto, kernels=["matmul"] * 3, limits={"max-storage-buffer-binding-size": 4352})


def test_a_quantised_product_is_one_kernel_behind_the_quantisation() -> None:
    """As ONNX Runtime's dynamic quantisation writes a MatMul with its bias."""
    random = np.random.default_rng(0)
    nodes = [
        node("DynamicQuantizeLinear", "x", "a scale a_zero"),
        node("MatMulInteger", "a b a_zero b_zero", "sums"),
        node("Cast", "sums", "cast", to=1),
        node("Mul", "scale b_scale", "factor"),
        node("Mul", "cast factor", "product"),
        node("Add", "bias product", "y"),
    ]
    constants = {
        "b": random.integers(0, 256, (64, 40)).astype(np.uint8),
        "b_zero": np.array(127, np.uint8),
        "b_scale": np.array(0.01, np.float32),
        "bias": random.standard_normal(40).astype(np.float32),
    }
    proto = model(nodes, {"x": [2, 30, 64]}, "y", constants)
    kernels = ["extremes", "quantization", "elementwise", "elementwise", "matmul"]
    compare(proto, kernels=kernels, rtol=1e-5, atol=1e-4)
