"""Winograd convolutions: against the reference, dilated, in ranges of tiles, with small bindings, and which layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.engine.gpu.gpu import compare
from tests.engine.models import model, node

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


@pytest.mark.parametrize("channels", [40])
def test_teams(channels):
    compare(convolution([2, channels, 9, 11], 36), choices={"convolution": "tiled-teams"}, rtol=2e-6, atol=1e-4)
