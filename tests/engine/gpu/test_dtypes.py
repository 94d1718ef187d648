"""Dtypes that an operator takes and a kernel may not: they run, or are refused before anything does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from engine.errors import UnsupportedError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.missing_kernels import check
from tests.engine.gpu.gpu import compare
from tests.engine.models import load_graph, model, node


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
    proto = model(
        [node("Col2Im", "x image block", "y")], {"x": (np.bool_, [1, 8, 12])}, "y", constants=constants, opset=18
    )
    compare(proto, inputs=[flags(1, 8, 12)])


def test_an_integer_scale_is_refused_at_load() -> None:
    proto = model(
        [node("QuantizeLinear", "x scale", "y")], {"x": (np.int32, [4]), "scale": (np.int32, [])}, "y", opset=21
    )
    with pytest.raises(UnsupportedError, match="cannot run int32 as input 1 of QuantizeLinear; use backend 'numpy'"):
        check(load_graph(proto))


WEIGHTS = np.random.default_rng(1).standard_normal((2, 3, 3, 3)).astype(np.float32) / 8
CONV = node("Conv", "image w", "logits", pads=[1] * 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.int32, np.int64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("order", ["Cast Transpose", "Transpose Cast"])
def test_an_image_of_each_dtype_channels_last(dtype: type, order: str) -> None:
    attributes = {"Cast": {"to": TensorProto.FLOAT}, "Transpose": {"perm": [0, 3, 1, 2]}}
    first, second = order.split()
    nodes = [node(first, "x", "a", **attributes[first]), node(second, "a", "image", **attributes[second]), CONV]
    image = np.random.default_rng(2).integers(0, 128, (1, 9, 7, 3)).astype(dtype)
    compare(model(nodes, {"x": (dtype, [1, 9, 7, 3])}, "logits", {"w": WEIGHTS}), inputs=[image], atol=1e-4)


@pytest.mark.parametrize(
    "ending",
    [
        [node("ArgMax", "logits", "y", axis=1, keepdims=0)],
        [node("Greater", "logits k", "y")],
        [node("Sigmoid", "logits", "a"), node("Mul", "a white", "b"), node("Cast", "b", "y", to=TensorProto.UINT8)],
        [node("Transpose", "logits", "a", perm=[0, 2, 3, 1]), node("Softmax", "a", "y", axis=-1)],
    ],
    ids=["argmax", "comparison", "bytes", "channels last"],
)
def test_a_mask_in_each_form(ending: list[NodeProto]) -> None:
    constants = {"w": WEIGHTS, "k": np.float32(0), "white": np.float32(255)}
    compare(model([CONV, *ending], {"image": [1, 3, 9, 7]}, "y", constants), atol=1e-6)


def test_float16_in_and_out() -> None:
    proto = model([CONV], {"image": (np.float16, [1, 3, 9, 7])}, "logits", {"w": WEIGHTS.astype(np.float16)})
    compare(proto, atol=2e-3)  # the engine rounds once, at the end


def test_float64_is_refused_by_what_runs_it() -> None:
    proto = model(
        [CONV, node("Cast", "logits", "y", to=TensorProto.DOUBLE)], {"image": [1, 3, 9, 7]}, "y", {"w": WEIGHTS}
    )
    with pytest.raises(UnsupportedError, match="cannot run float64 in Cast; use backend 'numpy'"):
        check(load_graph(proto))
