"""Transposed and quantised convolutions, Col2Im and MaxUnpool against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare
from tests.engine.gpu.layers import constant_weights
from tests.engine.models import model, node

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@st.composite
def transposed(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Attributes of a ConvTranspose of one to three spatial axes, and the shapes of its inputs."""
    rank, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    channels, outputs = draw(st.integers(1, 5)), draw(st.integers(1, 5))

    def each(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    spatial, kernel, strides, dilations = each(2, 5), each(1, 4), each(1, 3), each(1, 2)
    extra = [draw(st.integers(0, stride - 1)) for stride in strides]
    begin, end = (
        [draw(st.integers(0, (k - 1) * d // 2)) for k, d in zip(kernel, dilations, strict=True)] for _ in range(2)
    )
    attributes = {
        "group": groups,
        "strides": strides,
        "dilations": dilations,
        "pads": begin + end,
        "output_padding": extra,
    }
    shapes = {
        "x": [draw(st.integers(1, 2)), channels * groups, *spatial],
        "w": [channels * groups, outputs, *kernel],
        "b": [outputs * groups],
    }
    return attributes, shapes


@settings(max_examples=40, deadline=None)
@given(transposed(), st.booleans(), st.booleans(), st.booleans())
def test_conv_transpose(
    layer: tuple[dict[str, Any], dict[str, list[int]]], bias: bool, constant: bool, relu: bool
) -> None:
    attributes, shapes = layer
    constants = constant_weights(shapes) if constant else {}
    if not bias:
        del shapes["b"]
    names = "x w b" if bias else "x w"
    nodes = [node("ConvTranspose", names, "t" if relu else "y", **attributes)]
    if relu:
        nodes.append(node("Relu", "t", "y"))
    compare(model(nodes, shapes, "y", constants), **CLOSE)


def test_an_activation_joins_the_transposed_convolution() -> None:
    nodes = [node("ConvTranspose", "x w", "t"), node("Relu", "t", "y")]
    # one channel, so that the result needs no other layout
    compare(model(nodes, {"x": [1, 3, 4, 4], "w": [3, 1, 2, 2]}, "y"), kernels=["conv_transpose"], **CLOSE)


def test_conv_transpose_of_a_view() -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 2, 1]),
        node("Slice", "t starts ends axes steps", "s"),
        node("ConvTranspose", "s w", "y", strides=[2, 2]),
    ]
    constants = {"starts": [6], "ends": [-100], "axes": [2], "steps": [-2]}
    constants = {name: np.array(value, np.int64) for name, value in constants.items()}
    compare(model(nodes, {"x": [2, 5, 7, 3], "w": [3, 4, 3, 3]}, "y", constants), **CLOSE)


def test_conv_transpose_is_cut_by_pixels() -> None:
    proto = model([node("ConvTranspose", "x w", "y", strides=[2, 2])], {"x": [4, 3, 4, 4], "w": [3, 5, 2, 2]}, "y")
    compare(proto, limits={"max-storage-buffer-binding-size": 1024}, **CLOSE)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.uint8, np.int8]),
)
def test_qlinear_conv_is_off_by_one_at_the_most(
    groups: int, outputs: int, vectors: bool, bias: bool, constant: bool, dtype: type
) -> None:
    random, channels = np.random.default_rng(2), 4
    scales = [groups * outputs] if vectors else []
    w = (dtype, [groups * outputs, channels, 3, 3])
    inputs: dict[str, Any] = {"x": (dtype, [2, groups * channels, 6, 5])}
    constants: dict[str, Any] = {
        "x_scale": np.float32(0.25),
        "x_zero": dtype(3),
        "y_scale": np.float32(1.75),
        "y_zero": dtype(5),
        "w_scale": random.uniform(0.1, 0.5, scales).astype(np.float32),
        "w_zero": random.integers(0, 9, scales).astype(dtype),
    }
    if constant:
        constants["w"] = random.integers(0, 100, w[1]).astype(dtype)
    else:
        inputs["w"] = w
        for name in ("w_scale", "x_zero", "w_zero"):
            inputs[name] = (constants[name].dtype, list(constants.pop(name).shape))
    names = "x x_scale x_zero w w_scale w_zero y_scale y_zero"
    if bias:
        inputs["b"] = (np.int32, [groups * outputs])
        names += " b"
    proto = model([node("QLinearConv", names, "y", group=groups, pads=[1, 1, 1, 1])], inputs, "y", constants)
    compare(proto, atol=1)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([np.float32, np.int32, np.uint8]),
    st.data(),
)
def test_col2im(rank: int, channels: int, count: int, dtype: type, data: st.DataObject) -> None:
    def each(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    image, block, strides, dilations, pads = each(3, 6), each(1, 2), each(1, 2), each(1, 2), each(0, 1)
    out = [
        (size + 2 * pad - (k - 1) * d - 1) // s + 1
        for size, pad, k, d, s in zip(image, pads, block, dilations, strides, strict=True)
    ]
    shape = [count, channels * int(np.prod(block)), int(np.prod(out))]
    constants = {"image": np.array(image, np.int64), "block": np.array(block, np.int64)}
    col2im = node("Col2Im", "x image block", "y", strides=strides, dilations=dilations, pads=pads * 2)
    compare(model([col2im], {"x": (dtype, shape)}, "y", constants=constants, opset=18), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", [None, [2, 3, 9, 9], [2, 3, 7, 9]])
@pytest.mark.parametrize("limits", [None, {"max-storage-buffer-binding-size": 2048}])
def test_max_unpool(target: list[int] | None, limits: dict[str, int] | None) -> None:
    x = np.random.default_rng(3).permutation(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).astype(np.float32)
    # one place in every window of two by two of [2, 3, 8, 8]
    at = np.random.default_rng(4).integers(0, 2, (2, *x.shape))
    rows, columns = 2 * np.arange(4)[:, None] + at[0], 2 * np.arange(4) + at[1]
    planes = np.arange(6).reshape(2, 3, 1, 1)
    indices = ((planes * 8 + rows) * 8 + columns).astype(np.int64)
    constants = {} if target is None else {"target": np.array(target, np.int64)}
    unpool = node("MaxUnpool", "x i target" if target else "x i", "y", kernel_shape=[2, 2], strides=[2, 2])
    proto = model([unpool], {"x": list(x.shape), "i": (np.int64, list(x.shape))}, "y", constants)
    compare(proto, inputs=[x, indices], limits=limits)
