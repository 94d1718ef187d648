"""Convolutions on the GPU against the reference: every tile, every loader, both implementations' shaders."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.gpu.kernels.convolution import tiled
from engine.gpu.kernels.convolution.table import CONVOLUTION
from engine.gpu.kernels.convolution.tiled import splits_for
from tests.engine.gpu.gpu import compare
from tests.engine.models import model, node

RTOL, ATOL = 1e-4, 3e-6


def convolution(
    x: list[int],
    outputs: int,
    kernel: list[int],
    *,
    group: int = 1,
    bias: bool = True,
    activation: str | None = None,
    residual: bool = False,
    **attributes: Any,
) -> Any:
    """A model of a Conv with constant weights of natural size, and what the options put behind it."""
    random = np.random.default_rng(len(x) * outputs)
    fan = x[1] // group * int(np.prod(kernel))
    constants = {"w": (random.standard_normal((outputs, x[1] // group, *kernel)) / np.sqrt(fan)).astype(np.float32)}
    if bias:
        constants["b"] = random.standard_normal(outputs).astype(np.float32)
    nodes = [node("Conv", " ".join(["x", *constants]), "c", group=group, **attributes)]
    inputs: dict[str, Any] = {"x": x}
    if activation:
        nodes.append(node(activation, nodes[-1].output[0], "a"))
    if residual:
        inputs["r"] = [1, outputs, *(1,) * len(kernel)]
        nodes.append(node("Add", f"{nodes[-1].output[0]} r", "s"))
    return model(nodes, inputs, nodes[-1].output[0], constants)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_convolution(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3), "rank")
    group = data.draw(st.sampled_from([1, 1, 1, 2, 3]), "group")
    kernel, strides, dilations = (
        data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank), what)
        for what in ("kernel", "strides", "dilations")
    )
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [data.draw(st.integers(extent, extent + 8), "size") for extent in extents]
    shape = [data.draw(st.integers(1, 2), "batch"), group * data.draw(st.integers(1, 10), "channels"), *size]
    pads = data.draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank), "pads")
    proto = convolution(
        shape,
        group * data.draw(st.integers(1, 40), "outputs"),
        kernel,
        group=group,
        bias=data.draw(st.booleans(), "bias"),
        activation=data.draw(st.sampled_from([None, "Relu", "Sigmoid", "HardSwish"]), "activation"),
        residual=data.draw(st.booleans(), "residual"),
        strides=strides,
        dilations=dilations,
        pads=pads,
    )
    compare(proto, rtol=RTOL, atol=ATOL)


TILES = [row.name for row in CONVOLUTION.rows if row.name.startswith("tiled-")]


@pytest.mark.parametrize(
    ("tile", "channels"),
    # teams take channels in fours alone
    [(tile, channels) for tile in TILES for channels in (3, 8, 32) if (tile, channels) != ("tiled-teams", 3)],
)
def test_every_tile(tile: str, channels: int) -> None:
    proto = convolution([2, channels, 9, 11], 52, [3, 3], pads=[1, 2, 0, 1], activation="Relu")
    kernels = ["elementwise"] * (channels > 3) + ["conv", "elementwise"]
    with mock.patch.object(tiled, "splits_for", return_value=1):
        compare(proto, rtol=RTOL, atol=ATOL, kernels=kernels, choices={"convolution": tile})


@pytest.mark.parametrize(("tile", "limit"), [("tiled-tall", 1 << 13), ("tiled-wide", 1 << 27)])
def test_a_window_of_one_pixel_is_loaded_as_a_matrix(tile: str, limit: int) -> None:
    """Groups, pixels that fill no tile, and bindings of some rows."""
    proto = convolution([2, 64, 9, 11], 72, [1, 1], group=2, activation="Relu", residual=True)
    compare(
        proto,
        rtol=RTOL,
        atol=ATOL,
        choices={"convolution": tile},
        limits={"max-storage-buffer-binding-size": max(limit, 2 * 32 * 64 * 4)},
    )


def test_channels_that_are_not_side_by_side_are_copied_or_loaded_one_by_one() -> None:
    compare(convolution([1, 8, 6, 5], 20, [3, 3]), rtol=RTOL, atol=ATOL, kernels=["elementwise", "conv", "elementwise"])
    compare(
        convolution([1, 3, 6, 5], 20, [3, 3]),
        rtol=RTOL,
        atol=ATOL,
        kernels=["conv", "elementwise"],
        choices={"convolution": "tiled-scalar"},
    )


def test_a_deep_small_layer_is_split_along_k() -> None:
    proto = convolution([1, 512, 5, 4], 70, [3, 3], pads=[1] * 4, activation="Relu", residual=True)
    compare(proto, rtol=RTOL, atol=ATOL, kernels=["elementwise", "conv", "conv_sum", "elementwise"])
    assert splits_for(tiles=4, steps=288) > 1
    assert splits_for(tiles=4096, steps=288) == 1


def test_depthwise_and_run_time_weights_run_directly() -> None:
    compare(convolution([1, 6, 7, 8], 6, [3, 3], group=6), rtol=RTOL, atol=ATOL, kernels=["conv_direct", "elementwise"])
    compare(convolution([1, 6, 7, 8], 12, [5, 1], group=6), rtol=RTOL, atol=ATOL)
    proto = model([node("Conv", "x w b", "y")], {"x": [1, 3, 6, 6], "w": [4, 3, 3, 3], "b": [4]}, "y")
    compare(proto, rtol=RTOL, atol=1e-5, kernels=["conv_direct", "elementwise"])


def test_the_epilogue_takes_what_broadcasts() -> None:
    inputs = {"x": [2, 8, 5, 6], "full": [2, 12, 5, 6], "plane": [5, 6], "channel": [12, 1, 1], "one": []}
    weights = {"w": np.random.default_rng(0).standard_normal((12, 8, 1, 1)).astype(np.float32)}
    nodes = [
        node("Conv", "x w", "c"),
        node("Mul", "c channel", "m"),
        node("Add", "full m", "s"),
        node("Sub", "s plane", "d"),
        node("Mul", "d one", "e"),
        node("Sigmoid", "e", "y"),
    ]
    compare(model(nodes, inputs, "y", weights), rtol=RTOL, atol=ATOL)


def test_a_result_that_others_read_is_written_once_and_not_fused() -> None:
    weights = {"w": np.ones((4, 4, 1, 1), np.float32)}
    nodes = [node("Conv", "x w", "c"), node("Exp", "c", "e"), node("Add", "c e", "y")]
    compare(model(nodes, {"x": [1, 4, 3, 3]}, "y c", weights), rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("limit", [1 << 12, 1 << 14])
@pytest.mark.parametrize("channels", [3, 16])
def test_ranges(limit: int, channels: int) -> None:
    proto = convolution([2, channels, 40, 24], 8, [3, 3], pads=[1] * 4, strides=[2, 1], activation="Relu")
    limits = {"max-storage-buffer-binding-size": max(limit, 64 * channels * 9 * 16)}
    compare(proto, rtol=RTOL, atol=ATOL, limits=limits)


@pytest.mark.parametrize("zero", [0, 7])
@pytest.mark.parametrize("per_channel", [False, True])
def test_integers_are_exact(zero: int, per_channel: bool) -> None:
    random = np.random.default_rng(3)
    outputs = 20
    constants = {
        "w": random.integers(-128, 128, (outputs, 16, 3, 3)).astype(np.int8),
        "z": np.array(zero, np.uint8),
        "v": random.integers(-4, 4, outputs).astype(np.int8) if per_channel else np.array(3, np.int8),
    }
    proto = model([node("ConvInteger", "x w z v", "y", pads=[1] * 4)], {"x": (np.uint8, [1, 16, 9, 7])}, "y", constants)
    inputs = [random.integers(0, 256, (1, 16, 9, 7)).astype(np.uint8)]
    compare(proto, inputs=inputs, kernels=["elementwise", "conv", "elementwise"])
