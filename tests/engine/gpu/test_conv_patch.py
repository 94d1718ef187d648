"""Convolutions by patches on matrix units, emulated: every way to share a tile, in float16 and in split float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.gpu.kernels.convolution import table
from engine.gpu.kernels.convolution.patch import PatchTile, emit_patch
from engine.gpu.kernels.convolution.split import ACTIVATION_SCALE
from engine.gpu.lowering.table import Implementation
from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.layers import integers
from tests.engine.gpu.plans import EMULATED, plan_case
from tests.engine.models import interpret, load_graph, model, node

SMALL = PatchTile(2, 16, 16, 16)
"""A tile that every layer here fits."""


@pytest.fixture(name="force")
def _force(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the table take one tile for every convolution that it supports."""
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: CONVOLUTIONS ON MATRIX UNITS ARE NOT RUN")

    def force(tile: PatchTile) -> None:
        def emit(*arguments: Any) -> None:
            emit_patch(*arguments, tile=tile)

        row = Implementation("forced", "", supports=tile.supports, emit=emit)
        monkeypatch.setattr(table.CONVOLUTION, "rows", (row, *table.CONVOLUTION.rows))

    return force


def layer(
    random: np.random.Generator, shape: tuple[int, ...], outputs: int, kernel: tuple[int, int], **attributes: Any
) -> onnx.ModelProto:
    """A convolution in the middle of a network, with bias, activation and residual, its numbers of a few bits."""
    group = attributes.get("group", 1)
    weights = {"w": integers(random, outputs, shape[1] // group, *kernel), "b": integers(random, outputs)}
    nodes = [
        node("Neg", "x", "z"),
        node("Conv", "z w b", "c", **attributes),
        node("Relu", "c", "r"),
        node("Add", "r s", "a"),
        node("Neg", "a", "y"),
    ]
    return model(nodes, {"x": list(shape), "s": [outputs, 1, 1]}, "y", weights)


CASES = {
    "one subgroup": (SMALL, (1, 16, 5, 19), 20, (3, 3), {"pads": [1] * 4}),
    "pixels and outputs": (
        PatchTile(4, 32, 32, 16, across_pixels=2, across_outputs=2),
        (2, 40, 9, 35),
        36,
        (3, 3),
        {"pads": [2, 1, 0, 3], "dilations": [2, 1]},
    ),
    "a number of subgroups that is no power of two": (
        PatchTile(2, 16, 80, 16, across_outputs=5),
        (1, 16, 3, 18),
        75,
        (3, 3),
        {"pads": [1] * 4},
    ),
    "channels": (
        PatchTile(2, 16, 32, 32, across_channels=2),
        (1, 72, 6, 7),
        33,
        (3, 1),
        {"pads": [3, 0, 3, 0], "dilations": [3, 1]},
    ),
    "weights by workgroup memory": (
        PatchTile(2, 16, 16, 16, across_pixels=2, weights_in_workgroup=True),
        (1, 24, 4, 20),
        17,
        (1, 5),
        {"strides": [1, 2], "pads": [0, 2, 0, 2]},
    ),
    "groups": (SMALL, (2, 24, 7, 9), 40, (2, 3), {"group": 2, "strides": [2, 1]}),
    "channels in fours": (SMALL, (1, 12, 5, 6), 4, (3, 3), {}),
}


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_way_to_share_a_tile(force: Any, case: str, half: bool) -> None:
    """Numbers of a few bits have no low part and exact sums: the result is the reference's, bit by bit."""
    tile, shape, outputs, kernel, attributes = CASES[case]
    force(tile)
    random = np.random.default_rng(0)
    proto = layer(random, shape, outputs, kernel, **attributes)
    inputs = [integers(random, *shape), integers(random, outputs, 1, 1)]
    (expected,) = interpret(load_graph(proto), inputs)
    (y,), kernels = run(load_graph(proto), inputs, half=half, matrix_units=EMULATED)
    assert kernels.count("conv_patch") == 1
    np.testing.assert_array_equal(y, expected.astype(np.float16).astype(np.float32) if half else expected)


@pytest.mark.parametrize("dilation", [1, 3])
def test_lines_of_tiles_are_cut_where_a_binding_holds_no_more(force: Any, dilation: int) -> None:
    force(SMALL)
    random = np.random.default_rng(0)
    proto = layer(random, (2, 16, 40, 17), 16, (3, 3), pads=[dilation] * 4, dilations=[dilation] * 2)
    inputs = [integers(random, 2, 16, 40, 17), integers(random, 16, 1, 1)]
    (expected,) = interpret(load_graph(proto), inputs)
    limits = {"max-storage-buffer-binding-size": 16384}
    (y,), kernels = run(load_graph(proto), inputs, half=True, matrix_units=EMULATED, limits=limits)
    assert kernels.count("conv_patch") > 2
    np.testing.assert_array_equal(y, expected.astype(np.float16).astype(np.float32))


def convolved(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The split convolution of ``x`` [1, C, H, W] on the GPU, without padding."""
    nodes = [node("Neg", "x", "z"), node("Conv", "z w", "c"), node("Neg", "c", "y")]
    proto = model(nodes, {"x": list(x.shape)}, "y", {"w": w})
    (y,), kernels = run(load_graph(proto), [x], matrix_units=EMULATED)
    assert "conv_patch" in kernels
    return y


def test_split_operands_are_as_good_as_float32(force: Any) -> None:
    force(SMALL)
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 64, 6, 18)).astype(np.float32)
    # channels of every size: each has a scale of its own
    w = (random.standard_normal((16, 64, 3, 3)) * np.exp2(random.integers(-30, 9, (16, 1, 1, 1)))).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x[0].astype(np.float64), (3, 3), axis=(1, 2))
    expected = np.einsum("chwyx,ocyx->ohw", windows, w.astype(np.float64))
    error = np.abs(convolved(x, w)[0] - expected).max((1, 2)) / np.abs(expected).max((1, 2))
    assert error.max() < 2e-6


def test_activations_beyond_what_halves_hold_are_nan_where_they_count(force: Any) -> None:
    force(SMALL)
    x = np.ones((1, 16, 5, 20), np.float32)
    x[0, 3, 2, 9] = 65504 / ACTIVATION_SCALE
    x[0, 4, 0, 0] = -65504 / ACTIVATION_SCALE * 1.0001
    y = convolved(x, np.ones((4, 16, 3, 3), np.float32))
    assert np.isnan(y[0, :, 0, 0]).all()
    assert np.isnan(y).sum() == 4
    assert y[0, 0, 2, 9] == 9 * 16 - 1 + 65504 / ACTIVATION_SCALE


POOLED = {
    "even": (SMALL, (1, 16, 6, 32), 16, {"ceil_mode": 1}),
    "odd, with squares over the edges": (SMALL, (2, 16, 5, 19), 20, {"ceil_mode": 1}),
    "odd, without": (PatchTile(4, 16, 32, 16, across_pixels=2), (1, 16, 7, 17), 36, {}),
    "shared channels": (PatchTile(4, 16, 16, 32, across_channels=2), (1, 32, 9, 21), 12, {"ceil_mode": 1}),
    "few channels for many invocations": (PatchTile(2, 16, 16, 64, across_channels=4), (1, 64, 4, 5), 8, {}),
}


@pytest.mark.parametrize(("case", "half"), [*((case, True) for case in POOLED), ("shared channels", False)])
def test_a_max_pool_is_written_by_the_convolution(force: Any, case: str, half: bool) -> None:
    tile, shape, outputs, attributes = POOLED[case]
    force(tile)
    random = np.random.default_rng(1)
    weights = {"w": integers(random, outputs, shape[1], 3, 3), "b": integers(random, outputs)}
    nodes = [
        node("Neg", "x", "z"),
        node("Conv", "z w b", "c", pads=[1] * 4),
        node("LeakyRelu", "c", "r", alpha=0.5),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2], **attributes),
        node("Neg", "p", "y"),
        node("Neg", "r", "u"),
    ]
    proto = model(nodes, {"x": list(shape)}, "y u", weights)
    inputs = [integers(random, *shape)]
    expected = interpret(load_graph(proto), inputs)
    results, kernels = run(load_graph(proto), inputs, half=half, matrix_units=EMULATED)
    assert "pool" not in kernels
    for result, reference in zip(results, expected, strict=True):
        exact = reference.astype(np.float16).astype(np.float32) if half else reference
        np.testing.assert_array_equal(result, exact)


def test_a_pooled_nan_stays(force: Any) -> None:
    force(SMALL)
    proto = model(
        [
            node("Conv", "x w", "c", pads=[1] * 4),
            node("MaxPool", "c", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Neg", "p", "y"),
        ],
        {"x": [1, 16, 4, 8]},
        "y",
        {"w": np.ones((16, 16, 3, 3), np.float32)},
    )
    x = np.zeros((1, 16, 4, 8), np.float32)
    x[0, 3, 1, 2] = np.nan
    (y,), kernels = run(load_graph(proto), [x], matrix_units=EMULATED)
    assert "pool" not in kernels
    expected = np.zeros((2, 4), bool)
    expected[:2, :2] = True
    np.testing.assert_array_equal(np.isnan(y[0, 5]), expected)


@pytest.mark.parametrize(
    "pool",
    [
        node("MaxPool", "c", "p", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0]),
        node("MaxPool", "c", "p", kernel_shape=[2, 2]),
        node("MaxPool", "c", "p", kernel_shape=[3, 3], strides=[2, 2]),
        node("MaxPool", "c", "p", kernel_shape=[2, 2], strides=[2, 2], dilations=[2, 2]),
        node("MaxPool", "c", "p i", kernel_shape=[2, 2], strides=[2, 2]),
    ],
)
def test_other_pools_have_their_own_kernel(force: Any, pool: onnx.NodeProto) -> None:
    force(SMALL)
    nodes = [node("Conv", "x w", "c", pads=[1] * 4), pool, node("Neg", "p", "y")]
    outputs = "y" if len(pool.output) == 1 else "y i"
    graph = load_graph(model(nodes, {"x": [1, 16, 6, 6]}, outputs, {"w": np.ones((16, 16, 3, 3), np.float32)}))
    assert "pool" in plan_case(graph, matrix_units=EMULATED).kernels
