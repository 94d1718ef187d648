"""Winograd convolutions: against the reference, dilated, in ranges of tiles, with small bindings, and which layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.caps import Caps
from engine.gpu.kernels.convolution import winograd
from engine.gpu.lowering.lowering import Lowering
from tests.engine.gpu.gpu import compare, device, run
from tests.engine.gpu.plans import EMULATED
from tests.engine.models import feeds, interpret, load_graph, model, node

STEPS = ["winograd_input", "winograd_product", "winograd_output"]
TOLERANCE = {4: {"rtol": 2e-6, "atol": 1e-5}, 6: {"rtol": 2e-6, "atol": 1e-4}}
NAMES = {4: "winograd-2x2", 6: "winograd-4x4"}


def convolution(x: list[int], outputs: int, *, dilation: int = 1, pads: int | None = None) -> onnx.ModelProto:
    """A 3x3 convolution between element-wise nodes that make its input and output channels-last."""
    w = np.random.default_rng(0).standard_normal((outputs, x[1], 3, 3)).astype(np.float32)
    pads = dilation if pads is None else pads
    nodes = [
        node("Conv", "x w b", "c", pads=[pads] * 4, dilations=[dilation] * 2),
        node("Relu", "c", "r"),
        node("Add", "r s", "y"),
    ]
    weights = {"w": w, "b": w[:, 0, 0, 0].copy(), "s": np.float32([0.5])}
    return model(nodes, {"x": x}, "y", weights)


@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize(
    ("x", "outputs", "options"),
    [
        ([2, 20, 13, 18], 10, {}),
        ([1, 4, 9, 33], 36, {"pads": 0}),
        ([1, 16, 19, 10], 68, {"dilation": 2}),
        ([2, 8, 7, 5], 8, {"dilation": 3, "pads": 4}),
    ],
)
def test_agrees_with_the_reference(size: int, x: list[int], outputs: int, options: dict[str, int]) -> None:
    compare(
        convolution(x, outputs, **options),
        choices={"convolution": NAMES[size]},
        kernels=["elementwise", *STEPS, "elementwise"],
        **TOLERANCE[size],
    )


@pytest.mark.parametrize(("workspace", "binding"), [(1 << 17, 128 << 20), (12 << 20, 400 << 10)])
def test_tiles_are_cut_into_ranges(monkeypatch: pytest.MonkeyPatch, workspace: int, binding: int) -> None:
    """Into three, one of which goes on in the next image: by the workspace, and by bindings that hold no more."""
    monkeypatch.setattr(winograd, "LEAST_WORKSPACE", workspace)
    compare(
        convolution([2, 16, 50, 21], 20),
        choices={"convolution": "winograd-4x4"},
        limits={"max-storage-buffer-binding-size": binding},
        kernels=["elementwise", *STEPS * 3, "elementwise"],
        **TOLERANCE[6],
    )


def test_reads_and_writes_parts_of_one_concat() -> None:
    """A layer whose input is one part of a Concat, and its output the other."""
    w = np.random.default_rng(0).standard_normal((24, 16, 3, 3)).astype(np.float32)
    nodes = [
        node("Relu", "x", "a"),
        node("Conv", "a w", "c", pads=[1] * 4),
        node("Relu", "c", "b"),
        node("Concat", "a b", "ab", axis=1),
        node("MaxPool", "ab", "y", kernel_shape=[2, 2]),
    ]
    proto = model(nodes, {"x": [1, 16, 14, 9]}, "y", {"w": w})
    compare(proto, choices={"convolution": "winograd-4x4"}, **TOLERANCE[6])


@pytest.mark.parametrize(("shape", "outputs", "ceil"), [([2, 16, 13, 18], 12, 1), ([1, 8, 7, 9], 8, 0)])
def test_a_max_pool_is_written_by_the_last_step(
    monkeypatch: pytest.MonkeyPatch, shape: list[int], outputs: int, ceil: int
) -> None:
    """In ranges of tiles; squares over the edges count, or do not."""
    monkeypatch.setattr(winograd, "LEAST_WORKSPACE", 1 << 14)
    w = np.random.default_rng(0).standard_normal((outputs, shape[1], 3, 3)).astype(np.float32)
    nodes = [
        node("Neg", "x", "z"),
        node("Conv", "z w", "c", pads=[1] * 4),
        node("LeakyRelu", "c", "r", alpha=0.5),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=ceil),
        node("Neg", "p", "y"),
        node("Neg", "r", "u"),
    ]
    proto = model(nodes, {"x": shape}, "y u", {"w": w})
    inputs = [np.random.default_rng(1).standard_normal(shape).astype(np.float32)]
    results, kernels = run(load_graph(proto), inputs, choices={"convolution": "winograd-4x4"})
    assert "pool" not in kernels
    assert kernels.count("winograd_output") > 1
    for result, expected in zip(results, interpret(load_graph(proto), inputs), strict=True):
        np.testing.assert_allclose(result, expected, **TOLERANCE[6])


def test_a_pooled_nan_stays() -> None:
    weights = {"w": np.ones((8, 8, 3, 3), np.float32)}
    nodes = [
        node("Conv", "x w", "c", pads=[1] * 4),
        node("MaxPool", "c", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Neg", "p", "y"),
    ]
    x = np.zeros((1, 8, 8, 8), np.float32)
    x[0, 3, 1, 1] = np.nan
    graph = load_graph(model(nodes, {"x": list(x.shape)}, "y", weights))
    (y,), kernels = run(graph, [x], choices={"convolution": "winograd-4x4"})
    assert "pool" not in kernels
    assert np.isnan(y[0, :, :2, :2]).all()
    assert not np.isnan(y[0, :, 2:, 2:]).any()


def test_what_is_no_number_reaches_its_tiles_alone() -> None:
    proto = convolution([1, 8, 16, 16], 8)
    x = np.ones((1, 8, 16, 16), np.float32)
    x[0, 3, 5, 6] = np.nan
    (y,), _ = run(load_graph(proto), [x], choices={"convolution": "winograd-4x4"})
    assert np.isnan(y[0, :, 4:7, 5:8]).all()
    # Relu keeps NaN: the tile of rows and columns 4 to 7, and no other, for none else reads the pixel
    assert not np.isnan(np.delete(np.delete(y, np.s_[4:8], 2), np.s_[4:8], 3)).any()


def test_a_model_that_is_downloaded_keeps_its_weights_small() -> None:
    proto = convolution([1, 64, 64, 64], 64)
    plain, compact = (Lowering(load_graph(proto), Caps(compact=compact)) for compact in (False, True))
    plain.run()
    compact.run()
    assert "winograd_product" in [dispatch.kernel for dispatch in plain.dispatches]
    assert [dispatch.kernel for dispatch in compact.dispatches] == ["elementwise", "conv", "conv_sum", "elementwise"]


@pytest.fixture(name="split_rows")
def _split_rows() -> None:
    """Skip where the emulation of matrix units does not run."""
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: WINOGRAD CONVOLUTIONS ON MATRIX UNITS ARE NOT RUN")


@pytest.mark.usefixtures("split_rows")
def test_split_products_are_as_good_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels of every size, each with a scale of its own, and an edge of tiles, against sums of float64."""
    monkeypatch.setattr(winograd, "UNITS_MIDDLE", winograd.UnitsTile(32, 32, 32, 16, 32))
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 36, 11, 18)).astype(np.float32)
    w = (random.standard_normal((20, 36, 3, 3)) * np.exp2(random.integers(-30, 9, (20, 1, 1, 1)))).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x[0].astype(np.float64), (3, 3), axis=(1, 2))
    expected = np.einsum("chwyx,ocyx->ohw", windows, w.astype(np.float64))
    for size, bound in ((4, 2e-6), (6, 1e-5)):
        y = split(x, w, size)
        assert (np.abs(y[0] - expected).max((1, 2)) / np.abs(expected).max((1, 2))).max() < bound


