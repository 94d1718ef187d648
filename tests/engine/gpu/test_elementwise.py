"""Element-wise operators on the GPU against the reference: values, dtypes, strides, chains and cuts."""

from __future__ import annotations

from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.gpu.program.expressions import literal
from engine.gpu.program.rules import RULES
from tests.engine.gpu.gpu import compare, run
from tests.engine.gpu.strided import shapes, views
from tests.engine.models import load_graph, model, node

few = settings(max_examples=30, deadline=None)

CUT = {"max-storage-buffer-binding-size": 1024}
"""A limit on bindings that small tensors pass, so that dispatches run in ranges."""

SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, -0.5, 2.5, -1.5, 1e-6, 1e30, -1e30, 88.7], np.float32)


def floats(count: int = 500, seed: int = 0) -> np.ndarray:
    """Special values, deviates of all magnitudes that matter, and some around 0."""
    random = np.random.default_rng(seed)
    spread = 10 ** random.uniform(-5, 2, count) * random.choice([-1, 1], count)
    return np.concatenate([SPECIAL, random.standard_normal(count), spread]).astype(np.float32)


UNARY: list[tuple[str, dict[str, Any]]] = [
    *(
        (op, {})
        for op in ("Erf", "Sinh", "Cosh", "Tanh", "Exp", "Log", "Asin", "Acos", "Atan", "Asinh", "Acosh", "Atanh")
    ),
    *(
        (op, {})
        for op in ("Abs", "Neg", "Sign", "Ceil", "Floor", "Round", "Sqrt", "Reciprocal", "Relu", "IsNaN", "IsInf")
    ),
    *(
        (op, {})
        for op in ("Sigmoid", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Mish")
    ),
    *((op, {}) for op in ("Gelu", "Swish", "Shrink", "LeakyRelu", "ThresholdedRelu")),
    ("IsInf", {"detect_negative": 0}),
    ("IsInf", {"detect_positive": 0}),
    ("IsInf", {"detect_positive": 0, "detect_negative": 0}),
    ("Gelu", {"approximate": "tanh"}),
    ("Swish", {"alpha": 1.5}),
    ("Shrink", {"lambd": 0.7, "bias": 0.2}),
    ("Elu", {"alpha": 0.3}),
    ("Selu", {"alpha": 0.3, "gamma": 2.0}),
    ("Celu", {"alpha": 2.0}),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.1}),
    ("LeakyRelu", {"alpha": 0.3}),
    ("ThresholdedRelu", {"alpha": 0.3}),
]


@pytest.mark.parametrize(("op", "attributes"), UNARY)
def test_functions_of_one_float(op: str, attributes: dict[str, Any]) -> None:
    x = floats()
    proto = model([node(op, "x", "y", **attributes)], {"x": [x.size]}, "y", opset=24 if op == "Swish" else 22)
    compare(proto, rtol=1e-5, atol=1e-6, inputs=[x], kernels=["elementwise"])


@pytest.mark.parametrize("op", ["Sin", "Cos", "Tan"])
def test_circular_functions_keep_their_digits(op: str) -> None:
    x = np.concatenate([floats()[np.abs(floats()) < 1e3], np.linspace(-7, 7, 200), [1e4, -1e4]]).astype(np.float32)
    compare(model([node(op, "x", "y")], {"x": [x.size]}, "y"), rtol=2e-6, atol=1e-7, inputs=[x])


@pytest.mark.parametrize(
    "op", ["Exp", "Log", "Erf", "Tanh", "Sinh", "Asinh", "Atanh", "Asin", "Atan", "Softplus", "Elu"]
)
def test_functions_keep_their_digits_near_0_and_1(op: str) -> None:
    near = np.float32(10) ** np.linspace(-6, -1, 60, dtype=np.float32)
    x = np.concatenate([near, 1 - near] if op == "Log" else [near, -near])
    compare(model([node(op, "x", "y")], {"x": [x.size]}, "y", opset=22), rtol=2e-6, inputs=[x])


