"""Models that the tests of web/ compile, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from tests.engine.models import U2NETP, with_image_side

SIDE = 64
"""Pixels a side of the input of the U²-Netp that SwiftShader runs in two seconds; at its own 320 it takes forty."""


def write_small_u2netp(path: Path, side: int = SIDE) -> Path:
    """Write the repository's U²-Netp for photos of ``side`` pixels a side; the weights are the same. Its path."""
    path.write_bytes(with_image_side(U2NETP, side))
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
