"""Convolutions of few input or output channels: against the reference, with folded grids and small bindings."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.engine.gpu.gpu import compare, device, run
from tests.engine.models import interpret, load_graph, model, node

TOLERANCE = {"rtol": 2e-6, "atol": 1e-5}


def convolution(x: list[int], outputs: int, kernel: int, **attributes: object) -> onnx.ModelProto:
    """A convolution with its activation, and an element-wise node in front that makes its input channels-last."""
    w = np.random.default_rng(0).standard_normal((outputs, x[1], kernel, kernel)).astype(np.float32)
    nodes = [node("Conv", "x w b", "c", **attributes), node("Relu", "c", "y")]
    return model(nodes, {"x": x}, "y", {"w": w, "b": w[:, 0, 0, 0].copy()})


@pytest.mark.parametrize(
    ("x", "outputs", "kernel", "attributes"),
    [
        ([2, 3, 19, 37], 64, 3, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ([1, 3, 24, 20], 70, 4, {"strides": [4, 4]}),
        ([1, 1, 9, 70], 17, 5, {"pads": [0, 2, 1, 3], "strides": [1, 2]}),
        ([2, 4, 5, 5], 16, 1, {}),
    ],
)
def test_few_inputs(x: list[int], outputs: int, kernel: int, attributes: dict[str, object]) -> None:
    proto = convolution(x, outputs, kernel, **attributes)
    compare(proto, choices={"convolution": "few-inputs"}, **TOLERANCE)


@pytest.mark.parametrize(
    ("x", "outputs", "kernel", "pads"),
    [
        ([2, 64, 19, 18], 1, 3, [1, 1, 1, 1]),
        ([1, 72, 9, 34], 2, 3, [0, 2, 1, 0]),
        ([1, 24, 5, 5], 8, 2, [1, 0, 0, 0]),
        ([2, 8, 7, 9], 3, 1, [0, 0, 0, 0]),
    ],
)
def test_few_outputs(x: list[int], outputs: int, kernel: int, pads: list[int]) -> None:
    compare(convolution(x, outputs, kernel, pads=pads), choices={"convolution": "few-outputs"}, **TOLERANCE)


@pytest.mark.parametrize(
    ("row", "x", "outputs"), [("few-inputs", [2, 3, 40, 33], 16), ("few-outputs", [2, 16, 40, 9], 2)]
)
def test_rows_of_tiles_are_cut_where_a_binding_holds_no_more(row: str, x: list[int], outputs: int) -> None:
    limits = {"max-storage-buffer-binding-size": 24 << 10}
    compare(convolution(x, outputs, 3, pads=[1] * 4), choices={"convolution": row}, limits=limits, **TOLERANCE)


def half_image(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers that float16 holds exactly."""
    return random.standard_normal(shape).astype(np.float16).astype(np.float32)


@pytest.mark.parametrize(("row", "channels", "outputs"), [("few-inputs", 3, 32), ("few-outputs", 32, 1)])
def test_in_half_precision(row: str, channels: int, outputs: int) -> None:
    """Weights and pixels of float16, sums of float32: the result is the reference's but for its own rounding."""
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: FEW CHANNELS ARE NOT RUN IN FLOAT16")
    random = np.random.default_rng(0)
    x, w = half_image(random, 1, channels, 9, 21), half_image(random, outputs, channels, 3, 3)
    nodes = [
        node("Neg", "x", "z"),
        node("Conv", "z w", "c", pads=[1] * 4),
        node("Relu", "c", "r"),
        node("Neg", "r", "y"),
    ]
    proto = model(nodes, {"x": list(x.shape)}, "y", {"w": w})
    (expected,) = interpret(load_graph(proto), [x])
    (y,), kernels = run(load_graph(proto), [x], half=True, choices={"convolution": row})
    assert f"conv_{row.replace('-', '_')}" in kernels
    np.testing.assert_allclose(y, expected, rtol=2.0**-10, atol=1e-4)
