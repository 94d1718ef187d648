"""Every algorithm for convolution, forced on random shapes, against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cpu import blas, conv, toeplitz, winograd_5x5, winograd_line
from engine.cpu.conv import ColumnProduct, ConvKernel
from engine.cpu.depthwise import Depthwise
from engine.cpu.kn2row import Kn2row
from engine.cpu.lower import lower
from engine.cpu.toeplitz import Toeplitz
from engine.graph.passes import optimize
from tests.engine.cpu.kernels import THREADS, compare, small_strips
from tests.engine.models import execute, feeds, interpret, load_graph, model, node

ALGORITHMS = {
    "ColumnProduct": (False, False),
    "Kn2row": (True, False),
    "Winograd": (False, True),
    "WinogradRows": (False, True),
}
"""For each algorithm, whether kn2row and Winograd are made to look faster."""

SQUARE_WINDOWS = ("Winograd", "WinogradRows")
"""Those that take 3x3 windows alone."""

TOLERANCE = {
    "ColumnProduct": 1e-5,
    "Kn2row": 7e-6,
    "Winograd": 2.5e-5,
    "WinogradRows": 2.5e-5,
    "WinogradLine": 2e-5,
    "Winograd5x5": 5e-5,
}
"""Absolute, for standard normal inputs and weights of unit gain; at most ten times what was measured."""


@contextmanager
def force(algorithm: str) -> Iterator[None]:
    """Within it every convolution that the algorithm can do is done by it."""
    kn2row, winograd = ALGORITHMS.get(algorithm, (False, False))
    line, square = (0 if algorithm == name else 2 for name in ("WinogradLine", "Winograd5x5"))
    with (
        mock.patch.object(conv, "kn2row_ns", return_value=0 if kn2row else 2),
        mock.patch.object(conv, "columns_ns", return_value=1),
        mock.patch.object(conv, "winograd_ns", return_value=0.5),
        mock.patch.object(conv, "winograd_rows_ns", return_value=0 if algorithm == "WinogradRows" else 1),
        mock.patch.object(conv, "line_ns", return_value=line),
        mock.patch.object(conv, "winograd_5x5_ns", return_value=square),
        mock.patch.object(conv, "winograd_takes", return_value=winograd),
        mock.patch.object(conv, "_is_depthwise", return_value=False),
    ):
        yield


def convolution(
    shape: tuple[int, int, int, int],
    outputs: int,
    kernel: tuple[int, int],
    *,
    group: int = 1,
    bias: bool = True,
    activation: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """x of that shape → Conv (→ activation) → y, with weights of unit gain."""
    random = np.random.default_rng(outputs)
    w = random.standard_normal((outputs, shape[1] // group, *kernel)).astype(np.float32)
    w /= np.float32(np.sqrt(w[0].size))
    constants = {"w": w, "b": random.standard_normal(outputs).astype(np.float32)}
    if not bias:
        del constants["b"]
    nodes = [node("Conv", "x w b" if bias else "x w", "c" if activation else "y", group=group, **attributes)]
    if activation:
        nodes.append(node(activation, "c", "y"))
    return model(nodes, {"x": list(shape)}, "y", constants)


def check(proto: onnx.ModelProto, algorithm: str) -> None:
    """Run under the algorithm after the passes, whole and finely cut, against the reference."""
    plain, graph = load_graph(proto), load_graph(proto)
    optimize(graph)
    inputs = feeds(graph)
    (expected,) = interpret(plain, inputs)
    with force(algorithm):
        kernel = lower(graph.nodes[0])
        assert isinstance(kernel, ConvKernel)
        assert type(kernel.algorithm).__name__ == algorithm
        results = execute(graph, inputs, 1)
        with small_strips():
            results += execute(graph, inputs, THREADS)
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE[algorithm])


@st.composite
def convolutions(draw: st.DrawFn, algorithm: str) -> onnx.ModelProto:
    """Any convolution that the algorithm can do, of odd sizes and channels, with asymmetric pads."""
    simple = algorithm != "ColumnProduct"
    group = 1 if simple else draw(st.integers(1, 3), "group")
    kernel = (3, 3) if algorithm in SQUARE_WINDOWS else draw(st.tuples(*[st.integers(1, 4)] * 2), "kernel")
    dilations = (1, 1) if algorithm in SQUARE_WINDOWS else draw(st.tuples(*[st.integers(1, 3)] * 2), "dilations")
    strides = (1, 1) if simple else draw(st.tuples(*[st.integers(1, 3)] * 2), "strides")
    pads = draw(st.lists(st.integers(0, 4), min_size=4, max_size=4), "pads")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [draw(st.integers(max(1, extents[axis] - pads[axis] - pads[axis + 2]), 19), "size") for axis in range(2)]
    shape = (draw(st.integers(1, 2), "batch"), group * draw(st.integers(1, 7), "channels"), *size)
    return convolution(
        shape,
        group * draw(st.integers(1, 7), "outputs"),
        kernel,
        group=group,
        bias=draw(st.booleans(), "bias"),
        activation=draw(st.sampled_from(["", "Relu", "Sigmoid"]), "activation"),
        dilations=dilations,
        strides=strides,
        pads=pads,
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_convolutions(algorithm: str, data: st.DataObject) -> None:
    check(data.draw(convolutions(algorithm)), algorithm)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_5x5_windows(data: st.DataObject) -> None:
    pads = data.draw(st.lists(st.integers(0, 6), min_size=4, max_size=4), "pads")
    size = [data.draw(st.integers(max(1, 5 - pads[axis] - pads[axis + 2]), 17), "size") for axis in range(2)]
    channels, outputs, images = (data.draw(st.integers(1, most), name) for most, name in ((9, "C"), (5, "M"), (2, "N")))
    proto = convolution(
        (images, channels, *size),
        outputs,
        (5, 5),
        bias=data.draw(st.booleans(), "bias"),
        activation=data.draw(st.sampled_from(["", "Relu", "Sigmoid"]), "activation"),
        pads=pads,
    )
    few = data.draw(st.sampled_from([1, 2, winograd_5x5.FEWEST_CHANNELS]), "channels at a time")
    with (
        mock.patch.object(winograd_5x5, "takes", return_value=True),
        mock.patch.object(winograd_5x5, "FEWEST_CHANNELS", few),
    ):
        check(proto, "Winograd5x5")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_lines(data: st.DataObject) -> None:
    taps, across = data.draw(st.sampled_from([3, 5]), "taps"), data.draw(st.booleans(), "across")
    pads = data.draw(st.tuples(st.integers(0, 7), st.integers(0, 7)), "pads")
    line = data.draw(st.integers(max(1, taps - sum(pads)), 40), "line")
    channels, outputs, images = (data.draw(st.integers(1, most), name) for most, name in ((9, "C"), (9, "M"), (2, "N")))
    proto = convolution(
        (images, channels, 1, line) if across else (images, channels, line, 1),
        outputs,
        (1, taps) if across else (taps, 1),
        bias=data.draw(st.booleans(), "bias"),
        activation=data.draw(st.sampled_from(["", "Relu", "Sigmoid"]), "activation"),
        pads=[0, pads[0], 0, pads[1]] if across else [pads[0], 0, pads[1], 0],
    )
    with mock.patch.object(winograd_line, "FEWEST", 1):
        check(proto, "WinogradLine")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("shape", "outputs"),
    [((1, 64, 33, 47), 64), ((1, 3, 65, 65), 16), ((2, 61, 40, 40), 35), ((1, 80, 17, 129), 16), ((1, 1, 1, 50), 1)],
    ids=str,
)
def test_layers_of_real_size(algorithm: str, shape: tuple[int, int, int, int], outputs: int) -> None:
    check(convolution(shape, outputs, (3, 3), pads=[1, 1, 1, 1], activation="Relu"), algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_residual_that_is_added_in_the_same_step(algorithm: str) -> None:
    w = np.random.default_rng(0).normal(0, 1 / np.sqrt(45), (7, 5, 3, 3)).astype(np.float32)
    nodes = [node("Conv", "x w", "c", pads=[1] * 4), node("Add", "c z", "s"), node("Relu", "s", "y")]
    check(model(nodes, {"x": [2, 5, 17, 13], "z": [2, 7, 17, 13]}, "y", {"w": w}), algorithm)


@pytest.mark.parametrize(
    ("options", "algorithm"),
    [
        ({"shape": (1, 128, 40, 40), "outputs": 128, "kernel": (3, 3)}, "Winograd"),
        ({"shape": (1, 64, 400, 1), "outputs": 64, "kernel": (5, 1)}, "WinogradLine"),
        ({"shape": (1, 64, 400, 2), "outputs": 64, "kernel": (5, 1)}, "ColumnProduct"),
        ({"shape": (1, 64, 40, 40), "outputs": 4, "kernel": (3, 3)}, "Kn2row"),
        ({"shape": (1, 16, 40, 40), "outputs": 16, "kernel": (3, 3)}, "WinogradRows"),
        ({"shape": (1, 256, 40, 40), "outputs": 24, "kernel": (3, 3)}, "WinogradRows"),
        ({"shape": (1, 96, 40, 40), "outputs": 16, "kernel": (5, 5)}, "Winograd5x5"),
        # a strip of one row of tiles takes 24 MiB of scratch, and 75
        ({"shape": (1, 64, 12, 1920), "outputs": 64, "kernel": (5, 5)}, "Winograd5x5"),
        ({"shape": (1, 64, 12, 1920), "outputs": 256, "kernel": (5, 5)}, "ColumnProduct"),
        ({"shape": (1, 96, 40, 40), "outputs": 1, "kernel": (5, 5)}, "Kn2row"),
        ({"shape": (1, 64, 40, 40), "outputs": 64, "kernel": (3, 3), "strides": [2, 2]}, "ColumnProduct"),
        ({"shape": (1, 64, 40, 40), "outputs": 64, "kernel": (3, 3), "dilations": [2, 2]}, "ColumnProduct"),
        ({"shape": (1, 64, 40, 40), "outputs": 64, "kernel": (3, 3), "group": 2}, "ColumnProduct"),
        ({"shape": (1, 64, 40, 40), "outputs": 64, "kernel": (3, 3), "pads": [0, -1, 0, 0]}, "ColumnProduct"),
        ({"shape": (1, 64, 9, 9), "outputs": 64, "kernel": (3, 3)}, "ColumnProduct"),
        ({"shape": (1, 64, 40, 40), "outputs": 64, "kernel": (1, 1)}, "ColumnProduct"),
    ],
)
def test_choice(options: dict[str, Any], algorithm: str) -> None:
    kernel = lower(load_graph(convolution(**options)).nodes[0])
    assert isinstance(kernel, ConvKernel)
    assert type(kernel.algorithm).__name__ == algorithm


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad(auto_pad: str) -> None:
    proto = convolution((1, 5, 11, 8), 6, (3, 4), auto_pad=auto_pad, strides=[2, 3])
    compare(proto, atol=2e-5, kernel="ConvKernel")


@pytest.mark.parametrize("pads", [[-1, 0, 0, -2], [0, -2, 1, 0]], ids=str)
@pytest.mark.parametrize("algorithm", ["ColumnProduct", "Kn2row"])
def test_negative_pads_crop(algorithm: str, pads: list[int]) -> None:
    check(convolution((1, 5, 11, 9), 6, (3, 3), pads=pads), algorithm)


def test_what_the_algorithms_do_not_take_runs_by_the_reference() -> None:
    w = np.random.default_rng(0).standard_normal((3, 2, 3)).astype(np.float32)
    compare(model([node("Conv", "x w", "y")], {"x": [2, 2, 9]}, "y", {"w": w}), kernel="ReferenceKernel")
    at_run_time = model([node("Conv", "x w", "y")], {"x": [1, 2, 5, 5], "w": [3, 2, 3, 3]}, "y")
    compare(at_run_time, kernel="ReferenceKernel")
    wide = model(
        [node("Conv", "x w", "y")], {"x": (np.float64, [1, 2, 5, 5])}, "y", {"w": np.ones((3, 2, 3, 3), np.float64)}
    )
    compare(wide, kernel="ReferenceKernel")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nan_and_infinity_stay_near_where_they_are(algorithm: str, value: float) -> None:
    graph = load_graph(convolution((1, 4, 30, 30), 5, (3, 3), pads=[1, 1, 1, 1]))
    (x,) = feeds(graph)
    x[0, 1, 7, 8] = value
    (expected,) = interpret(graph, [x])
    with force(algorithm):
        (result,) = execute(graph, [x])
    # Winograd spreads it over the tile of 4 x 2 outputs, as NaN, the others do not
    near = np.zeros(result.shape, bool)
    near[:, :, 2:14, 4:13] = True
    assert not np.isfinite(result[~np.isfinite(expected)]).any()
    np.testing.assert_allclose(result[~near], expected[~near], rtol=0, atol=TOLERANCE[algorithm])


@pytest.mark.parametrize(
    ("outputs", "kernel", "size", "dilation"), [(16, 3, 512, 16), (16, 31, 128, 1), (8, 11, 256, 1), (16, 7, 256, 1)]
)
def test_kn2row_is_not_chosen_where_its_halo_is_most_of_its_work(
    outputs: int, kernel: int, size: int, dilation: int
) -> None:
    extent = (kernel - 1) * dilation
    proto = convolution(
        (1, 64, size, size), outputs, (kernel, kernel), pads=[extent // 2] * 4, dilations=[dilation] * 2
    )
    (layer,) = load_graph(proto).nodes
    conv_kernel = ConvKernel(layer)
    assert not isinstance(conv_kernel.algorithm, Kn2row)
    assert conv_kernel.scratch * 4 < 64 << 20


@pytest.mark.parametrize(
    ("shape", "outputs", "direct"),
    [
        ((3, 22, 1, 1), 88, True),
        ((1, 64, 8, 8), 60, True),
        ((1, 66, 8, 8), 60, False),
        ((64, 22, 1, 1), 88, False),
        ((0, 22, 1, 1), 88, True),
    ],
)
def test_a_bias_is_added_to_a_few_pixels(shape: tuple[int, int, int, int], outputs: int, direct: bool) -> None:
    proto = convolution(shape, outputs, (1, 1), activation="HardSigmoid")
    (layer,) = load_graph(proto).nodes[:1]
    algorithm = ConvKernel(layer).algorithm
    assert isinstance(algorithm, ColumnProduct)
    assert algorithm.direct == direct
    compare(proto, rtol=0, atol=1e-5)


def test_no_image_is_no_output() -> None:
    compare(convolution((0, 4, 9, 9), 5, (3, 3)))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_depthwise_convolutions(data: st.DataObject) -> None:
    channels = data.draw(st.integers(2, 70), "channels")
    kernel, dilations, strides = (data.draw(st.tuples(*[st.integers(1, 4)] * 2)) for _ in range(3))
    pads = data.draw(st.lists(st.integers(-2, 4), min_size=4, max_size=4), "pads")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [data.draw(st.integers(max(1, extents[axis] - pads[axis] - pads[axis + 2]), 24)) for axis in range(2)]
    proto = convolution(
        (data.draw(st.integers(1, 2), "batch"), channels, *size),
        channels,
        kernel,
        group=channels,
        bias=data.draw(st.booleans(), "bias"),
        activation=data.draw(st.sampled_from(["", "Relu"]), "activation"),
        dilations=dilations,
        strides=strides,
        pads=pads,
    )
    graph = load_graph(proto)
    optimize(graph)
    # with and without a BLAS that multiplies small matrices where they lie, whatever this machine has
    for takes, algorithm, small in ((False, Depthwise, True), (True, Toeplitz, True), (True, Toeplitz, False)):
        with (
            mock.patch.object(toeplitz, "takes", return_value=takes),
            mock.patch.object(blas, "has_small_products", return_value=small),
        ):
            assert isinstance(ConvKernel(graph.nodes[0]).algorithm, algorithm)
            # measured: 1e-6
            compare(proto, rtol=0, atol=1e-5)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize(
    ("pads", "stride", "lines", "pitch"),
    [
        ([1, 1, 1, 1], 1, 3, 11),
        ([1, 1, 1, 1], 2, 3, 5),
        ([0, -1, 0, 0], 1, 3, 8),  # the lines of the input lie further apart than those of its copies
        ([-1, 0, 1, -1], 2, 3, 3),
        ([6, 1, -4, 1], 1, 1, 11),  # padding alone
    ],
)
def test_a_depthwise_plane_of_one_matrix(pads: list[int], stride: int, lines: int, pitch: int, small: bool) -> None:
    proto = convolution((2, 3, 3, 9), 3, (3, 3), group=3, pads=pads, strides=[stride] * 2)
    (layer,) = load_graph(proto).nodes
    with mock.patch.object(blas, "has_small_products", return_value=small):
        algorithm = ConvKernel(layer).algorithm
        assert isinstance(algorithm, Toeplitz)
        assert (algorithm.is_whole, algorithm.w.shape[2], algorithm.pitch) == (True, 3 * lines + 1, pitch)
        assert algorithm.bias is None
        compare(proto, rtol=0, atol=1e-5)


@pytest.mark.parametrize("height", [1, 2, 7, 8, 11])
def test_depthwise_rows_in_blocks_of_a_plane(height: int) -> None:
    proto = convolution((2, 3, height, 9), 3, (3, 3), group=3, activation="Sigmoid", pads=[1, 1, 1, 1])
    with (
        mock.patch.object(toeplitz, "takes", return_value=True),
        mock.patch.object(toeplitz, "STRIP_BYTES", 1 << 10),
    ):
        compare(proto, rtol=0, atol=1e-5)


def test_extreme_weights_of_a_depthwise_convolution_meet_no_zeros() -> None:
    (layer,) = load_graph(convolution((1, 4, 9, 9), 4, (3, 3), group=4)).nodes
    with mock.patch.object(toeplitz, "takes", return_value=True):
        assert isinstance(ConvKernel(layer, direct=True).algorithm, Depthwise)


def test_channels_that_share_their_input_are_not_depthwise() -> None:
    for shape, outputs, group in [((1, 4, 9, 9), 8, 4), ((1, 4, 9, 9), 4, 2), ((1, 1, 9, 9), 1, 1)]:
        (layer,) = load_graph(convolution(shape, outputs, (3, 3), group=group)).nodes
        assert not isinstance(ConvKernel(layer).algorithm, Depthwise | Toeplitz)
