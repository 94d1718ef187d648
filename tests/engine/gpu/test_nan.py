"""NaN where WGSL leaves it open: max, min, clamp, and choices that compilers make one of these. The reference keeps it.

NVIDIA's compiler makes `select(x, low, x < low)` a maximum, in which NaN becomes the bound. No software adapter does;
so the sources are held to have no such choice, and tools/gpu_tests.py runs these tests on hardware.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from engine.gpu.program.rules import RULES, expression
from engine.graph.ir import Node, TensorType, Value
from tests.engine.gpu.gpu import compare
from tests.engine.models import model, node

NEGATIVE_NAN = np.array([0xFFC00000], np.uint32).view(np.float32)[0]

VALUES = np.array([np.nan, NEGATIVE_NAN, np.inf, -np.inf, -0.0, 0, 1e-42, -1e-42, 0.25, -0.25, 7, -7], np.float32)

DENORMAL = 1e-40
"""What WGSL lets a GPU take for 0."""

ACTIVATIONS: dict[str, dict[str, Any]] = {
    "Relu": {},
    "Clip": {"min": -1.0, "max": 6.0},
    "LeakyRelu": {"alpha": 0.1},
    "HardSigmoid": {},
    "HardSwish": {},
    "Elu": {},
    "ThresholdedRelu": {},
    "Shrink": {},
}


def activation(op: str, x: str, y: str) -> Any:
    return node(op, x, y, **ACTIVATIONS[op])


def opset(op: str) -> int:
    """The newest operator set at which Clip has attributes, or one that has the operator."""
    return 10 if op == "Clip" else 17


@pytest.mark.parametrize("op", ACTIVATIONS)
def test_activations_keep_what_the_reference_keeps(op: str) -> None:
    x = np.concatenate([VALUES, VALUES[:3]])
    if op == "HardSwish":
        compare(model([activation(op, "x", "y")], {"x": [15]}, "y"), inputs=[x], rtol=1e-6, atol=DENORMAL)
        return
    # four at a time, and one by one behind a sum, which compilers know to be computed
    nodes = [activation(op, "x", "y"), node("Add", "w w", "s"), activation(op, "s", "z")]
    compare(model(nodes, {"x": [12], "w": [15]}, "y z", opset=opset(op)), inputs=[VALUES, x], rtol=1e-6, atol=DENORMAL)


LAYERS: dict[str, tuple[Any, list[int], list[int], list[str]]] = {
    "tiled": (node("Conv", "x w", "c"), [1, 4, 3, 4], [8, 4, 1, 1], ["elementwise", "conv", "elementwise"]),
    "in parts": (
        node("Conv", "x w", "c"),
        [1, 256, 3, 4],
        [8, 256, 1, 1],
        ["elementwise", "conv", "conv_sum", "elementwise"],
    ),
    "depthwise": (node("Conv", "x w", "c", group=4), [1, 4, 3, 4], [4, 1, 1, 1], ["conv_direct", "elementwise"]),
    "transposed": (node("ConvTranspose", "x w", "c"), [1, 4, 3, 4], [4, 8, 1, 1], ["conv_transpose", "elementwise"]),
    "product": (node("MatMul", "x w", "c"), [12, 4], [4, 8], ["matmul"]),
}


@pytest.mark.parametrize("op", ["Relu", "Clip"])
@pytest.mark.parametrize("layer", LAYERS)
def test_epilogues_keep_nan(layer: str, op: str) -> None:
    product, shape, weights, kernels = LAYERS[layer]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[0, 0] = np.resize(VALUES, x[0, 0].shape) if layer != "product" else np.nan
    constants = {"w": np.random.default_rng(1).standard_normal(weights).astype(np.float32)}
    proto = model([product, activation(op, "c", "y")], {"x": shape}, "y", constants=constants, opset=opset(op))
    compare(proto, inputs=[x], kernels=kernels, rtol=1e-4, atol=1e-4)


def test_bounds_that_are_nan_spread() -> None:
    bounds = {"low": np.array(np.nan, np.float32), "one": np.array(1, np.float32)}
    nodes = [node("Clip", "x low one", "y"), node("Clip", "x one low", "z"), node("Clip", "x - low", "u")]
    compare(model(nodes, {"x": [12]}, "y z u", bounds), inputs=[VALUES])


@pytest.mark.parametrize("op", ["Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"])
def test_no_comparison_with_nan_holds_nor_does_its_opposite(op: str) -> None:
    a, b = (part.reshape(-1) for part in np.meshgrid(VALUES[np.abs(VALUES) != 1e-42], VALUES[[0, 1, 2, 5, 8, 10]]))
    nodes = [node(op, "a b", "c"), node("Not", "c", "n"), node("Where", "n a b", "y")]
    shape = [a.size]
    compare(model(nodes, {"a": shape, "b": shape}, "c n y"), inputs=[a, b])


@pytest.mark.parametrize("count", [8, 9])
@pytest.mark.parametrize("at", [0, 5])
def test_nan_leaves_dynamic_quantization_its_scale_of_one(count: int, at: int) -> None:
    x = np.linspace(-3, 30, count).astype(np.float32)
    x[at] = np.nan
    compare(model([node("DynamicQuantizeLinear", "x", "y s z")], {"x": [count]}, "y s z"), inputs=[x])


def test_a_quantised_product_of_nan_is_the_integer_zero() -> None:
    scales = {name: np.array(1, np.float32) for name in ("sb", "sy")} | {"z": np.array(3, np.uint8)}
    constants = scales | {"b": np.full((4, 8), 2, np.uint8)}
    proto = model(
        [node("QLinearMatMul", "a sa z b sb z sy z", "y")], {"a": (np.uint8, [3, 4]), "sa": []}, "y", constants
    )
    compare(proto, inputs=[np.full((3, 4), 9, np.uint8), np.array(np.nan, np.float32)])


def test_the_largest_of_a_region_is_nan_where_a_pixel_is() -> None:
    x = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    x[0, 0, 2, 2] = np.nan
    rois = {"r": np.array([[0, 0, 7, 7], [4, 4, 7, 7]], np.float32), "b": np.zeros(2, np.int64)}
    align = node("RoiAlign", "x r b", "y", mode="max", output_height=2, output_width=2, sampling_ratio=3)
    compare(model([align], {"x": [1, 1, 8, 8]}, "y", rois), inputs=[x], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", ["Softmax", "LpNormalization"])
def test_a_row_with_nan_is_nan(op: str) -> None:
    x = np.array([[1, 2, np.nan, 4], [1, 2, 3, 4], [0, 0, 0, 0], [0, NEGATIVE_NAN, 0, 0]], np.float32)
    compare(model([node(op, "x", "y", axis=1)], {"x": [4, 4]}, "y"), inputs=[x], rtol=1e-5)


@pytest.mark.parametrize("shape", [[3], [4]])
def test_the_largest_under_a_window_and_its_place(shape: list[int]) -> None:
    x = np.array([[5, np.nan, 7, NEGATIVE_NAN, 9, 2, 3, 1]], np.float32)[None]
    nodes = [node("MaxPool", "x", "y i", kernel_shape=shape), node("MaxPool", "x", "z", kernel_shape=shape)]
    compare(model(nodes, {"x": [1, 1, 8]}, "y i z"), inputs=[x])


EXTREME = re.compile(r"select\((\w+), ([\w.()-]+?), \1 [<>]=? \2\)")
"""A choice that a compiler which knows no NaN makes a maximum or minimum."""


@pytest.mark.parametrize("op", RULES)
def test_no_rule_chooses_as_a_maximum_would(op: str) -> None:
    floats = TensorType(np.dtype(np.float32), (4,))
    values = [Value(name, floats) for name in ("a", "b", "c", "d")]
    for count in range(1, 4):
        try:
            text = expression(Node(op, list(values[:count]), [values[3]], version=17), ["a", "b", "c"][:count])
        except (IndexError, ValueError, TypeError, KeyError):  # another number of inputs, another dtype
            continue
        assert not EXTREME.search(text), text


def test_no_function_chooses_as_a_maximum_would() -> None:
    texts = {file.name: file.read_text(encoding="utf-8") for file in files("shaders").joinpath("functions").iterdir()}
    assert [name for name, text in texts.items() if EXTREME.search(text)] == []
    # the two that NaN needs: by bits alone
    assert "bitcast<I>(x) <=" in texts["rectified.wgsl"]
    assert EXTREME.search("select(a, F(0.0), a < F(0.0))")
