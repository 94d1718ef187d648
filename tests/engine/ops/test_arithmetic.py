"""What ONNX Runtime and the ONNX node tests do not tell: limits of accuracy, ranges, NaN, float16 sums, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.graph.ir import Node, TensorType, Value
from engine.ops import infer
from engine.ops.einsum import result_shape
from engine.ops.erf import erf
from tests.engine.ops.oracle import run_reference

pytestmark = pytest.mark.filterwarnings("error")

F16, F32, F64, I8, U8, I32, I64 = np.float16, np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64
BYTES = np.arange(-128, 128, dtype=I8)


def run(op: str, *inputs: np.ndarray | None, opset: int = 23, **attributes: Any) -> np.ndarray:
    """The first output of the reference."""
    return run_reference(op, inputs, attributes, opset)[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 2e-7), (F64, 5e-16)])
def test_erf_is_accurate(dtype: Any, tolerance: float) -> None:
    generator = np.random.default_rng(0)
    edges = [0.0, 0.46875, -0.46875, 4.0, 6.0, -6.0, 1e-300, 1e30, math.inf, -math.inf]
    x = np.concatenate((np.linspace(-7, 7, 20001), generator.normal(0, 1e-3, 1000), edges)).astype(dtype)
    expected = np.array([math.erf(element) for element in x.tolist()])
    y = erf(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)


def test_erf_keeps_signs_shapes_and_nan() -> None:
    x = np.array([[-0.0, np.nan], [0.0, 7.0]])
    y = erf(x)
    np.testing.assert_array_equal(y, [[0, np.nan], [0, 1]])
    np.testing.assert_array_equal(np.signbit(y[:, 0]), [True, False])
    assert erf(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert erf(np.array(1.0)).shape == ()


def test_integer_division_truncates_for_all_bytes() -> None:
    divisors = BYTES[BYTES != 0]
    y = run("Div", BYTES[:, None], divisors)
    expected = np.array([[math.trunc(a / b) for b in divisors.tolist()] for a in BYTES.tolist()])
    np.testing.assert_array_equal(y, expected.astype(I8))


@pytest.mark.parametrize(("fmod", "remainder"), [(0, lambda a, b: a % b), (1, math.fmod)])
def test_modulo_signs_for_all_bytes(fmod: int, remainder: Any) -> None:
    divisors = BYTES[BYTES != 0]
    y = run("Mod", BYTES[:, None], divisors, fmod=fmod)
    expected = [[remainder(a, b) for b in divisors.tolist()] for a in BYTES.tolist()]
    np.testing.assert_array_equal(y, expected)


def test_float_modulo_special_cases() -> None:
    a = np.array([0.0, -0.0, np.inf, 1, 5, -5, np.nan, 5.5], F32)
    b = np.array([-2, 2, 2, 0, np.inf, np.inf, 1, -2], F32)
    y = run("Mod", a, b, opset=28)
    np.testing.assert_array_equal(y, np.array([-0.0, 0, np.nan, np.nan, 5, np.inf, np.nan, -0.5], F32))
    np.testing.assert_array_equal(np.signbit(y[:2]), [True, False])


def test_integer_power_is_exact_and_truncates() -> None:
    np.testing.assert_array_equal(run("Pow", np.array([3, -3], I64), np.array([39, 39], I64)), [3**39, -(3**39)])
    np.testing.assert_array_equal(run("Pow", np.array([1, 2, -1], I32), np.array([-2, -2, -3], I32)), [1, 0, -1])


def test_the_power_of_a_half_is_no_square_root() -> None:
    base = np.array([-0.0, -np.inf, np.inf, 4, -1, np.nan], F32)
    for exponent in (np.array(0.5, F32), np.array([0.5], F32), np.full(6, 0.5, F32)):
        y = run("Pow", base, exponent)
        np.testing.assert_array_equal(y, np.array([0, np.inf, np.inf, 2, np.nan, np.nan], F32))
        assert not np.signbit(y[0])
    np.testing.assert_array_equal(run("Pow", np.array([9, 4], I64), np.array([[0.5]], F32)), [[3, 2]])


def test_shifts_beyond_the_width() -> None:
    x, count = np.array([[-5], [5]], I8), np.array([1, 8, -1], I8)
    np.testing.assert_array_equal(run("BitShift", x, count, opset=28, direction="RIGHT"), [[-3, -1, -1], [2, 0, 0]])
    np.testing.assert_array_equal(run("BitShift", x, count, opset=28, direction="LEFT"), [[-10, 0, 0], [10, 0, 0]])


@pytest.mark.parametrize("source", [F16, F32, F64])
@pytest.mark.parametrize("target", [U8, I8, np.int16, np.uint16, I32, np.uint32, I64, np.uint64])
def test_floats_saturate_as_integers(source: Any, target: Any) -> None:
    info = np.iinfo(target)
    x = np.array([np.inf, -np.inf, np.nan, -0.9, 1.9, 100.5, np.finfo(source).max], source)
    y = run("Cast", x, to=_element_type(target))
    largest = min(int(np.finfo(source).max), info.max)
    np.testing.assert_array_equal(y, np.array([info.max, info.min, 0, 0, 1, 100, largest], target))


def test_float_neighbours_of_the_integer_range() -> None:
    x = np.array([2.0**31, np.nextafter(F32(2**31), F32(0)), -(2.0**31)], F32)
    np.testing.assert_array_equal(run("Cast", x, to=TensorProto.INT32), [2**31 - 1, 2**31 - 128, -(2**31)])


def test_float16_overflow_rounds_to_infinity() -> None:
    np.testing.assert_array_equal(
        run("Cast", np.array([65519, 65520, -1e9]), to=TensorProto.FLOAT16), [65504, np.inf, -np.inf]
    )
    np.testing.assert_array_equal(run("Mul", np.array([300], F16), np.array([300], F16)), [np.inf])


@pytest.mark.parametrize(
    ("op", "others", "attributes"),
    [
        *(
            (op, (), {})
            for op in ("Relu", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Gelu")
        ),
        ("Clip", (np.array(-1, F32), np.array(1, F32)), {}),
        ("Max", (np.zeros(1, F32),), {}),
        ("Min", (np.zeros(1, F32),), {}),
        ("ReduceMax", (np.array([0], I64),), {}),
        ("ReduceMin", (np.array([0], I64),), {}),
        ("ReduceLogSumExp", (np.array([0], I64),), {}),
    ],
)
@pytest.mark.parametrize("dtype", [F16, F32, F64])
def test_nan_stays(op: str, others: tuple[np.ndarray, ...], attributes: dict[str, Any], dtype: Any) -> None:
    rest = [other.astype(dtype) if other.dtype == F32 else other for other in others]
    y = run(op, np.array([np.nan, 1], dtype), *rest, **attributes)
    assert np.isnan(y.flat[0])


@pytest.mark.parametrize("dtype", [F16, F32, F64])
def test_activations_do_not_overflow(dtype: Any) -> None:
    x = np.array([-60000, -100, 0, 100, 60000], dtype)
    np.testing.assert_allclose(run("Sigmoid", x), [0, 0, 0.5, 1, 1], atol=1e-7)
    np.testing.assert_allclose(run("Softplus", x), np.array([0, 0, math.log(2), 100, 60000], dtype), atol=1e-7)
    np.testing.assert_allclose(run("Mish", x), np.array([0, 0, 0, 100, 60000], dtype), atol=1e-7)
    np.testing.assert_allclose(run("Elu", x), np.array([-1, -1, 0, 100, 60000], dtype), atol=1e-7)


ONES = (1 + np.arange(4096) % 2 / 1024).astype(F16)
"""1 and its float16 neighbour: a float16 accumulator would stick at 2048."""
SUM = 4096 + 2


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "expected"),
    [
        ("ReduceSum", (ONES,), {"keepdims": 0}, SUM),
        ("ReduceMean", (ONES,), {"keepdims": 0}, SUM / 4096),
        ("ReduceL1", (-ONES,), {"keepdims": 0}, SUM),
        ("MatMul", (ONES, np.ones(4096, F16)), {}, SUM),
        ("Gemm", (ONES[None], np.ones((4096, 1), F16)), {}, SUM),
        ("Einsum", (ONES,), {"equation": "i->"}, SUM),
        ("Sum", tuple(ONES), {}, SUM),
    ],
)
def test_float16_sums_are_rounded_once(
    op: str, inputs: tuple[np.ndarray, ...], attributes: dict[str, Any], expected: float
) -> None:
    y = run(op, *map(np.asarray, inputs), **attributes)
    assert y.dtype == F16
    assert y.item() == F16(expected)


def test_float16_cumulative_sum_and_norm() -> None:
    assert run("CumSum", ONES, np.array(0, I64))[-1] == F16(SUM)
    y = run("LayerNormalization", np.array([[60000, 60001, 59999, 0]], F16), np.ones(4, F16))
    np.testing.assert_allclose(y, [[0.577, 0.577, 0.577, -1.732]], rtol=1e-3)


def test_float64_is_computed_in_float64() -> None:
    x = np.array([1, 1 + 1e-12, 1 - 1e-12])
    y = run("LayerNormalization", x[None], np.ones(3), epsilon=1e-30)
    np.testing.assert_allclose(y, [[0, math.sqrt(1.5), -math.sqrt(1.5)]], atol=1e-3)
    assert run("Gelu", x).dtype == F64


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_lrn_window(size: int) -> None:
    x = np.random.default_rng(0).normal(size=(1, 6, 2))
    y = run("LRN", x, size=size, alpha=0.5, beta=0.6, bias=1.5)
    for channel in range(6):
        near = x[:, max(channel - (size - 1) // 2, 0) : channel + math.ceil((size - 1) / 2) + 1]
        expected = x[:, channel] / (1.5 + 0.5 / size * np.square(near).sum(1)) ** 0.6
        np.testing.assert_allclose(y[:, channel], expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        *((op, 0) for op in ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")),
        *((op, -np.inf) for op in ("ReduceMax", "ReduceLogSum", "ReduceLogSumExp")),
        ("ReduceMin", np.inf),
        ("ReduceProd", 1),
        ("ReduceMean", np.nan),
    ],
)
def test_reductions_of_nothing(op: str, expected: float) -> None:
    y = run(op, np.zeros((2, 0), F32), np.array([1], I64), keepdims=0)
    np.testing.assert_array_equal(y, np.full(2, expected, F32))


@pytest.mark.parametrize(
    ("op", "function"),
    [
        *((op, lambda x: x) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd", "ReduceLogSumExp")),
        *((op, np.abs) for op in ("ReduceL1", "ReduceL2")),
        ("ReduceSumSquare", np.square),
    ],
)
def test_reductions_over_no_axes_map_elements(op: str, function: Any) -> None:
    x = np.array([[-2, 3], [0.5, -1]])
    np.testing.assert_allclose(run(op, x, noop_with_empty_axes=1), function(x), rtol=1e-15)


def test_log_sum_exp_of_infinities() -> None:
    x = np.array([[np.inf, 1, -np.inf], [-np.inf, -np.inf, -np.inf], [-np.inf, 2, -np.inf]], F32)
    np.testing.assert_array_equal(run("ReduceLogSumExp", x, np.array([1], I64), keepdims=0), [np.inf, -np.inf, 2])


def test_lp_norm_of_zeros_is_zero() -> None:
    np.testing.assert_array_equal(run("LpNormalization", np.zeros((2, 3), F32)), np.zeros((2, 3)))


@pytest.mark.parametrize("extreme", [np.inf, np.nan, 1e-45])
def test_dynamic_quantization_of_extremes_is_defined(extreme: float) -> None:
    y, scale, zero_point = run_reference("DynamicQuantizeLinear", [np.array([0, extreme], F32)], {}, 11, outputs=3)
    assert (y.dtype, scale.dtype, zero_point.dtype) == (U8, F32, U8)
    assert (y[0], zero_point) == (0, 0)


def test_integer_products_wrap_at_32_bits() -> None:
    a, b = np.full((1, 140_000), 255, U8), np.full((140_000, 1), 127, I8)
    (total,) = run("MatMulInteger", a, b).ravel().tolist()
    assert total == 255 * 127 * 140_000 - 2**32


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("i->", [(3,)]),
        ("ii->i", [(3, 3)]),
        ("ij", [(2, 3)]),
        ("ba", [(2, 3)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("bij , bjk -> bik", [(5, 2, 3), (5, 3, 4)]),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 6)]),
        ("...ij,jk", [(5, 2, 3), (3, 6)]),
        ("i...->...", [(2, 3, 4)]),
        ("aB,Bc", [(2, 3), (3, 4)]),
    ],
)
def test_einsum_shape_is_that_of_numpy(equation: str, shapes: list[tuple[int, ...]]) -> None:
    assert result_shape(equation, shapes) == np.einsum(equation, *map(np.ones, shapes)).shape


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "opset", "error"),
    [
        ("Add", (np.ones(2, F32), np.ones(2)), {}, 14, "one dtype"),
        ("Add", (np.ones(2), np.ones(3)), {}, 14, "broadcast"),
        ("Exp", (np.ones(2, I32),), {}, 14, "not defined"),
        ("PRelu", (np.ones(2), np.ones((3, 2))), {}, 14, "does not broadcast"),
        ("BitShift", (np.ones(2, U8), np.ones(2, U8)), {}, 11, "LEFT nor RIGHT"),
        ("ReduceSum", (np.ones(2), np.array([1])), {}, 13, "axis 1"),
        ("ReduceMax", (np.ones((2, 2)),), {"axes": (0, 0)}, 13, "repeat"),
        ("TopK", (np.ones(2), np.array([3])), {}, 11, "k = 3"),
        ("ArgMax", (np.ones((0, 2)),), {}, 13, "empty"),
        ("MatMul", (np.ones((2, 3)), np.ones((2, 3))), {}, 13, "3 columns against 2 rows"),
        ("Gemm", (np.ones((2, 3)), np.ones((3, 2)), np.ones((3, 1, 2))), {}, 13, "does not broadcast"),
        ("Gemm", (np.ones((2, 3)), np.ones((3, 2))), {}, 7, "input 2 is missing"),
        ("Einsum", (np.ones((2, 3)),), {"equation": "ij->k"}, 12, "names k"),
        ("QuantizeLinear", (np.ones((2, 3)), np.ones(2)), {}, 13, "scale or zero point"),
        ("BatchNormalization", (np.ones((2, 3)), *[np.ones(3)] * 4), {"training_mode": 1}, 15, "training"),
        ("BatchNormalization", (np.ones((2, 3)), *[np.ones(2)] * 4), {}, 15, "must be"),
        ("Dropout", (np.ones(2), np.array(0.5), np.array(True)), {}, 13, "training"),
        ("Cast", (np.ones(2),), {"to": TensorProto.BFLOAT16}, 13, "bfloat16"),
        ("Cast", (np.ones(2),), {"to": TensorProto.FLOAT8E4M3FN}, 19, "float8e4m3fn"),
        ("Cast", (np.ones(2),), {"to": TensorProto.STRING}, 13, "string"),
        ("LpNormalization", (np.ones(2),), {"p": 3}, 13, "p = 3"),
        ("ConvInteger", (np.ones((1, 2, 3), U8), np.ones((1, 2, 1), U8), np.ones(2, U8)), {}, 10, "must be a scalar"),
    ],
)
def test_refused(op: str, inputs: tuple[np.ndarray, ...], attributes: dict[str, Any], opset: int, error: str) -> None:
    with pytest.raises(ModelError, match=error) as failure:
        run(op, *inputs, opset=opset, **attributes)
    assert "\n" not in str(failure.value)
    is_unsupported = op in ("Cast", "Dropout") or "training_mode" in attributes
    assert isinstance(failure.value, UnsupportedError) == is_unsupported


def test_training_dropout_passes_all_at_ratio_zero_alone() -> None:
    with pytest.raises(UnsupportedError, match="training"):
        run("Dropout", np.ones(2), None, np.array(True))
    np.testing.assert_array_equal(run("Dropout", np.arange(2.0), np.array(0.0), np.array(True)), [0, 1])


@pytest.mark.parametrize(("opset", "dtype"), [(7, F32), (10, np.bool_), (13, np.bool_)])
def test_dropout_mask(opset: int, dtype: Any) -> None:
    _, mask = run_reference("Dropout", [np.zeros((2, 3), F32)], {}, opset, outputs=2)
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, np.ones((2, 3)))


def test_old_training_batch_normalization_is_refused() -> None:
    inputs: list[Value | None] = [Value("x", TensorType(np.dtype(F32), (2, 3)))]
    inputs += [Value(name, TensorType(np.dtype(F32), (3,))) for name in ("scale", "b", "mean", "var")]
    outputs: list[Value | None] = [Value(name, TensorType(np.dtype(F32), (2, 3))) for name in ("y", "mean_out")]
    with pytest.raises(UnsupportedError, match="training"):
        infer(Node("BatchNormalization", inputs, outputs, version=9))


def _element_type(dtype: Any) -> int:
    return TensorProto.DataType.Value(np.dtype(dtype).name.upper())