def test_the_error_function_is_exact_to_two_last_bits() -> None:
    x = np.concatenate([np.linspace(-5, 5, 4001), np.logspace(-6, -1, 200)]).astype(np.float32)
    expected = np.array([erf(float(value)) for value in x])
    (y,), _ = run(load_graph(model([node("Erf", "x", "y")], {"x": [x.size]}, "y")), [x])
    np.testing.assert_allclose(y, expected, rtol=0, atol=3e-7)
    small = np.abs(x) < 0.1
    np.testing.assert_allclose(y[small], expected[small], rtol=5e-7)


BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Equal", "Greater", "Less", "GreaterOrEqual"]


@pytest.mark.parametrize("op", [*BINARY, "LessOrEqual", "SwiGLU"])
def test_functions_of_two_floats(op: str) -> None:
    a, b = (part.reshape(-1) for part in np.meshgrid(SPECIAL, SPECIAL))
    more = floats(200, 1)[SPECIAL.size :]
    a, b = np.concatenate([a, more]), np.concatenate([b, np.roll(more, 7) % 5])
    # of magnitudes whose logarithms have digits to spare
    proto = model([node(op, "a b", "y")], {"a": [a.size], "b": [b.size]}, "y", opset=28 if op == "SwiGLU" else 22)
    compare(proto, rtol=2e-5, atol=1e-6, inputs=[a, b])


@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders_of_floats_are_exact(fmod: int) -> None:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(300) * 10 ** random.uniform(-6, 6, 300) for _ in range(2))
    a = np.concatenate([a, [0, 5, -5, 1e30, np.inf, 3, np.nan, 6, -6]]).astype(np.float32)
    b = np.concatenate([b, [3, 0, np.inf, 7, 2, -np.inf, 1, 3, 3]]).astype(np.float32)
    proto = model([node("Mod", "a b", "y", fmod=fmod)], {"a": [a.size], "b": [b.size]}, "y")
    compare(proto, inputs=[a, b])


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.0, 1.0, 0.0, 7.0, -2.5])
def test_powers_known_at_load(exponent: float) -> None:
    x = floats()
    proto = model([node("Pow", "x e", "y")], {"x": [x.size]}, "y", {"e": np.array(exponent, np.float32)})
    compare(proto, rtol=1e-5, atol=1e-30, inputs=[x])


INTEGERS = [np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32]


