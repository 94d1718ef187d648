"""DeformConv against the reference, whole and finely cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from engine.cpu import deform_conv
from engine.cpu.lower import lower
from tests.engine.cpu.kernels import THREADS, compare, small_strips
from tests.engine.models import execute, feeds, interpret, load_graph, model, node


def deform(
    x: list[int], kernel: list[int], *, outputs: int = 5, bias: bool = True, mask: bool = True, **attributes: Any
) -> ModelProto:
    """A DeformConv of random weights; its offsets and mask are inputs."""
    random, group = np.random.default_rng(3), attributes.get("group", 1)
    offset_group = attributes.get("offset_group", 1)
    w = random.standard_normal((outputs, x[1] // group, *kernel)).astype(np.float32)
    plain_conv = node(
        "Conv", "x w", "y", **{name: value for name, value in attributes.items() if name != "offset_group"}
    )
    out = load_graph(model([plain_conv], {"x": x}, "y", {"w": w})).outputs[0].shape[2:]
    taps = offset_group * int(np.prod(kernel))
    inputs: dict[str, Any] = {"x": x, "o": [x[0], taps * len(kernel), *out]}
    constants = {"w": w}
    if mask:
        inputs["m"] = [x[0], taps, *out]
    if bias:
        constants["b"] = random.standard_normal(outputs).astype(np.float32)
    names = f"x w o {'b' if bias else '-'} {'m' if mask else '-'}"
    return model([node("DeformConv", names, "y", **attributes)], inputs, "y", constants, opset=22)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_deform_conv(data: st.DataObject) -> None:
    pair = st.lists(st.integers(1, 3), min_size=2, max_size=2)
    kernel, strides, dilations = (data.draw(pair, what) for what in ("kernel", "strides", "dilations"))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = data.draw(st.lists(st.integers(0, 3), min_size=4, max_size=4), "pads")
    sizes = [data.draw(st.integers(extent, 9), "size") for extent in extents]
    proto = deform(
        [data.draw(st.integers(1, 2), "images"), data.draw(st.integers(1, 5), "channels"), *sizes],
        kernel,
        outputs=data.draw(st.integers(1, 6), "outputs"),
        bias=data.draw(st.booleans(), "bias"),
        mask=data.draw(st.booleans(), "mask"),
        strides=strides,
        dilations=dilations,
        pads=pads,
    )
    compare(proto, rtol=1e-5, atol=2e-5, kernel="DeformConvKernel")


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_as_decoders_use_it(kernel: int) -> None:
    proto = deform([1, 64, 21, 19], [kernel, kernel], outputs=16, pads=[kernel // 2] * 4, bias=False)
    compare(proto, rtol=1e-5, atol=2e-4, kernel="DeformConvKernel")


@pytest.mark.parametrize("scale", [5, 1e9])
def test_offsets_that_lead_far_outside(scale: float) -> None:
    graph = load_graph(deform([1, 3, 6, 7], [3, 3], pads=[1, 1, 1, 1]))
    x, offset, mask = feeds(graph)
    far = [x, offset * np.float32(scale), mask]
    with small_strips():
        (result,) = execute(graph, far, THREADS)
    np.testing.assert_allclose(result, interpret(graph, far)[0], rtol=1e-5, atol=2e-5)


def test_offsets_of_infinity_lead_to_zeros() -> None:
    graph = load_graph(deform([1, 3, 6, 7], [3, 3], pads=[1, 1, 1, 1], bias=False))
    x, offset, mask = feeds(graph)
    (result,) = execute(graph, [x, np.copysign(np.float32(np.inf), offset), mask])
    assert not result.any()


@pytest.mark.parametrize(
    ("x", "kernel", "attributes"),
    [
        ([1, 4, 6, 7], [3, 3], {"group": 2, "outputs": 4}),
        ([1, 4, 6, 7], [3, 3], {"offset_group": 2}),
        ([1, 2, 9], [3], {}),
    ],
    ids=str,
)
def test_what_runs_by_the_reference(x: list[int], kernel: list[int], attributes: dict[str, Any]) -> None:
    compare(deform(x, kernel, **attributes), kernel="ReferenceKernel")


def test_scratch_stays_small() -> None:
    graph = load_graph(deform([1, 64, 256, 256], [7, 7], outputs=8, pads=[3] * 4))
    # indices and weights besides: the columns of all positions would be 784 MiB
    assert lower(graph.nodes[0]).scratch * 4 < 2 * (deform_conv.STRIP_BYTES + deform_conv.CORNER_BYTES)
