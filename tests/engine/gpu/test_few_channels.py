"""Convolutions of few input or output channels: against the reference, with folded grids and small bindings."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.engine.gpu.gpu import compare
from tests.engine.models import model, node

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