def edges(dtype: type[np.generic]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of the numbers around 0 and the limits of a dtype."""
    info = np.iinfo(dtype)
    some = [info.min, info.min + 1, 0, 1, 2, 3, 7, 100, info.max - 1, info.max]
    if info.min:
        some += [-1, -2, -3, -100]
    a, b = (part.reshape(-1) for part in np.meshgrid(some, some))
    return a.astype(dtype), b.astype(dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_arithmetic(dtype: type[np.generic]) -> None:
    a, b = edges(dtype)
    ops = ["Add", "Sub", "Mul", "Div", "Max", "Min", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "PRelu"]
    nodes = [node(op, "a b", f"y{index}") for index, op in enumerate(ops)]
    nodes += [node(op, "a b", op) for op in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")]
    nodes += [node("Mod", "a b", "floored"), node("Mod", "a b", "truncated", fmod=1)]
    nodes += [node("BitShift", "a b", way, direction=way) for way in ("LEFT", "RIGHT")]
    nodes += [node("Abs", "a", "abs"), node("Sign", "a", "sign"), node("BitwiseNot", "a", "not")]
    nodes += [node("Shrink", "a", "shrunk", lambd=2.0, bias=1.5)] if np.dtype(dtype).itemsize < 4 else []
    nodes += [node("Relu", "a", "relu"), node("Neg", "a", "neg")] if np.iinfo(dtype).min else []
    names = " ".join(output for one in nodes for output in one.output)
    compare(model(nodes, {"a": (dtype, [a.size]), "b": (dtype, [b.size])}, names, opset=22), inputs=[a, b])


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.uint32, np.int64])
def test_integer_powers(dtype: type[np.generic]) -> None:
    x, e = (part.reshape(-1).astype(dtype) for part in np.meshgrid([0, 1, 2, 3, 5, 10], [0, 1, 2, 3, 9]))
    compare(model([node("Pow", "x e", "y")], {"x": (dtype, [30]), "e": (dtype, [30])}, "y"), inputs=[x, e])


def test_powers_of_other_dtypes() -> None:
    x, e = np.array([1, 2, -2, 3, -1, 5], np.int32), np.array([4.0, 5.0, 3.0, 6.0, -3.0, -1.0], np.float32)
    spec = {"x": (np.int32, [6]), "e": [6]}
    nodes = [node("Pow", "x e", "y"), node("Pow", "e x", "z"), node("Cast", "e", "i", to=6), node("Pow", "x i", "w")]
    compare(model(nodes, spec, "y z w"), rtol=1e-6, inputs=[x, e])


TARGETS = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.float16, np.float32]
CODES = {np.bool_: 9, np.int8: 3, np.int16: 5, np.int32: 6, np.int64: 7, np.uint8: 2, np.uint16: 4, np.uint32: 12}
CODES |= {np.float16: 10, np.float32: 1}


@pytest.mark.parametrize("source", TARGETS)
def test_casts(source: type[np.generic]) -> None:
    if np.dtype(source).kind == "f":
        x = np.array([0, -0.0, 0.5, -0.5, 1.9, -1.9, 127.5, 255.5, 256, -129, 40000, -40000, 65519.9, 65520, np.nan])
        x = np.concatenate([x, [np.inf, -np.inf, 3e-8, 6.1e-5, -1e-7, 1e-9, 1.00048828125, 1.00146484375, 2049, 2051]])
    elif source is np.bool_:
        x = np.array([True, False])
    else:
        info = np.iinfo(np.int32 if source is np.int64 else source)
        x = np.array([0, 1, 2, 5, 127, info.max, info.min, info.max // 2 + 1])
    with np.errstate(over="ignore"):
        x = x.astype(source)
    # 64-bit integers are stored in 32 bits
    targets = [target for target in TARGETS if target is not np.int64 or np.dtype(source).kind not in "fu"]
    nodes = [node("Cast", "x", f"y{index}", to=CODES[target]) for index, target in enumerate(targets)]
    nodes += [node("CastLike", "x like", "y_like")]
    names = " ".join(one.output[0] for one in nodes)
    compare(
        model(nodes, {"x": (source, [x.size])}, names, constants={"like": np.zeros(1, np.int8)}, opset=19), inputs=[x]
    )


def test_a_float_saturates_at_32_bits() -> None:
    x = np.array([3e9, -3e9, 2147483520, 2147483648, -2147483648, 5e9, np.nan], np.float32)
    nodes = [node("Cast", "x", "y", to=6), node("Cast", "x", "z", to=12)]
    compare(model(nodes, {"x": [7]}, "y z"), inputs=[x])


@pytest.mark.parametrize("bounds", ["low high", "low -", "- high", "- -", "high low"])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint32])
def test_clip(bounds: str, dtype: type[np.generic]) -> None:
    x = np.array([0, 1, 2, 3, 4, 50, 7], dtype)
    if dtype is np.float32:
        x = np.concatenate([x, SPECIAL])
    constants = {"low": np.array(2, dtype), "high": np.array([3], dtype)}
    proto = model([node("Clip", f"x {bounds}", "y"), node("Add", "y y", "z")], {"x": (dtype, [x.size])}, "z", constants)
    compare(proto, inputs=[x])


@pytest.mark.parametrize("limits", [{"min": -0.5}, {"max": 0.5}, {"min": 0.1, "max": 0.2}, {"min": 1.0, "max": 0.0}])
def test_clip_by_attributes(limits: dict[str, float]) -> None:
    x = floats()[4:]
    x = x[np.isfinite(x)]
    compare(model([node("Clip", "x", "y", **limits)], {"x": [x.size]}, "y", opset=10), inputs=[x])


def test_a_bound_with_more_axes_than_a_scalar() -> None:
    nodes = [node("Clip", "x low high", "y")]
    constants = {"low": np.array([2], np.float32), "high": np.array([3], np.float32)}
    compare(model(nodes, {"x": []}, "y", constants), inputs=[np.array(9, np.float32)])


def test_logic_and_choice() -> None:
    nodes = [node(op, "p q", op) for op in ("And", "Or", "Xor", "Equal")]
    nodes += [node("Not", "p", "n"), node("Where", "p a b", "w"), node("Where", "p p q", "v")]
    nodes += [node("Cast", "p", "f", to=1), node("Mul", "f a", "m")]
    spec: dict[str, Any] = {"p": (np.bool_, [3, 4]), "q": (np.bool_, [4]), "a": [4], "b": [3, 1]}
    random = np.random.default_rng(0)
    inputs = [random.integers(0, 2, shape).astype(bool) for shape in ((3, 4), (4,))]
    inputs += [random.standard_normal(shape).astype(np.float32) for shape in ((4,), (3, 1))]
    compare(model(nodes, spec, "And Or Xor Equal n w v m", opset=17), inputs=inputs)


@few
@given(st.data(), shapes())
def test_a_chain_over_strided_and_repeated_operands(data: st.DataObject, shape: tuple[int, ...]) -> None:
    nodes, constants, spec = [], {}, {}
    for name in ("a", "b", "c"):
        operand_shape = tuple(extent if data.draw(st.booleans()) else 1 for extent in shape) if name != "a" else shape
        operand_shape = operand_shape[data.draw(st.integers(0, len(operand_shape))) :] if name != "a" else operand_shape
        view_nodes, input_shape, view_constants = data.draw(views(operand_shape, name))
        nodes += view_nodes
        constants |= view_constants
        spec[f"{name}_in"] = input_shape
    nodes += [node("Mul", "a b", "d"), node("Sub", "d c", "e"), node("Relu", "e", "f"), node("Max", "f b a", "y")]
    compare(model(nodes, spec, "y", constants=constants, opset=13), rtol=1e-6, atol=1e-6)


@few
@given(st.data(), shapes(least=2, most=2))
def test_a_chain_cut_in_ranges(data: st.DataObject, shape: tuple[int, ...]) -> None:
    shape = (*shape, 8 * data.draw(st.integers(3, 9)))
    view_nodes, input_shape, constants = data.draw(views(shape, "a"))
    nodes = [*view_nodes, node("Add", "a b", "c"), node("Mul", "c c", "y")]
    proto = model(nodes, {"a_in": input_shape, "b": [shape[-1]]}, "y", constants=constants, opset=13)
    compare(proto, rtol=1e-6, limits=CUT)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
@pytest.mark.parametrize("count", [1, 5, 7, 8, 13, 20])
def test_operators_of_many_inputs(op: str, count: int) -> None:
    names = [f"x{index}" for index in range(count)]
    spec = {name: [3, 4] if index % 3 else [4] for index, name in enumerate(names)}
    nodes = [
        node("Neg", "x0", "first"),
        node(op, " ".join(["first", *names[1:], names[-1]]), "a"),
        node("Abs", "a", "y"),
    ]
    compare(model(nodes, spec, "y"), rtol=1e-5, atol=1e-6)


def test_a_long_chain_behind_a_product() -> None:
    # too many operands for one kernel, wherever it is cut
    names = [f"b{index}" for index in range(12)]
    nodes, last = [node("MatMul", "x w", "t0")], "t0"
    for index, name in enumerate(names):
        nodes.append(node("Add" if index % 2 else "Mul", f"{last} {name}", f"t{index + 1}"))
        last = f"t{index + 1}"
    spec = {"x": [4, 5], "w": [5, 8], **{name: [8] for name in names}}
    proto = model(nodes, spec, last)
    compare(proto, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", [7, 12])
def test_dropout_is_a_view_and_its_mask_ones(version: int) -> None:
    nodes = [node("Dropout", "x", "a mask"), node("Identity", "a", "y"), node("Identity", "mask", "m")]
    compare(model(nodes, {"x": [3, 4]}, "y m", opset=version))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3.4028234663852886e38, 1e-45, 0.1, -0.0])
def test_literals_of_all_kinds(value: float) -> None:
    constants = {"c": np.array(value, np.float32)}
    compare(
        model(
            [node("Elu", "x", "a", alpha=value), node("Add", "a c", "y")],
            {"x": [3]},
            "y",
            constants=constants,
            opset=17,
        ),
        rtol=1e-6,
        inputs=[np.array([1, 2, -1], np.float32)],
    )


def test_the_least_integer_is_written_as_a_sum() -> None:
    assert literal(-(2**31), "I") == "I(-2147483647 - 1)"
    assert literal(2**40, "I") == "I(2147483647)"


def test_no_rule_is_without_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    elsewhere = {"QuantizeLinear", "DequantizeLinear"}
    assert [op for op in RULES if f'"{op}"' not in source and op not in elsewhere] == []
