"""GridSample, DeformConv and RoiAlign against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.gpu.kernels.convolution import deform_conv
from tests.engine.gpu.gpu import compare
from tests.engine.gpu.layers import constant_weights
from tests.engine.models import model, node

CLOSE: dict[str, Any] = {"rtol": 5e-6, "atol": 5e-6}
"""Measured: 1.1e-6, on lavapipe and SwiftShader."""


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample_over_two_axes(mode: str, padding: str, align: int) -> None:
    random = np.random.default_rng(5)
    x = random.standard_normal((2, 3, 5, 7)).astype(np.float32)
    grid = random.uniform(-3, 3, (2, 4, 6, 2)).astype(np.float32)
    sample = node("GridSample", "x grid", "y", mode=mode, padding_mode=padding, align_corners=align)
    proto = model([sample], {"x": list(x.shape), "grid": list(grid.shape)}, "y", opset=20)
    compare(proto, inputs=[x, grid], **CLOSE)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_grid_sample_of_conditions(mode: str) -> None:
    """A sum of weights is true unless it is zero, however small."""
    random = np.random.default_rng(6)
    x, grid = random.random((1, 1, 6, 6)) < 0.1, random.uniform(-1, 1, (1, 3, 5, 2)).astype(np.float32)
    sample = node("GridSample", "x grid", "y", mode=mode)
    proto = model([sample], {"x": (np.bool_, list(x.shape)), "grid": list(grid.shape)}, "y", opset=20)
    compare(proto, inputs=[x, grid])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 2), st.integers(1, 3), st.booleans(), st.data()
)
def test_grid_sample_over_any_axes(
    spatial: list[int], count: int, channels: int, turned: bool, data: st.DataObject
) -> None:
    rank = len(spatial)
    out = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    shape = [count, channels, *spatial]
    nodes, name = [], "x"
    if turned:
        nodes.append(node("Transpose", "x", "t", perm=[*reversed(range(rank + 2))]))
        shape, name = shape[::-1], "t"
    nodes.append(node("GridSample", f"{name} grid", "y", mode="linear"))
    compare(model(nodes, {"x": shape, "grid": [count, *out, rank]}, "y", opset=20), **CLOSE)


def test_grid_sample_is_cut_by_images() -> None:
    proto = model([node("GridSample", "x grid", "y")], {"x": [6, 2, 8, 8], "grid": [6, 9, 9, 2]}, "y", opset=16)
    compare(proto, limits={"max-storage-buffer-binding-size": 1536}, **CLOSE)


@pytest.mark.parametrize("value", [1e30, -1e30, np.inf, -np.inf])
def test_positions_far_outside_read_nothing_wrong(value: float) -> None:
    x, grid = np.ones((1, 1, 4, 4), np.float32), np.zeros((1, 1, 2, 2), np.float32)
    grid[0, 0, 1] = value
    sample = node("GridSample", "x grid", "y", mode="nearest")
    proto = model(
        [sample, node("Slice", "y zero one axes", "z")],
        {"x": [1, 1, 4, 4], "grid": [1, 1, 2, 2]},
        "z",
        constants={"zero": np.array([0]), "one": np.array([1]), "axes": np.array([3])},
        opset=20,
    )
    compare(proto, inputs=[x, grid])


@st.composite
def deformed(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Attributes of a DeformConv of one or two spatial axes, and the shapes of its inputs."""
    rank, groups, offset_groups = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    channels, outputs = 2 * draw(st.integers(1, 3)), draw(st.integers(1, 5))

    def each(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    spatial, kernel, strides, dilations, pads = each(4, 7), each(1, 3), each(1, 2), each(1, 2), each(0, 1)
    out = [
        max(1, (n + 2 * p - (k - 1) * d - 1) // s + 1)
        for n, p, k, d, s in zip(spatial, pads, kernel, dilations, strides, strict=True)
    ]
    spatial = [max(n, (k - 1) * d + 1 - 2 * p) for n, k, d, p in zip(spatial, kernel, dilations, pads, strict=True)]
    count, taps = draw(st.integers(1, 2)), int(np.prod(kernel))
    attributes = {
        "group": groups,
        "offset_group": offset_groups,
        "strides": strides,
        "dilations": dilations,
        "pads": pads * 2,
    }
    shapes = {
        "x": [count, channels * groups, *spatial],
        "w": [outputs * groups, channels, *kernel],
        "offset": [count, offset_groups * taps * rank, *out],
        "b": [outputs * groups],
        "mask": [count, offset_groups * taps, *out],
    }
    return attributes, shapes


@settings(max_examples=30, deadline=None)
@given(deformed(), st.booleans(), st.booleans(), st.booleans())
def test_deform_conv(
    layer: tuple[dict[str, Any], dict[str, list[int]]], bias: bool, masked: bool, constant: bool
) -> None:
    attributes, shapes = layer
    constants = constant_weights(shapes) if constant else {}
    if not bias:
        del shapes["b"]
    if not masked:
        del shapes["mask"]
    names = " ".join(["x w offset", "b" if bias else "-", "mask" if masked else "-"])
    compare(model([node("DeformConv", names, "y", **attributes)], shapes, "y", constants=constants, opset=19), **CLOSE)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_deform_conv_in_parts_and_into_a_concat(monkeypatch: pytest.MonkeyPatch, axis: int) -> None:
    monkeypatch.setattr(deform_conv, "COLUMN_BYTES", 4 * 9 * 3 * 6 * 2)
    nodes = [
        node("DeformConv", "x w offset", "p", pads=[1, 1, 1, 1]),
        node("Relu", "z", "q"),
        node("Concat", "p q", "y", axis=axis),
    ]
    inputs = {"x": [2, 3, 5, 6], "w": [4, 3, 3, 3], "offset": [2, 18, 5, 6], "z": [2, 4, 5, 6]}
    compare(model(nodes, inputs, "y", opset=19), **CLOSE)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("transformation", ["half_pixel", "output_half_pixel"])
def test_roi_align(mode: str, ratio: int, transformation: str) -> None:
    random = np.random.default_rng(6)
    x = random.standard_normal((2, 3, 8, 10)).astype(np.float32)
    corners = random.uniform(-4, 18, (5, 2, 2)).astype(np.float32)
    rois = np.concatenate([corners.min(1), corners.max(1)], 1)
    rois[4] = rois[4, [2, 3, 0, 1]]  # inside out
    batch = np.array([0, 1, 1, 0, 1], np.int64)
    align = node(
        "RoiAlign",
        "x rois batch",
        "y",
        mode=mode,
        sampling_ratio=ratio,
        output_height=3,
        output_width=4,
        spatial_scale=0.6,
        coordinate_transformation_mode=transformation,
    )
    inputs = {"x": list(x.shape), "rois": [5, 4], "batch": (np.int64, [5])}
    compare(model([align], inputs, "y", opset=16), inputs=[x, rois, batch], **CLOSE)
