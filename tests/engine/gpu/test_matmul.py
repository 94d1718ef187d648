"""Matrix products of any shape, layout and type against the reference, whole and cut into ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare, run
from tests.engine.models import feeds, interpret, load_graph, model, node

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}

extents = st.sampled_from([1, 2, 3, 4, 7, 8, 12, 33, 64, 70])
batches = st.lists(st.integers(1, 3), max_size=2)


@st.composite
def operands(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Shapes whose batches broadcast, of either operand with axes left out or of extent 1."""
    m, k, n = draw(extents), draw(extents), draw(extents)
    batch = draw(batches)
    one, other = ([1 if draw(st.booleans()) else extent for extent in batch] for _ in range(2))
    return [*one[draw(st.integers(0, len(one))) :], m, k], [*other[draw(st.integers(0, len(other))) :], k, n]


def turned(rank: int) -> list[int]:
    """A permutation that exchanges the last two axes."""
    return [*range(rank - 2), rank - 1, rank - 2]


@settings(max_examples=40, deadline=None)
@given(operands(), st.booleans(), st.booleans())
def test_matmul_of_shapes_and_transposes(shapes: tuple[list[int], list[int]], turn_a: bool, turn_b: bool) -> None:
    nodes, inputs, names = [], {}, []
    for name, shape, turn in (("a", shapes[0], turn_a), ("b", shapes[1], turn_b)):
        inputs[name] = [shape[axis] for axis in turned(len(shape))] if turn else shape
        names.append(f"{name}_turned" if turn else name)
        if turn:
            nodes.append(node("Transpose", name, names[-1], perm=turned(len(shape))))
    compare(model([*nodes, node("MatMul", " ".join(names), "y")], inputs, "y"), kernels=["matmul"], **CLOSE)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.booleans(), st.booleans())
def test_matmul_of_vectors(m: int, k: int, batch: int, left: bool, right: bool) -> None:
    a = [k] if left else [batch, m, k]
    b = [k] if right else [batch, k, m]
    compare(model([node("MatMul", "a b", "y")], {"a": a, "b": b}, "y"), **CLOSE)


@settings(max_examples=25, deadline=None)
@given(
    extents,
    extents,
    extents,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "1", "m", "n", "mn", "1n"]),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([1.0, -2.0]),
)
def test_gemm(m: int, k: int, n: int, turn_a: bool, turn_b: bool, bias: str, alpha: float, beta: float) -> None:
    inputs = {"a": [k, m] if turn_a else [m, k], "b": [n, k] if turn_b else [k, n]}
    shape = {"": None, "1": [1], "m": [m, 1], "n": [n], "mn": [m, n], "1n": [1, n]}[bias]
    if shape is not None:
        inputs["c"] = shape
    gemm = node("Gemm", " ".join(inputs), "y", transA=int(turn_a), transB=int(turn_b), alpha=alpha, beta=beta)
    compare(model([gemm], inputs, "y"), kernels=["matmul"], **CLOSE)


@settings(max_examples=12, deadline=None)
@given(operands(), st.sampled_from([np.int32, np.uint32, np.int64]))
def test_integers(shapes: tuple[list[int], list[int]], dtype: type) -> None:
    inputs = {"a": (dtype, shapes[0]), "b": (dtype, shapes[1])}
    compare(model([node("MatMul", "a b", "y")], inputs, "y"))


def test_integers_wrap_in_32_bits() -> None:
    proto = model([node("MatMul", "a b", "y")], {"a": (np.int32, [2, 3]), "b": (np.int32, [3, 2])}, "y")
    compare(proto, inputs=[np.full((2, 3), 1 << 17, np.int32), np.full((3, 2), 1 << 16, np.int32)])


@settings(max_examples=20, deadline=None)
@given(
    operands(),
    st.sampled_from([np.uint8, np.int8]),
    st.sampled_from(["", "scalar", "vector"]),
    st.sampled_from(["", "scalar", "vector"]),
    st.booleans(),
)
def test_matmul_integer(
    shapes: tuple[list[int], list[int]], dtype: type, a_zero: str, b_zero: str, constant: bool
) -> None:
    a, b = shapes
    inputs: dict[str, Any] = {"a": (np.uint8, a), "b": (dtype, b)}
    constants: dict[str, Any] = {}
    names = ["a", "b"]
    for name, kind, extent, points in (("a_zero", a_zero, a[-2], np.uint8), ("b_zero", b_zero, b[-1], dtype)):
        names.append(name if kind else "-")
        if kind:
            inputs[name] = (points, [] if kind == "scalar" else [extent])
    if constant:
        for name in [name for name in inputs if name.startswith("b")]:
            kind, shape = inputs.pop(name)
            constants[name] = np.random.default_rng(0).integers(0, 100, shape).astype(kind)
    compare(model([node("MatMulInteger", " ".join(names), "y")], inputs, "y", constants))