@pytest.mark.usefixtures("split_rows")
def test_inputs_beyond_what_halves_hold_are_nan_in_their_tile() -> None:
    x = np.ones((1, 16, 10, 10), np.float32)
    x[0, 3, 1, 1] = 60000
    y = split(x, np.ones((4, 16, 3, 3), np.float32), 6)
    assert np.isnan(y[0, :, :4, :4]).any()
    assert not np.isnan(y[0, :, 4:, 4:]).any()


def split(x: np.ndarray, w: np.ndarray, size: int) -> np.ndarray:
    """The convolution of ``x`` [1, C, H, W] by split products, without padding."""
    nodes = [node("Neg", "x", "z"), node("Conv", "z w", "c"), node("Neg", "c", "y")]
    proto = model(nodes, {"x": list(x.shape)}, "y", {"w": w})
    choices = {"convolution": f"{NAMES[size]}-split"}
    (y,), kernels = run(load_graph(proto), [x], matrix_units=EMULATED, choices=choices)
    assert "winograd_product_matrix" in kernels
    return y


@pytest.mark.parametrize("largest", [3.0, 4e4])
def test_weights_of_small_tiles_are_float16_in_half_precision(largest: float) -> None:
    """Unless their transforms do not fit: three times the error of float16 weights that are summed by definition."""
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    proto = convolution([1, 64, 20, 20], 32)
    w = numpy_helper.to_array(proto.graph.initializer[0]) * np.float32(1e-3)
    w[0, 0, 0, 0] = largest
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(w, "w"))
    graph = load_graph(proto)
    inputs = [array.astype(np.float16).astype(np.float32) for array in feeds(graph)]
    (expected,) = interpret(graph, inputs)
    (y,), kernels = run(load_graph(proto), inputs, half=True, choices={"convolution": NAMES[4]})
    assert "winograd_product" in kernels
    lowering = Lowering(load_graph(proto), half=True, choices={"convolution": NAMES[4]})
    lowering.run()
    (product,) = (each for each in lowering.dispatches if each.kernel == "winograd_product")
    assert product.reads[1].tensor.dtype == ("f16" if largest < 1e4 else "f32")
    others = slice(1, None)  # the outputs that the largest weight is not in
    np.testing.assert_allclose(y[:, others], expected[:, others], rtol=1e-3, atol=1e-3)
