"""BiRefNet with random weights, held to what ONNX Runtime makes of the same file."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort

from engine import Session
from tools.make_birefnet import make_birefnet


@cache
def proto(size: str, form: str, image: int | None = None) -> bytes:
    return make_birefnet(size, form, image=image).SerializeToString()


def photo(side: int) -> dict[str, np.ndarray]:
    return {"pixel_values": np.random.default_rng(1).standard_normal((1, 3, side, side)).astype(np.float32)}


@cache
def expected(size: str, form: str, side: int) -> np.ndarray:
    """What ONNX Runtime makes of the photo, the file as it is."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    model = proto(size, form, side)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, photo(side))[0]


def parity(size: str, form: str, side: int, tolerance: float, *, backend: str = "numpy", **options: Any) -> None:
    """Assert that a backend is as close to ONNX Runtime as ``tolerance`` times the spread of the mask."""
    shapes = {"pixel_values": (1, 3, side, side)}
    with Session(proto(size, form, side), backend=backend, input_shapes=shapes, **options) as session:
        mask = session.run(photo(side))["alphas"]
    reference = expected(size, form, side)
    assert mask.shape == reference.shape == (1, 1, side, side)
    # weights are random, but no mask of a constant would pass
    assert reference.std() > 0.01
    error = np.abs(mask - reference).max() / (reference.max() - reference.min())
    assert error <= tolerance