@settings(max_examples=15, deadline=None)
@given(operands(), st.booleans(), st.sampled_from([np.uint8, np.int8]))
def test_qlinear_matmul_is_off_by_one_at_the_most(
    shapes: tuple[list[int], list[int]], vectors: bool, dtype: type
) -> None:
    random = np.random.default_rng(1)
    a, b = shapes
    columns = [b[-1]] if vectors else []
    constants = {
        "a_scale": np.float32(0.25),
        "a_zero": dtype(3),
        "b_scale": random.uniform(0.1, 0.5, columns).astype(np.float32),
        "b_zero": random.integers(0, 9, columns).astype(dtype),
        "y_scale": np.float32(0.75),
        "y_zero": dtype(5),
    }
    names = "a a_scale a_zero b b_scale b_zero y_scale y_zero"
    proto = model([node("QLinearMatMul", names, "y")], {"a": (dtype, a), "b": (dtype, b)}, "y", constants)
    compare(proto, atol=1)


@pytest.mark.parametrize("shape", [[12, 16], [16], [1], [2, 12, 16]])
def test_element_wise_nodes_join_the_product(shape: list[int]) -> None:
    nodes = [node("MatMul", "a b", "p"), node("Add", "p c", "s"), node("Relu", "s", "y")]
    inputs = {"a": [2, 12, 10], "b": [10, 16], "c": shape}
    compare(model(nodes, inputs, "y"), kernels=["matmul"], **CLOSE)


def test_an_addend_of_the_batch_keeps_it_apart() -> None:
    nodes = [node("MatMul", "a b", "p"), node("Add", "p c", "y")]
    compare(model(nodes, {"a": [3, 5, 8], "b": [8, 12], "c": [3, 1, 12]}, "y"), kernels=["matmul"], **CLOSE)


def test_nothing_to_sum_gives_zeros() -> None:
    compare(model([node("MatMul", "a b", "y")], {"a": [3, 0], "b": [0, 5]}, "y"))


def test_slices_and_parts_of_a_concat() -> None:
    nodes = [
        node("Slice", "a starts ends axes steps", "s"),
        node("MatMul", "s b", "p"),
        node("MatMul", "s c", "q"),
        node("Concat", "p q", "y", axis=-1),
    ]
    constants = {"starts": [9, 1], "ends": [-20, 20], "axes": [0, 1], "steps": [-1, 2]}
    constants = {name: np.array(value, np.int64) for name, value in constants.items()}
    inputs = {"a": [10, 24], "b": [10, 7], "c": [10, 6]}
    compare(model(nodes, inputs, "y", constants), kernels=["matmul", "matmul"], **CLOSE)


@pytest.mark.parametrize(
    ("a", "b"), [([300, 20], [20, 8]), ([9, 16, 12], [9, 12, 16]), ([3, 2, 33, 8], [2, 8, 12]), ([40, 1, 8], [8, 4])]
)
def test_large_products_are_cut(a: list[int], b: list[int]) -> None:
    proto = model([node("MatMul", "a b", "p"), node("Relu", "p", "y")], {"a": a, "b": b}, "y")
    compare(proto, limits={"max-storage-buffer-binding-size": 4352}, **CLOSE)


def test_a_large_constant_is_cut_by_columns() -> None:
    b = np.random.default_rng(0).standard_normal((20, 300)).astype(np.float32)
    proto = model([node("MatMul", "a b", "p"), node("Add", "p c", "y")], {"a": [2, 20], "c": [300]}, "y", {"b": b})
    compare(proto, limits={"max-storage-buffer-binding-size": 4352}, **CLOSE)


@pytest.mark.parametrize(("limit", "kernel"), [(1 << 20, "conv"), (1 << 16, "matmul")])
def test_a_known_matrix_is_bound_whole_or_cut(limit: int, kernel: str) -> None:
    """Of 77 KB, 98 packed: the convolution's kernel cannot cut it, the product's takes it column by column."""
    matrix = np.random.default_rng(3).standard_normal((64, 300)).astype(np.float32)
    proto = model([node("MatMul", "x w", "y")], {"x": [40, 64]}, "y", {"w": matrix})
    graph = load_graph(proto)
    inputs = feeds(graph)
    expected = interpret(graph, inputs)
    results, kernels = run(load_graph(proto), inputs, limits={"max-storage-buffer-binding-size": limit})
    assert kernels[0] == kernel
    np.testing.assert_allclose(results[0], expected[0], **CLOSE)
