"""Poolings and LRN on the GPU against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare, run, test_adapter
from tests.engine.gpu.strided import views
from tests.engine.models import interpret, load_graph, model, node

few = settings(max_examples=30, deadline=None)

CUT = {"max-storage-buffer-binding-size": 2048}


@st.composite
def windows(draw: st.DrawFn, channels: int = 6) -> tuple[list[int], dict[str, Any]]:
    """An input shape and the attributes of a window that fits it."""
    rank = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    dilations = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "dilations": dilations,
        "strides": draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)),
        "ceil_mode": draw(st.integers(0, 1)),
    }
    if draw(st.booleans()):
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
    else:
        attributes["auto_pad"] = draw(st.sampled_from(["VALID", "SAME_UPPER", "SAME_LOWER"]))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    spatial = [draw(st.integers(extent, extent + 5)) for extent in extents]
    return [draw(st.integers(1, 2)), draw(st.integers(1, channels)), *spatial], attributes


def pooled(op: str, x: list[int], *, outputs: str = "y", **attributes: Any) -> Any:
    """A model of a pooling over channels-last memory."""
    rank = len(x)
    input_shape = [x[0], *x[2:], x[1]]
    turned = node("Transpose", "x", "c", perm=[0, rank - 1, *range(1, rank - 1)])
    return model([turned, node(op, "c", outputs, **attributes)], {"x": input_shape}, outputs, opset=19)


@few
@given(st.data(), windows(), st.sampled_from([np.float32, np.int8, np.uint8]))
def test_any_max_pool(data: st.DataObject, window: tuple[list[int], dict[str, Any]], dtype: Any) -> None:
    shape, attributes = window
    nodes, input_shape, constants = data.draw(views(shape))
    attributes["storage_order"] = data.draw(st.integers(0, 1))
    outputs = data.draw(st.sampled_from(["y", "y i"]))
    if np.dtype(dtype).kind == "f":
        numbers = np.array([np.nan, np.inf, -np.inf, 0, 1, 2, 3, -1, -2, -3], np.float32)
    else:
        limits = np.iinfo(dtype)
        numbers = np.array([limits.min, limits.max, 0, 1, 2], dtype)
    x = np.random.default_rng(data.draw(st.integers(0, 99))).choice(numbers, input_shape)
    proto = model(
        [*nodes, node("MaxPool", "v", outputs, **attributes)], {"v_in": (dtype, input_shape)}, outputs, constants
    )
    compare(proto, inputs=[x])


@few
@given(st.data(), windows(), st.sampled_from(["AveragePool", "LpPool"]))
def test_any_sum_pool(data: st.DataObject, window: tuple[list[int], dict[str, Any]], op: str) -> None:
    shape, attributes = window
    nodes, input_shape, constants = data.draw(views(shape))
    if op == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    else:
        attributes["p"] = data.draw(st.integers(1, 4))
    proto = model([*nodes, node(op, "v", "y", **attributes)], {"v_in": input_shape}, "y", constants=constants, opset=19)
    compare(proto, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "window"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("LpPool", {"kernel_shape": [2, 3]}),
        ("MaxPool", {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}),
    ],
)
@pytest.mark.parametrize("limits", [None, CUT])
def test_four_channels_at_a_time(op: str, window: dict[str, Any], limits: dict[str, int] | None) -> None:
    compare(pooled(op, [1, 8, 16, 7], **window), rtol=2e-6, atol=1e-6, limits=limits)


def test_rows_are_cut_with_what_their_windows_see() -> None:
    proto = pooled("MaxPool", [1, 4, 40, 5], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph = load_graph(proto)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].shape).astype(np.float32)
    (y,), kernels = run(load_graph(proto), [x], limits=CUT)
    assert len(kernels) > 3
    np.testing.assert_array_equal(y, interpret(graph, [x])[0])


def test_images_of_a_batch_each_larger_than_a_binding() -> None:
    compare(pooled("MaxPool", [3, 4, 16, 16], kernel_shape=[2, 2]), limits=CUT)


def test_nan_wins_and_its_first_place() -> None:
    x = np.array([1, np.nan, 3, np.nan, -np.inf, -np.inf], np.float32)[None, None]
    proto = model([node("MaxPool", "x", "y i", kernel_shape=[2])], {"x": [1, 1, 6]}, "y i")
    compare(proto, inputs=[x])


def test_a_window_on_padding_alone() -> None:
    proto = model([node("AveragePool", "x", "y", kernel_shape=[1], pads=[1, 1])], {"x": [1, 1, 2]}, "y")
    compare(proto)


@few
@given(st.data(), st.integers(1, 6), st.integers(1, 7))
def test_lrn(data: st.DataObject, size: int, channels: int) -> None:
    shape = [2, channels, *data.draw(st.lists(st.integers(1, 4), max_size=2))]
    nodes, input_shape, constants = data.draw(views(shape))
    options = {"alpha": data.draw(st.sampled_from([1e-4, 0.5])), "beta": data.draw(st.sampled_from([0.75, 0.5]))}
    proto = model(
        [*nodes, node("LRN", "v", "y", size=size, bias=2.0, **options)], {"v_in": input_shape}, "y", constants
    )
    compare(proto, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_in_half_storage(op: str) -> None:
    adapter = test_adapter()
    if adapter is not None and not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    proto = pooled(op, [1, 8, 16, 16], kernel_shape=[2, 2])
    graph = load_graph(proto)
    x = np.random.default_rng(0).integers(-64, 64, graph.inputs[0].shape).astype(np.float32)
    (y,), _ = run(load_graph(proto), [x], half=True)
    # halves and quarters of whole numbers are exact
    np.testing.assert_array_equal(y, interpret(graph, [x])[0])
