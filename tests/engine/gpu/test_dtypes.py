"""Dtypes that an operator takes and a kernel may not: they run, or are refused before anything does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import UnsupportedError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.coverage import check
from tests.engine.gpu.gpu import compare
from tests.engine.models import loaded, model, node


def flags(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape) < 0.3


@pytest.mark.parametrize(
    "attributes",
    [
        {"mode": "nearest"},
        {"mode": "linear"},
        {"mode": "nearest", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.0},
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 0.0},
    ],
    ids=str,
)
def test_a_mask_of_booleans_is_resampled(attributes: dict[str, Any]) -> None:
    constants = {"roi": np.array([0, 0, -0.5, 0, 1, 1, 1, 1.5], np.float32), "s": np.array([1, 1, 2, 1.5], np.float32)}
    resize = node("Resize", "x roi s", "y", **attributes)
    compare(model([resize], {"x": (np.bool_, [1, 2, 5, 6])}, "y", constants), inputs=[flags(1, 2, 5, 6)])


def test_columns_of_booleans_are_joined() -> None:
    constants = {"image": np.array([4, 5]), "block": np.array([2, 2])}
    proto = model([node("Col2Im", "x image block", "y")], {"x": (np.bool_, [1, 8, 12])}, "y", constants, opset=18)
    compare(proto, inputs=[flags(1, 8, 12)])


def test_an_integer_scale_is_refused_at_load() -> None:
    proto = model(
        [node("QuantizeLinear", "x scale", "y")], {"x": (np.int32, [4]), "scale": (np.int32, [])}, "y", opset=21
    )
    with pytest.raises(UnsupportedError, match="cannot run int32 as input 1 of QuantizeLinear; use backend 'numpy'"):
        check(loaded(proto))
