"""Arithmetic operators at the operator-set versions that the ONNX node tests do not reach, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.engine.ops.oracle import check

F16, F32, F64, I8, U8, I32, I64 = np.float16, np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64


def uniform(*shape: int, low: float = -3, high: float = 3, dtype: Any = F32, seed: int = 0) -> np.ndarray:
    """Random elements of ``dtype`` from ``low`` to ``high``, the same for the same ``seed`` and shape."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def case(op: str, opset: int, *inputs: np.ndarray | None, label: str = "", **keywords: Any) -> Any:
    """One row of a table: ``outputs``, ``rtol`` and ``atol`` go to ``check``, other keywords are attributes."""
    options = {name: keywords.pop(name) for name in ("outputs", "rtol", "atol") if name in keywords}
    return pytest.param(op, opset, inputs, keywords, options, id=f"{op}-{opset}{label and '-' + label}")


X = uniform(2, 3, 4)
UNIT = uniform(2, 3, 4, low=-0.99, high=0.99)
POSITIVE = uniform(2, 3, 4, low=0.01, high=4)
IMAGE = uniform(2, 4, 5, 6)
C4 = [uniform(4, low=0.5, high=2, seed=seed) for seed in range(4)]
SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 0.5, 1.5, 2.5, -0.5, -1.5], F32)
WHOLE = np.array([[7, -7, 8, -8, 0, 127, -128]], I8).T
DIVISOR = np.array([[3, -3, 2, -2, 5, -1]], I8)

UNARY = [
    *(case(op, 7, X, rtol=2e-6) for op in ("Abs", "Neg", "Ceil", "Floor", "Exp", "Tanh", "Sin", "Cos", "Tan", "Atan")),
    *(case(op, 7, UNIT, rtol=2e-6) for op in ("Asin", "Acos")),
    *(case(op, 7, POSITIVE) for op in ("Sqrt", "Log", "Reciprocal")),
    *(case(op, 9, X, rtol=2e-6) for op in ("Sinh", "Cosh", "Asinh", "Sign", "Erf")),
    case("Acosh", 9, POSITIVE + 1, rtol=2e-6),
    case("Atanh", 9, UNIT, rtol=2e-6),
    case("Round", 11, SPECIAL),
    case("Floor", 13, SPECIAL, label="special"),
    case("Exp", 13, SPECIAL, label="special"),
    case("Sqrt", 13, SPECIAL, label="special"),
    case("Log", 13, SPECIAL, label="special"),
    case("Reciprocal", 13, SPECIAL, label="special"),
    *(case("Abs", 13, uniform(9, high=100, low=-100, dtype=dtype), label=dtype.__name__) for dtype in (I8, I32, I64)),
    case("Neg", 13, WHOLE),
    case("Sign", 13, WHOLE, label="int8"),
    case("IsNaN", 9, SPECIAL),
    case("IsInf", 10, SPECIAL),
    case("IsInf", 10, SPECIAL, label="positive", detect_negative=0),
    case("IsInf", 10, SPECIAL, label="negative", detect_positive=0),
    case("Not", 7, np.array([True, False])),
    case("BitwiseNot", 18, WHOLE),
]

ACTIVATIONS = [
    *(case(op, 7, 4 * X, rtol=2e-6) for op in ("Relu", "Sigmoid", "Softplus", "Softsign", "Elu", "Selu")),
    *(case(op, 7, X) for op in ("LeakyRelu", "HardSigmoid")),
    case("LeakyRelu", 7, X, label="alpha", alpha=0.3),
    case("Elu", 7, X, label="alpha", alpha=0.3),
    case("Selu", 7, X, label="alpha", alpha=1.5, gamma=0.5),
    case("HardSigmoid", 7, X, label="alpha", alpha=0.3, beta=0.6),
    case("Relu", 14, np.array([-3, 0, 3], I32), label="int32"),
    case("Celu", 12, X, alpha=0.7),
    case("ThresholdedRelu", 10, X, alpha=0.7),
    case("HardSwish", 14, 2 * X, rtol=2e-6),
    case("Mish", 18, 4 * X, rtol=2e-6),
    case("Gelu", 20, 3 * X, rtol=2e-6),
    case("Gelu", 20, 3 * X, label="tanh", approximate="tanh", rtol=2e-6),
    case("Shrink", 9, X, lambd=1.0, bias=0.25),
    case("Shrink", 9, np.array([-3, -1, 0, 1, 3], I32), label="int32", lambd=1.5, bias=1.0),
    case("PRelu", 7, IMAGE, uniform(4, 1, 1)),
    case("PRelu", 9, IMAGE, uniform(6, seed=1)),
    case("Clip", 7, X, min=-1.0),
    case("Clip", 10, X, min=-1.0, max=0.5),
    case("Clip", 6, np.array([np.inf, -np.inf, np.nan], F32), label="default"),
    case("Clip", 11, X, None, np.array(0.5, F32)),
    case("Clip", 12, WHOLE, np.array(-7, I8), np.array(7, I8)),
    case("Clip", 13, X, np.array(1, F32), np.array(-1, F32), label="crossed"),
    case("Clip", 13, X.astype(F16), np.array(-1, F16), label="float16"),
]

