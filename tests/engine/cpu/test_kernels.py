"""Every kernel but convolution against the reference, whole and finely cut among threads."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from engine.cpu.chain import EXPANSIONS
from engine.cpu.elementwise import OPERATORS
from engine.cpu.lower import CHOICES, DIRECT, OTHERS, lower
from engine.ops import operators
from tests.engine.cpu.kernels import THREADS, compare, small_strips
from tests.engine.models import execute, interpret, load_graph, model, node

ELEMENTWISE = "ChainKernel|ElementwiseKernel"

UNARY = [
    *("Abs", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Relu", "Sqrt", "Tanh", "Elu", "HardSigmoid"),
    *("HardSwish", "LeakyRelu", "Mish", "Round", "Selu", "Sigmoid", "Softplus", "Softsign", "ThresholdedRelu", "Ceil"),
    *("Sin", "Cos", "Sign", "IsNaN", "IsInf", "Clip", "Not", "Swish"),
]
BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum"]
COMPARISONS = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]
LOGICAL = ["And", "Or", "Xor"]
SINCE = {"Mish": 18, "Swish": 24}


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unary(op: str, dtype: Any) -> None:
    spec = (np.bool_ if op == "Not" else dtype, [3, 5, 7])
    # NumPy's own loops may differ by a rounding from one length of array to another
    compare(model([node(op, "x", "y")], {"x": spec}, "y", opset=SINCE.get(op, 17)), rtol=2e-7, kernel=ELEMENTWISE)


@pytest.mark.parametrize("op", BINARY + COMPARISONS + LOGICAL)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([3, 5, 7], [3, 5, 7]),
        ([3, 5, 7], [1]),
        ([3, 5, 7], [5, 1]),
        ([3, 5, 7], []),
        ([2, 3, 5, 7], [3, 1, 1]),
        ([2, 1, 5, 1], [2, 3, 1, 1]),
        ([], []),
        ([0, 4], [1, 4]),
    ],
    ids=str,
)
def test_binary(op: str, a: list[int], b: list[int]) -> None:
    dtype = np.bool_ if op in LOGICAL else np.float32
    compare(model([node(op, "a b", "y")], {"a": (dtype, a), "b": (dtype, b)}, "y"), rtol=2e-7, kernel=ELEMENTWISE)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.float64])
@pytest.mark.parametrize("op", ["Add", "Mul", "Max", "Equal"])
def test_other_dtypes(op: str, dtype: Any) -> None:
    compare(model([node(op, "a b", "y")], {"a": (dtype, [9, 5]), "b": (dtype, [5])}, "y"), kernel=ELEMENTWISE)


@pytest.mark.parametrize(("a", "b"), [([1, 4, 600], [4, 4, 1]), ([600, 1], [1, 4]), ([1, 1, 600], [2, 2, 1])], ids=str)
def test_result_of_another_dtype_but_the_same_bytes(a: list[int], b: list[int]) -> None:
    # four bool results take the memory of one float32 that broadcasts to them
    proto = model([node("Neg", "x", "n"), node("Greater", "n b", "y")], {"x": a, "b": b}, "y")
    graph = load_graph(proto)
    inputs = [np.random.default_rng(0).standard_normal(value.shape).astype(np.float32) for value in graph.inputs]
    (expected,) = interpret(graph, inputs)
    for _ in range(20):  # a race between workers does not show every time
        with small_strips():
            np.testing.assert_array_equal(execute(graph, inputs, THREADS)[0], expected)


def test_other_inputs() -> None:
    compare(model([node("PRelu", "x s", "y")], {"x": [2, 5, 4], "s": [5, 1]}, "y"), kernel=ELEMENTWISE)
    inputs: dict[str, Any] = {"c": (np.bool_, [5, 1]), "a": [4, 1, 7], "b": []}
    compare(model([node("Where", "c a b", "y")], inputs, "y"), kernel=ELEMENTWISE)
    compare(model([node("Sum", "a b d", "y")], {"a": [4, 1], "b": [1, 3], "d": [2, 1, 1]}, "y"), rtol=2e-7)
    limits = {"low": np.array(-0.5, np.float32), "high": np.array(0.5, np.float32)}
    compare(model([node("Clip", "a low high", "y")], {"a": [4, 6]}, "y", limits), kernel=ELEMENTWISE)


@pytest.mark.parametrize("to", [TensorProto.FLOAT16, TensorProto.INT8, TensorProto.BOOL, TensorProto.DOUBLE])
def test_cast(to: int) -> None:
    compare(model([node("Cast", "x", "y", to=to)], {"x": [7, 9]}, "y"), kernel=ELEMENTWISE)


def test_every_elementwise_operator_exists() -> None:
    assert set(EXPANSIONS) <= OPERATORS <= {entry.op for entry in operators() if not entry.domain}
    assert {op for domain, op in CHOICES if not domain} <= {entry.op for entry in operators()}


def test_the_table_names_what_there_is() -> None:
    for file, condition, kernel in (*CHOICES.values(), OTHERS):
        module = importlib.import_module(f"engine.cpu.{file}")
        assert not condition or callable(getattr(module, condition))
        assert callable(getattr(module, kernel))
    assert {kernel for _, _, kernel in (*CHOICES.values(), OTHERS)} > DIRECT


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_max_pool(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3), "rank")
    kernel, strides, dilations = (
        data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank), what)
        for what in ("kernel", "strides", "dilations")
    )
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begins, ends = ([data.draw(st.integers(0, k - 1), "pad") for k in kernel] for _ in range(2))
    sizes = [data.draw(st.integers(extent, 12), "size") for extent in extents]
    proto = model(
        [
            node(
                "MaxPool",
                "x",
                "y",
                kernel_shape=kernel,
                strides=strides,
                dilations=dilations,
                pads=begins + ends,
                ceil_mode=data.draw(st.integers(0, 1), "ceil mode"),
            )
        ],
        {"x": [data.draw(st.integers(1, 2), "batch"), data.draw(st.integers(1, 5), "channels"), *sizes]},
        "y",
    )
    compare(proto, kernel="MaxPoolKernel")


@pytest.mark.parametrize("shape", [[2, 3, 5, 7], [1, 70, 40], [3, 4, 1, 1], [2, 3, 4, 5, 6]])
def test_global_average_pool(shape: list[int]) -> None:
    proto = model([node("GlobalAveragePool", "x", "y")], {"x": shape}, "y")
    compare(proto, rtol=2e-6, kernel="GlobalAveragePoolKernel")


def test_max_pool_with_indices_runs_by_the_reference() -> None:
    proto = model([node("MaxPool", "x", "y i", kernel_shape=[2, 2])], {"x": [1, 2, 6, 5]}, "y i")
    compare(proto, kernel="ReferenceKernel")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_resize(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["nearest", "linear", "cubic"]), "mode")
    options: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": data.draw(
            st.sampled_from(
                ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]
            ),
            "coordinates",
        ),
    }
    if mode == "nearest":
        rounding = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
        options["nearest_mode"] = data.draw(st.sampled_from(rounding), "rounding")
    else:
        options["antialias"] = data.draw(st.integers(0, 1), "antialias")
    if mode == "cubic":
        options["cubic_coeff_a"] = data.draw(st.sampled_from([-0.75, -0.5]), "coefficient")
        options["exclude_outside"] = data.draw(st.integers(0, 1), "exclude outside")
    lead = data.draw(st.tuples(*[st.integers(1, 3)] * 2), "batch and channels")
    size = data.draw(st.tuples(*[st.integers(1, 30)] * 2), "size")
    if data.draw(st.booleans(), "by sizes"):
        names, sizes = "x - - sizes", data.draw(st.tuples(*[st.integers(1, 60)] * 2), "sizes")
        constants = {"sizes": np.array([*lead, *sizes])}
    else:
        factor = st.sampled_from([1 / 3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0])
        pair = data.draw(st.tuples(factor, factor), "scales")
        names, scales = "x - scales", [max(scale, 1 / extent) for scale, extent in zip(pair, size, strict=True)]
        constants = {"scales": np.array([1, 1, *scales], np.float32)}
    proto = model([node("Resize", names, "y", **options)], {"x": [*lead, *size]}, "y", constants, opset=19)
    resizes = load_graph(proto).outputs[0].shape != (*lead, *size)
    compare(proto, rtol=2e-6, atol=2e-6, kernel="ResizeKernel" if resizes else None)


def test_resize_of_other_axes_and_ranks() -> None:
    for shape, sizes in [([7], [15]), ([4, 9], [9, 9]), ([3, 5, 2], [6, 5, 3]), ([2, 3, 4, 5, 6], [2, 3, 8, 3, 12])]:
        proto = model([node("Resize", "x - - s", "y", mode="linear")], {"x": shape}, "y", {"s": np.array(sizes)})
        compare(proto, rtol=1e-6, atol=1e-6, kernel="ResizeKernel")


def test_upsample() -> None:
    scales = {"s": np.array([1, 1, 2, 3], np.float32)}
    for mode in ("nearest", "linear"):
        proto = model([node("Upsample", "x s", "y", mode=mode)], {"x": [1, 2, 4, 5]}, "y", scales, opset=9)
        compare(proto, atol=6e-7, kernel="ResizeKernel")


def test_extrapolating_resize_runs_by_the_reference() -> None:
    constants = {"roi": np.array([0, 0, -1, 0, 1, 1, 2, 1], np.float32), "sizes": np.array([1, 1, 6, 6])}
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0, "mode": "linear"}
    proto = model([node("Resize", "x roi - sizes", "y", **options)], {"x": [1, 1, 6, 6]}, "y", constants)
    compare(proto, kernel="ReferenceKernel")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([4, 7], [7, 5]),
        ([3, 4, 7], [7, 5]),
        ([3, 4, 7], [3, 7, 5]),
        ([2, 1, 4, 7], [3, 7, 5]),
        ([4, 7], [3, 7, 5]),
        ([1, 4, 7], [3, 7, 5]),
        ([5, 0], [0, 3]),
        ([0, 3], [3, 2]),
        ([100, 64], [64, 30]),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matmul(a: list[int], b: list[int], dtype: Any) -> None:
    proto = model([node("MatMul", "a b", "y")], {"a": (dtype, a), "b": (dtype, b)}, "y")
    compare(proto, rtol=1e-5, atol=2e-5, kernel="MatMulKernel")


@pytest.mark.parametrize(("a", "b"), [([7], [7, 5]), ([4, 7], [7]), ([7], [7])], ids=str)
def test_matmul_of_vectors(a: list[int], b: list[int]) -> None:
    compare(model([node("MatMul", "a b", "y")], {"a": a, "b": b}, "y"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("c", [None, [], [1], [5], [6, 1], [6, 5]], ids=str)
@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm(c: list[int] | None, trans_a: int, trans_b: int) -> None:
    inputs: dict[str, Any] = {"a": [7, 6] if trans_a else [6, 7], "b": [5, 7] if trans_b else [7, 5]}
    if c is not None:
        inputs["c"] = c
    gemm = node("Gemm", " ".join(inputs), "y", transA=trans_a, transB=trans_b, alpha=0.5, beta=2.0)
    compare(model([gemm], inputs, "y"), rtol=1e-5, atol=1e-5, kernel="GemmKernel")


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_concat(axis: int, dtype: Any) -> None:
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for index, shape in enumerate(shapes):
        shape[axis] += index
    inputs = {name: (dtype, shape) for name, shape in zip("abc", shapes, strict=True)}
    compare(model([node("Concat", "a b c a", "y", axis=axis)], inputs, "y"), kernel="ConcatKernel")


def test_concat_of_constants_and_empty_tensors() -> None:
    constants = {"w": np.ones((1, 2), np.float32), "e": np.zeros((0, 2), np.float32)}
    compare(model([node("Concat", "w e x w e", "y", axis=0)], {"x": [3, 2]}, "y", constants), kernel="ConcatKernel")


@pytest.mark.parametrize(
    ("x", "outputs", "kernel"), [([1, 24, 20, 31], 24, (2, 2)), ([2, 3, 5, 7], 1, (3, 2)), ([1, 5, 9, 4], 3, (1, 4))]
)
@pytest.mark.parametrize("tail", [(), ("BatchNormalization",), ("BatchNormalization", "HardSwish")])
def test_transposed_convolution(x: list[int], outputs: int, kernel: tuple[int, int], tail: tuple[str, ...]) -> None:
    random = np.random.default_rng(0)
    names = "sbmv"
    constants = {name: random.uniform(0.5, 2, outputs).astype(np.float32) for name in names}
    constants["w"] = random.standard_normal((x[1], outputs, *kernel)).astype(np.float32)
    nodes = [node("ConvTranspose", "x w b", "0", strides=list(kernel))]
    for index, op in enumerate(tail):
        parameters = names if op == "BatchNormalization" else ""
        nodes.append(node(op, " ".join([str(index), *parameters]), str(index + 1)))
    proto = model(nodes, {"x": x}, str(len(tail)), constants)
    compare(proto, rtol=1e-5, atol=1e-5, kernel="ConvTransposeKernel")


@pytest.mark.parametrize("x", [[1, 5, 7, 9], [3, 5, 33, 34], [2, 3, 11], [1, 2, 300, 300]], ids=str)
def test_instance_normalization(x: list[int]) -> None:
    constants = {name: np.linspace(0.5, 2, x[1], dtype=np.float32) for name in "sb"}
    proto = model([node("InstanceNormalization", "x s b", "y")], {"x": x}, "y", constants)
    compare(proto, rtol=1e-5, atol=1e-5, kernel="InstanceNormKernel")


def test_every_kernel_has_a_test() -> None:
    graph = load_graph(model([node("Relu", "x", "y")], {"x": [2]}, "y"))
    assert type(lower(graph.nodes[0])).__name__ in ELEMENTWISE
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [op for _, op in CHOICES if op.removeprefix("Fused") not in texts] == []
