"""Integer kernels are exact, however many channels they sum over."""

from __future__ import annotations

from math import inf
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cpu import exact_conv
from engine.cpu.exact_conv import Direct, ShiftedProducts
from engine.cpu.exact_winograd import EXACT, ExactRows, ExactWinograd
from engine.cpu.lower import lower
from engine.cpu.quantized import ConvIntegerKernel, Levels
from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, TensorType, Value
from engine.ops import infer
from engine.ops.quantize import dynamic_parameters, requantize
from tests.engine.cpu.kernels import THREADS, compare, compare_graph, small_strips
from tests.engine.models import execute, interpret, load_graph, model, node


def conv_integer(
    shape: list[int],
    w: np.ndarray,
    *,
    x_dtype: Any = np.uint8,
    x_zero: int | None = 128,
    w_zero: np.ndarray | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """x → ConvInteger → y; the zero point of x is an input of the run."""
    inputs: dict[str, Any] = {"x": (x_dtype, shape)}
    constants: dict[str, Any] = {"w": w}
    names = ["x", "w"]
    if x_zero is not None or w_zero is not None:
        names.append("-" if x_zero is None else "xz")
        if x_zero is not None:
            constants["xz"] = np.array(x_zero, x_dtype)
    if w_zero is not None:
        names.append("wz")
        constants["wz"] = w_zero
    return model([node("ConvInteger", " ".join(names), "y", **attributes)], inputs, "y", constants)


def exact(proto: onnx.ModelProto, x: np.ndarray) -> None:
    """The executor gives what the reference gives, on one thread and finely cut."""
    graph = load_graph(proto)
    (expected,) = interpret(graph, [x])
    assert expected.dtype == np.int32
    np.testing.assert_array_equal(execute(graph, [x], 1)[0], expected)
    with small_strips():
        np.testing.assert_array_equal(execute(graph, [x], THREADS)[0], expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_convolutions(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    x_dtype, w_dtype = (data.draw(st.sampled_from([np.uint8, np.int8]), "dtype") for _ in range(2))
    outputs, channels = data.draw(st.integers(1, 5), "outputs"), data.draw(st.integers(1, 5), "channels")
    kernel = data.draw(st.tuples(*[st.integers(1, 3)] * 2), "kernel")
    limits = np.iinfo(w_dtype)
    w = random.integers(limits.min, limits.max, (outputs, channels, *kernel), endpoint=True).astype(w_dtype)
    zeros = {
        "none": None,
        "one": np.array(3, w_dtype),
        "each": random.integers(0, 9, outputs).astype(w_dtype),
    }
    shape = [data.draw(st.integers(1, 2), "batch"), channels, *data.draw(st.tuples(*[st.integers(3, 12)] * 2), "size")]
    proto = conv_integer(
        shape,
        w,
        x_dtype=x_dtype,
        x_zero=data.draw(st.sampled_from([None, 0, 5, 127]), "zero point of x"),
        w_zero=zeros[data.draw(st.sampled_from(sorted(zeros)), "zero point of w")],
        strides=data.draw(st.tuples(*[st.integers(1, 2)] * 2), "strides"),
        pads=data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4), "pads"),
    )
    assert isinstance(lower(load_graph(proto).nodes[0]), ConvIntegerKernel)
    limits = np.iinfo(x_dtype)
    exact(proto, random.integers(limits.min, limits.max, shape, endpoint=True).astype(x_dtype))


@pytest.mark.parametrize("channels", [28, 29, 64, 300])
def test_sums_beyond_what_float32_holds(channels: int) -> None:
    """The largest weights and inputs: 9 taps of 28 channels stay below 2^24, more need several exact runs."""
    proto = conv_integer([1, channels, 6, 6], np.full((2, channels, 3, 3), 255, np.uint8), x_zero=0)
    kernel = lower(load_graph(proto).nodes[0])
    assert isinstance(kernel, ConvIntegerKernel)
    direct = kernel.convolution.direct
    if channels == 28:
        assert isinstance(direct, ShiftedProducts)
    else:
        assert isinstance(direct, Direct)
        assert len(direct.runs) == -(-channels // 28)
        assert all(np.abs(weights).sum(axis=1).max() * 255 < EXACT for weights in direct.weights)
    x = np.full((1, channels, 6, 6), 255, np.uint8)
    x[0, :, ::2] = 254  # odd sums, which float32 would round
    x[0, 0, 1, 1] = 253
    exact(proto, x)


def test_a_window_whose_sum_over_one_channel_is_beyond_float32() -> None:
    x = np.full((1, 1, 18, 18), 255, np.uint8)
    x[0, 0, ::2, ::3] = 254
    exact(conv_integer([1, 1, 18, 18], np.full((1, 1, 17, 17), 255, np.uint8), x_zero=0), x)


def test_groups_run_by_the_reference() -> None:
    w = np.arange(36, dtype=np.uint8).reshape(4, 1, 3, 3)
    compare(conv_integer([1, 4, 6, 6], w, group=4), kernel="ReferenceKernel")


@pytest.mark.parametrize("values", [(-1.5, 2.5), (0.1, 3.0), (-4.0, -0.5), (0.0, 0.0), (-1e-30, 1e30)], ids=str)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_dynamic_quantize_linear(values: tuple[float, float], size: int) -> None:
    proto = model([node("DynamicQuantizeLinear", "x", "y scale zero")], {"x": [size]}, "y scale zero")
    x = np.random.default_rng(0).uniform(*values, size).astype(np.float32)
    graph = load_graph(proto)
    expected = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    with small_strips():
        results = execute(graph, [x], THREADS)
    for result, interpreted, reference in zip(results, interpret(graph, [x]), expected, strict=True):
        assert result.dtype == reference.dtype
        np.testing.assert_array_equal(result, interpreted)
        np.testing.assert_array_equal(result, reference)


def test_only_some_outputs_of_dynamic_quantize_linear() -> None:
    for node_outputs, model_outputs in [("y", "y"), ("y scale", "y scale"), ("- scale", "scale"), ("- - zero", "zero")]:
        compare(model([node("DynamicQuantizeLinear", "x", node_outputs)], {"x": [9]}, model_outputs))


def dynamic_convolution(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, **attributes: Any) -> Graph:
    """The node that fuse_dynamic_quantization makes."""
    constants = {"w": w, "wz": np.array(128, np.uint8), "ws": np.array([0.01], np.float32)}
    inputs = [Value("x", TensorType(x.dtype, x.shape)), *(Value.constant(*pair) for pair in constants.items())]
    if bias is not None:
        inputs.append(Value.constant("b", bias))
    fused = Node("DynamicQuantizeConv", list(inputs), [], attributes, domain=INTERNAL_DOMAIN, name="conv")
    fused.outputs = [Value("y", *infer(fused))]
    return Graph(inputs[:1], [fused.output], [fused])


RELU = {"activation": "Relu", "activation_version": 14, "activation_attributes": {}}


@pytest.mark.parametrize(("bias", "attributes"), [(None, {}), (np.linspace(-3, 3, 40, dtype=np.float32), RELU)])
@pytest.mark.parametrize("size", [(33, 35), (9, 7)], ids=["winograd", "direct"])
def test_dynamic_quantize_conv(size: tuple[int, int], bias: np.ndarray | None, attributes: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    w = random.integers(100, 156, (40, 33, 3, 3)).astype(np.uint8)
    x = random.normal(1, 2, (2, 33, *size)).astype(np.float32)
    compare_graph(dynamic_convolution(x, w, bias, pads=(1, 0, 2, 1), **attributes), x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-44])
def test_what_no_scale_covers(value: float) -> None:
    x = np.full((1, 32, 32, 32), 0 if value == 1e-44 else 1, np.float32)
    x[0, 3, 4, 5] = value
    compare_graph(dynamic_convolution(x, np.full((32, 32, 3, 3), 131, np.uint8), None, pads=(1,) * 4), x)


@pytest.mark.parametrize("kind", [ExactWinograd, ExactRows])
@pytest.mark.parametrize(
    ("channels", "weights", "pixels", "runs"),
    [
        (64, 9, 16, (1, 1)),
        (64, 60, 64, (1, 1)),
        (64, 128, 64, (2, 2)),
        (128, 128, 64, (4, 2)),
        (64, 128, 255, (0, 0)),
    ],
)
def test_winograd_sums_are_exact(
    kind: type[ExactWinograd | ExactRows], channels: int, weights: float, pixels: float, runs: tuple[int, int]
) -> None:
    """From sums that stay far below 2^24 to those that reach it: fast, in float64, in runs, and by the definition."""
    random = np.random.default_rng(1)
    w = np.clip(128 + random.normal(0, weights, (32, channels, 3, 3)), 0, 255).astype(np.uint8)
    x = np.clip(np.abs(random.normal(0, pixels, (1, channels, 32, 33))), 0, 255).astype(np.uint8)
    proto = conv_integer(list(x.shape), w, x_zero=0, w_zero=np.array(128, np.uint8), pads=[1] * 4)
    taken: list[int] = []
    exact_runs = kind._exact_runs

    def noted(self: ExactWinograd | ExactRows, v: np.ndarray) -> list[tuple[slice, float]]:
        taken.append(len(exact_runs(self, v)))
        return exact_runs(self, v)

    with (
        mock.patch.object(kind, "_exact_runs", noted),
        mock.patch.object(exact_conv, "winograd_rows_ns", return_value=0 if kind is ExactRows else inf),
    ):
        exact(proto, x)
    assert runs[kind is ExactRows] in taken, taken


def test_many_channels_have_room_beside_few_outputs() -> None:
    """The lines of a strip lie where the product comes to lie, and are more numbers there than that is."""
    random = np.random.default_rng(1)
    w, x = random.integers(-3, 4, (16, 160, 3, 3), np.int8), random.integers(0, 16, (1, 160, 21, 22), np.uint8)
    proto = conv_integer(list(x.shape), w, x_zero=3, pads=[1] * 4)
    with mock.patch.object(exact_conv, "winograd_rows_ns", return_value=0):
        kernel = ConvIntegerKernel(load_graph(proto).nodes[0])
        assert isinstance(kernel.convolution.winograd, ExactRows)
        exact(proto, x)


def test_short_strips_are_padded_where_they_begin() -> None:
    """Each is given the lines that it reads alone."""
    random = np.random.default_rng(1)
    w, x = random.integers(-99, 99, (64, 3, 5, 5), np.int8), random.integers(0, 256, (1, 3, 91, 90), np.uint8)
    graph = load_graph(conv_integer(list(x.shape), w, strides=[2, 2], pads=[2] * 4))
    np.testing.assert_array_equal(execute(graph, [x], 2), interpret(graph, [x]))


@pytest.mark.parametrize(("low", "high"), [(0, 3.7), (-1.5, 253.5), (-2.5, 252.5), (-7.3, 0), (-1e-30, 1e-30), (-3, 8)])
def test_levels_are_clipped_where_the_limits_need_it(low: float, high: float) -> None:
    limits = np.float32(low), np.float32(high)
    levels = Levels(*dynamic_parameters(*limits), finite=True, limits=limits)
    x = np.linspace(*limits, 4001, dtype=np.float32).clip(*limits)
    expected = requantize(x / levels.scale, levels.zero, np.dtype(np.uint8)).astype(np.float32) - levels.zero
    distances = np.empty_like(x)
    levels.widen(x, distances)
    np.testing.assert_array_equal(distances, expected)
