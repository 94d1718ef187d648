"""Models that the tests of web/ compile, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.engine.models import U2NETP, model, node, with_image_side

SIDE = 64
"""Pixels a side of the input of the U²-Netp that SwiftShader runs in two seconds; at its own 320 it takes forty."""


def write_small_u2netp(path: Path, side: int = SIDE) -> Path:
    """Write the repository's U²-Netp for photos of ``side`` pixels a side; the weights are the same. Its path."""
    path.write_bytes(with_image_side(U2NETP, side))
    return path


RED_INTERFACE = [
    "--model-size",
    "64x64",
    "--model-scale",
    "1/255",
    "--model-mean",
    "0",
    "--model-std",
    "1",
    "--model-activation",
    "none",
]
"""What the command is told of the network that finds what is red."""


def write_red_network(path: Path) -> Path:
    """Write a network whose mask is what is red: the sigmoid of sixteen times red less blue, from two convolutions.

    SwiftShader has its shaders in a tenth of the time of U²-Netp's. Its path.
    """
    first = np.zeros((16, 3, 1, 1), np.float32)
    first[:, 0], first[:, 2] = 1, -1
    second = np.zeros((1, 16, 3, 3), np.float32)
    second[0, :, 1, 1] = 1
    proto = model(
        [node("Conv", "x first", "a"), node("Conv", "a second", "b", pads=[1, 1, 1, 1]), node("Sigmoid", "b", "y")],
        {"x": [1, 3, 64, 64]},
        "y",
        {"first": first, "second": second},
    )
    onnx.save(proto, path)
    return path


def onnxruntime_outputs(model: bytes | Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a model under ONNX Runtime on the processor, by their names."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))
