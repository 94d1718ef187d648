"""A small network with layers of several families, and what tests of a tuning need."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network() -> onnx.ModelProto:
    """Two equal convolutions and one of another kind, an addition in an epilogue, and two products."""
    nodes = [
        node("Conv", "x w0 b", "a", pads=[1] * 4),
        node("Relu", "a", "ar"),
        node("Conv", "ar w1", "c", pads=[1] * 4),
        node("Conv", "c w1", "d", pads=[1] * 4),
        node("Add", "d ar", "e"),
        node("Transpose", "e", "t", perm=[0, 2, 3, 1]),
        node("MatMul", "t m", "p"),
        node("MatMul", "p q", "y"),
    ]
    constants = {"w0": weights(20, 5, 3, 3), "b": weights(20), "w1": weights(20, 20, 3, 3), "m": weights(20, 24)}
    return model(nodes, {"x": [1, 5, 9, 11], "q": [1, 9, 24, 5]}, "y", constants)


def skip_where_nothing_can_be_tuned() -> None:
    """Skip a test on an adapter without timestamps, or on SwiftShader, which compiles a row for ten seconds."""
    adapter = device().adapter
    if not adapter.timestamps or adapter.name.startswith("SwiftShader"):
        pytest.skip(f"{adapter} has no timestamps, or compiles for minutes: TUNING IS NOT TESTED")
