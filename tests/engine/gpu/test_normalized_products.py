"""LayerNormalizations that the products behind them compute, on emulated matrix units."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.gpu.kernels.convolution.matrix_tiles import MATRICES
from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.plans import EMULATED, plan_case
from tests.engine.models import interpret, load_graph, model, node

ROOM = {"max-compute-workgroup-storage-size": 32768}
TILES = [matrix.tile.name for matrix in MATRICES]
SMALL = "matrix-32x32x64-32x32-4-weights"
CHANNELS = 128


def network(random: np.random.Generator, rows: int, outputs: int, **attributes: Any) -> onnx.ModelProto:
    """A residual x + 0, normalised, times weights, with a bias; scales and offsets of every size."""
    weights = {
        "g": (random.standard_normal(CHANNELS) * np.exp2(random.integers(-8, 4, CHANNELS))).astype(np.float32),
        "b": random.standard_normal(CHANNELS).astype(np.float32),
        "w": (random.standard_normal((CHANNELS, outputs)) / 16).astype(np.float32),
        "c": random.standard_normal(outputs).astype(np.float32),
    }
    nodes = [
        node("Add", "x r", "z"),
        node("LayerNormalization", "z g b", "n", **attributes),
        node("MatMul", "n w", "p"),
        node("Add", "p c", "s"),
        node("Neg", "s", "y"),
    ]
    return model(nodes, {"x": [1, rows, CHANNELS], "r": [1]}, "y", weights)


def residuals(random: np.random.Generator, rows: int) -> np.ndarray:
    """Rows of many means and deviations, some channels of which are far from the others, as in a transformer."""
    x = random.standard_normal((1, rows, CHANNELS)) + random.standard_normal((1, rows, 1)) * 3
    x[:, :, 5] += 60
    x[:, :, 77] -= 25
    return (x * np.exp2(random.integers(-6, 7, (1, rows, 1)))).astype(np.float32)


def exact(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The result in float64."""
    weights = {each.name: onnx.numpy_helper.to_array(each).astype(np.float64) for each in proto.graph.initializer}
    z = x.astype(np.float64)
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5)
    return -((z * weights["g"] + weights["b"]) @ weights["w"] + weights["c"])


@pytest.fixture(autouse=True)
def _has_halves() -> None:
    if not device().f16:
        pytest.skip("the adapter has no float16: PRODUCTS ON MATRIX UNITS ARE NOT RUN")


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("tile", [TILES[0], TILES[2], SMALL])
def test_it_is_as_good_as_one_behind_the_other(tile: str, half: bool) -> None:
    random = np.random.default_rng(3)
    proto, x = network(random, 37, 72), residuals(random, 37)
    x = x.astype(np.float16).astype(np.float32) if half else x
    inputs = [x, np.zeros(1, np.float32)]
    options: Any = {"half": half, "limits": ROOM, "outside": ()} if False else {"half": half, "limits": ROOM}
    (y,), kernels = run(load_graph(proto), inputs, matrix_units=EMULATED, choices={"convolution": tile}, **options)
    assert kernels.count("conv_matrix") == 1
    assert "row_reduction" not in kernels
    expected = exact(proto, x)
    error = np.abs(y - expected).max() / np.abs(expected).max()
    (apart,), kernels = run(load_graph(proto), inputs, **options)
    assert "row_reduction" in kernels
    print(tile, half, error, np.abs(apart - expected).max() / np.abs(expected).max())
    assert error < (1e-3 if half else 2e-6)
