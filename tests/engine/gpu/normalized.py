"""Products of normalised rows on emulated matrix units: what their tests share."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.plans import EMULATED, ROOM
from tests.engine.models import load_graph

WEIGHTS_IN_WORKGROUP = "matrix-32x32x64-32x32-4-weights"
BY_FRAGMENT = "matrix-64x128x32-64x32"


def exact(proto: onnx.ModelProto, z: np.ndarray, epsilon: float) -> np.ndarray:
    """-(LayerNormalization(z) · w + c) in float64, by the model's constants g, b, w and, if it has it, c."""
    weights = {each.name: onnx.numpy_helper.to_array(each).astype(np.float64) for each in proto.graph.initializer}
    z = z.astype(np.float64)
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + epsilon)
    return -((z * weights["g"] + weights["b"]) @ weights["w"] + weights.get("c", 0))


def on_units(
    proto: onnx.ModelProto, inputs: list[np.ndarray], tile: str, *, half: bool, **limits: int
) -> tuple[np.ndarray, list[str]]:
    """The result with that tile, and the kernels that computed it."""
    if not device().f16:
        pytest.skip("the adapter has no float16: PRODUCTS ON MATRIX UNITS ARE NOT RUN")
    bounds = ROOM | {name.replace("_", "-"): limit for name, limit in limits.items()}
    choices = {"convolution": tile}
    (y,), kernels = run(load_graph(proto), inputs, half=half, limits=bounds, matrix_units=EMULATED, choices=choices)
    return y, kernels