BINARY = [
    *(case(op, 7, X, uniform(3, 1, seed=1)) for op in ("Add", "Sub", "Mul", "Div", "Greater", "Less")),
    case("Div", 7, SPECIAL, SPECIAL[::-1].copy(), label="special"),
    case("Div", 14, WHOLE, DIVISOR, label="int8"),
    case("Div", 7, WHOLE.astype(I64), DIVISOR.astype(I64), label="int64"),
    case("Mod", 10, WHOLE[:-1], DIVISOR, label="int8"),
    case("Mod", 13, WHOLE[:-1], DIVISOR, label="int8-fmod", fmod=1),
    case("Mod", 10, X, uniform(3, 1, low=0.5, seed=1), label="fmod", fmod=1),
    case("Pow", 7, POSITIVE, uniform(4, seed=1), rtol=2e-6),
    case("Pow", 12, POSITIVE, np.array([0, 1, 2, -1], I64), label="mixed", rtol=2e-6),
    case("Pow", 13, np.array([2, 3, -2], I32), np.array([2.0, 3.0, 3.0], F32), label="int-base"),
    case("Pow", 15, np.array([2, 3, -2], I64), np.array([10, 3, 5], I32), label="int"),
    case("Equal", 7, np.array([1, 2], I32), np.array([[1], [2]], I32)),
    case("Equal", 7, np.array([True, False]), np.array([True, True]), label="bool"),
    case("Equal", 11, SPECIAL, SPECIAL, label="special"),
    case("GreaterOrEqual", 12, SPECIAL, SPECIAL[::-1].copy()),
    case("LessOrEqual", 12, SPECIAL, SPECIAL[::-1].copy()),
    *(case(op, 7, np.array([True, False]), np.array([[True], [False]])) for op in ("And", "Or", "Xor")),
    *(case(op, 18, WHOLE, DIVISOR) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")),
    case("BitShift", 11, np.array([1, 255], U8), np.array([3, 7], U8), direction="LEFT"),
    case("BitShift", 11, np.array([1, 255], U8), np.array([3, 7], U8), label="right", direction="RIGHT"),
    *(case(op, 7, X, UNIT, POSITIVE) for op in ("Max", "Min", "Sum", "Mean")),
    *(case(op, 8, X, uniform(3, 1, seed=1)) for op in ("Max", "Min", "Sum", "Mean")),
    *(case(op, 12, WHOLE, DIVISOR) for op in ("Max", "Min")),
    case("Max", 13, SPECIAL, np.zeros(1, F32), label="special"),
    case("Where", 9, np.array([[True], [False]]), np.array([1, 2], I64), np.array([3, 4], I64)),
]

CASTS = [
    case("Cast", 9, 3 * X, to=7),
    case("Cast", 9, np.array([0, 0.4, -0.4, np.nan], F32), label="bool", to=9),
    case("Cast", 13, np.array([1e5, -1e5, 65519, 65520, 1e-8], F32), label="float16", to=10),
    case("Cast", 13, np.array([300, -1, 2**31 + 5], I64), label="wrap", to=2),
    case("Cast", 13, np.array([True, False]), label="from-bool", to=1),
    case("CastLike", 15, 3 * X, np.zeros(0, I32)),
]

REDUCTIONS = [
    *(
        case(op, version, X, axes=axes, keepdims=keepdims, label=f"{axes}-{keepdims}", rtol=3e-6)
        for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
        for version, axes, keepdims in ((7, (1,), 1), (11, (0, -1), 0))
    ),
    *(
        case(op, 11, POSITIVE, axes=(1,), keepdims=0, rtol=2e-6)
        for op in ("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
    ),
    case("ReduceSum", 7, X, label="all", rtol=3e-6),
    case("ReduceSum", 13, X, np.array([-1], I64), keepdims=0),
    case("ReduceSum", 13, X, label="all", rtol=3e-6),
    case("ReduceSum", 13, X, np.zeros(0, I64), label="none", noop_with_empty_axes=1),
    case("ReduceMean", 13, np.array([[-3, -4], [3, 4]], I32), axes=(1,), label="int32"),
    case("ReduceMean", 18, X, np.array([0, 2], I64)),
    case("ReduceMax", 12, WHOLE, axes=(0,)),
    case("ReduceMax", 18, WHOLE, np.array([0], I64)),
    case("ReduceLogSumExp", 18, np.array([1000, 1000, -1000], F32), np.array([0], I64), label="large"),
    *(case(op, 7, X, axis=1) for op in ("ArgMax", "ArgMin")),
    *(case(op, 11, X, axis=-1, keepdims=0) for op in ("ArgMax", "ArgMin")),
    *(
        case(op, 12, np.array([[1, 3, 3, 1, 3], [2, 2, 2, 2, 2]], I32), axis=1, select_last_index=last, label=str(last))
        for op in ("ArgMax", "ArgMin")
        for last in (0, 1)
    ),
    case("TopK", 7, X, axis=1, k=2, outputs=2),
    case("TopK", 10, X, np.array([3], I64), outputs=2),
    case("TopK", 11, np.array([3, 1, 3, 2, 1], I64), np.array([4], I64), label="ties", outputs=2),
    case("TopK", 11, X, np.array([2], I64), label="smallest", largest=0, axis=-2, outputs=2),
    case("TopK", 11, np.array([3, 1, 3, 2, 1], F32), np.array([4], I64), label="smallest-ties", largest=0, outputs=2),
    *(
        case("CumSum", 11, X, np.array(axis, I32), label=f"{exclusive}{reverse}", exclusive=exclusive, reverse=reverse)
        for axis, exclusive, reverse in ((0, 0, 0), (1, 1, 0), (-1, 0, 1), (2, 1, 1))
    ),
]

PRODUCTS = [
    case("MatMul", 7, uniform(4, 5), uniform(5, 3)),
    case("MatMul", 9, uniform(5), uniform(2, 5, 3), label="vector"),
    case("MatMul", 9, uniform(2, 1, 4, 5), uniform(3, 5, 2), label="batch"),
    case("MatMul", 9, uniform(2, 4, 5), uniform(5), label="by-vector"),
    case("MatMul", 9, uniform(5), uniform(5, seed=1), label="vectors"),
    case("MatMul", 9, uniform(4, 5, dtype=I32, high=9), uniform(5, 3, dtype=I32, high=9), label="int32"),
    case("Gemm", 7, uniform(5, 4), uniform(3, 5), uniform(3), transA=1, transB=1, alpha=0.5, beta=2.0, rtol=3e-6),
    case("Gemm", 9, uniform(4, 5), uniform(5, 3), uniform(4, 1), rtol=3e-6),
    case("Gemm", 11, uniform(4, 5), uniform(5, 3), label="no-c", rtol=3e-6),
    case("Einsum", 12, uniform(2, 3, 4), uniform(2, 4, 5), equation="bij, bjk -> bik", rtol=3e-6),
    case("Einsum", 12, uniform(3, 3), label="trace", equation="ii"),
    case("Einsum", 12, uniform(2, 3, 4), uniform(4, 5), label="ellipsis", equation="...ij,jk->...ik", rtol=3e-6),
    case("Einsum", 12, uniform(3, 2), uniform(2, 4), label="implicit", equation="za,ab", rtol=3e-6),
]

SCALES = np.array([0.5, 0.25, 1.0, 2.0], F32)
QUANTISED = [
    case("QuantizeLinear", 10, 100 * X, np.array(1.5, F32), np.array(7, U8)),
    case("QuantizeLinear", 10, np.array([0.5, 1.5, 2.5, -0.5, 1e9, -1e9], F32), np.array(1, F32), np.array(0, I8)),
    case("QuantizeLinear", 10, 100 * X, np.array(1.5, F32), label="no-zero-point"),
    case("QuantizeLinear", 13, 10 * IMAGE, SCALES, np.array([1, 2, 3, 4], U8)),
    case("QuantizeLinear", 19, 10 * IMAGE, SCALES, np.array([1, -2, 3, 4], I8), axis=-3),
    case("QuantizeLinear", 21, 10 * uniform(2, 7), uniform(2, 3, low=0.1), np.zeros((2, 3), I8), block_size=3),
    case("QuantizeLinear", 21, 1e4 * X, np.array(0.5, F32), label="int16", output_dtype=5),
    case("DequantizeLinear", 10, WHOLE, np.array(0.1, F32), np.array(-100, I8)),
    case("DequantizeLinear", 10, np.array([2**24 + 1, -5], I32), np.array(0.1, F32), label="int32"),
    case("DequantizeLinear", 13, uniform(2, 4, 3, low=0, high=255, dtype=U8), SCALES, np.array([0, 9, 99, 200], U8)),
    case("DequantizeLinear", 19, WHOLE, np.array(0.1, F16), np.array(5, I8), rtol=1e-3),
    case("DequantizeLinear", 21, np.arange(14, dtype=U8).reshape(2, 7), uniform(2, 3), block_size=3),
    case("DynamicQuantizeLinear", 11, X, outputs=3),
    case("DynamicQuantizeLinear", 11, POSITIVE, label="positive", outputs=3),
    case("DynamicQuantizeLinear", 11, -POSITIVE, label="negative", outputs=3),
    case("DynamicQuantizeLinear", 11, np.zeros((2, 2), F32), label="zero", outputs=3),
    case("MatMulInteger", 10, uniform(4, 5, low=0, high=255, dtype=U8), uniform(5, 3, high=99, dtype=I8)),
    case(
        "MatMulInteger",
        10,
        uniform(2, 4, 5, low=0, high=255, dtype=U8),
        uniform(5, 3, low=-99, high=99, dtype=I8),
        np.array(100, U8),
        np.array([1, -2, 3], I8),
        label="zero-points",
    ),
    case(
        "QLinearMatMul",
        10,
        uniform(2, 4, 5, low=0, high=255, dtype=U8),
        np.array(0.02, F32),
        np.array(128, U8),
        uniform(5, 3, low=0, high=255, dtype=U8, seed=1),
        np.array(0.03, F32),
        np.array(100, U8),
        np.array(0.11, F32),
        np.array(120, U8),
    ),
    case(
        "ConvInteger",
        10,
        uniform(1, 4, 5, 6, low=0, high=255, dtype=U8),
        uniform(6, 2, 3, 3, low=0, high=255, dtype=U8),
        np.array(128, U8),
        np.array(99, U8),
        group=2,
        pads=(1, 1, 1, 1),
        strides=(2, 1),
    ),
    case(
        "QLinearConv",
        10,
        uniform(1, 3, 5, 6, low=0, high=255, dtype=U8),
        np.array(0.02, F32),
        np.array(128, U8),
        uniform(2, 3, 3, 3, low=-99, high=99, dtype=I8),
        np.array([0.01, 0.03], F32),
        np.array([0, 0], I8),
        np.array(0.3, F32),
        np.array(90, U8),
        np.array([1000, -500], I32),
        pads=(1, 1, 1, 1),
    ),
]

NORMALISATIONS = [
    *(case("BatchNormalization", opset, IMAGE, *C4, rtol=3e-6, atol=3e-6) for opset in (7, 9, 14, 15)),
    case("BatchNormalization", 9, uniform(5, 4), *C4, label="matrix", epsilon=0.1, rtol=3e-6),
    case(
        "BatchNormalization",
        7,
        uniform(2, 3, 4),
        *(uniform(3, 4, low=0.5, high=2, seed=seed) for seed in range(4)),
        label="per-element",
        spatial=0,
        rtol=3e-6,
    ),
    case("InstanceNormalization", 7, IMAGE, *C4[:2], rtol=5e-6, atol=5e-6),
    case("LayerNormalization", 17, IMAGE, uniform(6), uniform(6, seed=1), outputs=3, rtol=5e-6, atol=5e-6),
    case("LayerNormalization", 17, IMAGE, uniform(5, 6), label="axis", axis=2, epsilon=0.1, rtol=5e-6, atol=5e-6),
    case("LpNormalization", 7, X, rtol=2e-6),
    case("LpNormalization", 7, X, label="l1", p=1, axis=1, rtol=2e-6),
    case("MeanVarianceNormalization", 9, IMAGE, rtol=5e-6, atol=5e-6),
    case("MeanVarianceNormalization", 13, IMAGE, label="axes", axes=(1,), rtol=5e-6, atol=5e-6),
    case("LRN", 7, IMAGE, size=3, rtol=2e-6),
    case("LRN", 13, IMAGE, label="attributes", size=5, alpha=0.1, beta=0.5, bias=2.0, rtol=2e-6),
    case("GroupNormalization", 18, IMAGE, *(c[:2] for c in C4[:2]), num_groups=2, rtol=5e-6, atol=5e-6),
    case("GroupNormalization", 21, IMAGE, *C4[:2], num_groups=2, rtol=5e-6, atol=5e-6),
    case("RMSNormalization", 23, IMAGE, uniform(5, 6), axis=2, rtol=5e-6, atol=5e-6),
    case("Dropout", 7, X),
    case("Dropout", 10, X),
    case("Dropout", 12, X, np.array(0.5, F32), np.array(False), outputs=2),
]

pytestmark = pytest.mark.filterwarnings("error")

TABLE = [*UNARY, *ACTIVATIONS, *BINARY, *CASTS, *REDUCTIONS, *PRODUCTS, *QUANTISED, *NORMALISATIONS]


@pytest.mark.parametrize(("op", "opset", "inputs", "attributes", "options"), TABLE)
def test_agrees_with_onnxruntime(
    op: str, opset: int, inputs: tuple[np.ndarray | None, ...], attributes: dict[str, Any], options: dict[str, Any]
) -> None:
    check(op, inputs, attributes, opset, **options)
