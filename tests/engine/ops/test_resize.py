"""Resize and Upsample at every version, mode and coordinate transformation, against ONNX Runtime and Pillow."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from PIL import Image

from engine.errors import ModelError
from engine.ops.resize import AxisScaling, axis_taps
from tests.engine.ops.oracle import build, check, run_reference

TRANSFORMATIONS = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
ABSENT = np.zeros(0, np.float32)
"""How models of version 11 leave out the roi or the scales, which were not optional then."""


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


def sizes(*extents: int) -> np.ndarray:
    return np.array(extents, np.int64)


def scales(*factors: float) -> np.ndarray:
    return np.array(factors, np.float32)


X = floats(1, 2, 9, 11)

# exclude_outside is left out for nearest and linear without antialias: ONNX Runtime refuses it, and it changes nothing.
MODES = [
    ("nearest", 0, 0),
    ("linear", 0, 0),
    ("linear", 1, 0),
    ("linear", 1, 1),
    ("cubic", 0, 0),
    ("cubic", 0, 1),
    ("cubic", 1, 0),
    ("cubic", 1, 1),
]


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize(("mode", "antialias", "exclude"), MODES)
@pytest.mark.parametrize(
    ("shape", "out"),
    [
        ((7, 9), (13, 20)),
        ((13, 20), (7, 9)),
        ((9, 11), (4, 23)),
        ((16, 17), (3, 1)),
        ((1, 5), (6, 5)),
        ((8, 8), (16, 4)),
    ],
)
def test_sizes(
    transformation: str, mode: str, antialias: int, exclude: int, shape: tuple[int, int], out: tuple[int, int]
) -> None:
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": transformation,
        "antialias": antialias,
        "exclude_outside": exclude,
    }
    check("Resize", [floats(1, 2, *shape), None, None, sizes(1, 2, *out)], attributes, 19, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("transformation", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("out", [(5, 9), (18, 22), (4, 5), (27, 16)])
def test_nearest_modes(rounding: str, transformation: str, out: tuple[int, int]) -> None:
    attributes = {"nearest_mode": rounding, "coordinate_transformation_mode": transformation}
    check("Resize", [X, None, None, sizes(1, 2, *out)], attributes, 13)


FACTORS = [(1, 1, 2, 3), (1, 1, 0.6, 0.8), (1, 1, 1.3, 0.5), (1, 1, 0.7, 1.7)]


# align_corners with a fractional output extent is left out: ONNX Runtime divides by the rounded extent, the node tests
# resize_downsample_scales_{linear,cubic}_align_corners by the fractional one.
@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("transformation", "factors"),
    [*product(["half_pixel", "pytorch_half_pixel", "asymmetric"], FACTORS), ("align_corners", FACTORS[0])],
)
def test_scales(opset: int, mode: str, transformation: str, factors: tuple[float, ...]) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation}
    check("Resize", [X, ABSENT, scales(*factors)], attributes, opset, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("factors", FACTORS)
def test_tf_half_pixel_for_nn_of_version_11(mode: str, factors: tuple[float, ...]) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    check("Resize", [X, ABSENT, scales(*factors)], attributes, 11, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.75, -0.5, -0.75])
def test_cubic_coefficient_and_sizes_beside_empty_scales(factor: float) -> None:
    attributes = {"mode": "cubic", "cubic_coeff_a": factor}
    check("Resize", [X, ABSENT, ABSENT, sizes(1, 2, 5, 20)], attributes, 11, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factors", FACTORS)
def test_version_10(mode: str, factors: tuple[float, ...]) -> None:
    check("Resize", [X, scales(*factors)], {"mode": mode}, 10, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factors", [(1.0, 1.0, 2.0, 3.0), (1.0, 1.0, 1.6, 2.8)])
def test_upsample(mode: str, factors: tuple[float, ...]) -> None:
    check("Upsample", [X], {"mode": mode, "scales": factors}, 7, rtol=1e-5, atol=1e-5)
    check("Upsample", [X, scales(*factors)], {"mode": mode}, 9, rtol=1e-5, atol=1e-5)


# Negative axes with a policy are left out: ONNX Runtime then answers another shape than for the same axes counted from
# the front.
@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("axes", [[2, 3], [3, 2]])
def test_keep_aspect_ratio(policy: str, mode: str, axes: list[int]) -> None:
    attributes = {"keep_aspect_ratio_policy": policy, "mode": mode, "axes": axes}
    check("Resize", [X, None, None, sizes(7, 20)], attributes, 18, rtol=1e-5, atol=1e-5)


def test_negative_axes_count_from_the_back() -> None:
    check("Resize", [X, None, scales(0.5, 2)], {"axes": [-1, -2], "mode": "linear"}, 18, rtol=1e-6, atol=1e-6)


# No axis keeps its extent here: ONNX Runtime leaves such an axis alone, whatever its roi.
@pytest.mark.parametrize(
    ("mode", "antialias"), [("nearest", 0), ("linear", 0), ("linear", 1), ("cubic", 0), ("cubic", 1)]
)
@pytest.mark.parametrize("axes", [None, [2, 3]])
def test_crop_and_resize(mode: str, antialias: int, axes: list[int] | None) -> None:
    roi, extents = [0.13, -0.21, 0.83, 1.17], [6, 13]
    attributes: dict[str, Any] = {
        "mode": mode,
        "antialias": antialias,
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 10.0,
    }
    if axes is None:
        roi, extents = [0, 0, *roi[:2], 1, 1, *roi[2:]], [1, 2, *extents]
    else:
        attributes["axes"] = axes
    check("Resize", [X, scales(*roi), None, sizes(*extents)], attributes, 19, rtol=1e-5, atol=1e-5)


def test_crop_to_one_element_takes_the_middle_of_the_roi() -> None:
    x = np.arange(11, dtype=np.float32)
    attributes = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    (y,) = run_reference("Resize", [x, scales(0.2, 0.7), None, sizes(1)], attributes, 13)
    np.testing.assert_allclose(y, [4.5], rtol=1e-6)


# Cubic over one, three or five axes is left out: ONNX Runtime refuses it.
@pytest.mark.parametrize(
    ("shape", "out", "mode"),
    [
        ((7, 9), (12, 5), "cubic"),
        ((7, 9), (12, 5), "linear"),
        ((7,), (12,), "nearest"),
        ((3, 7, 9), (5, 12, 5), "linear"),
        ((1, 2, 5, 6, 7), (1, 2, 9, 4, 10), "linear"),
        ((1, 5, 6, 2), (1, 9, 4, 2), "linear"),
        ((2, 3, 4, 5), (4, 2, 5, 3), "nearest"),
    ],
)
def test_other_ranks(shape: tuple[int, ...], out: tuple[int, ...], mode: str) -> None:
    check("Resize", [floats(*shape), None, None, sizes(*out)], {"mode": mode}, 19, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_one_axis_is_one_row_of_two(mode: str) -> None:
    x = floats(1, 9)
    (row,) = run_reference("Resize", [x[0], None, None, sizes(14)], {"mode": mode}, 19)
    (rows,) = run_reference("Resize", [x, None, None, sizes(1, 14)], {"mode": mode}, 19)
    np.testing.assert_array_equal(row, rows[0])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_half_precision_is_rounded_once(mode: str) -> None:
    x = X.astype(np.float16)
    attributes = {"mode": mode, "antialias": 0}
    (single,) = run_reference("Resize", [x.astype(np.float32), None, None, sizes(1, 2, 5, 15)], attributes, 18)
    (half,) = run_reference("Resize", [x, None, None, sizes(1, 2, 5, 15)], attributes, 18)
    np.testing.assert_array_equal(half, single.astype(np.float16))


# Against the ONNX reference evaluator on floats, rounded: ONNX Runtime cuts the fraction of integers off, or rounds
# after every axis, and so do some releases of the evaluator.
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
@pytest.mark.parametrize(
    ("mode", "antialias"), [("nearest", 0), ("linear", 0), ("linear", 1), ("cubic", 0), ("cubic", 1)]
)
def test_integers_round_and_saturate(dtype: type, mode: str, antialias: int) -> None:
    x = np.random.default_rng(0).choice(np.array([0, 1, 64, 126, 127], dtype), (1, 2, 9, 11))
    inputs, attributes = [x, None, None, sizes(1, 2, 5, 14)], {"mode": mode, "antialias": antialias}
    single = x.astype(np.float32)
    evaluator = ReferenceEvaluator(build("Resize", [single, *inputs[1:]], attributes, 18))
    (exact,) = evaluator.run(None, {"x0": single, "x3": inputs[3]})
    expected = np.clip(np.rint(exact), np.iinfo(dtype).min, np.iinfo(dtype).max)
    (y,) = run_reference("Resize", inputs, attributes, 18)
    assert y.dtype == dtype
    # A sum on the very half may fall to either side.
    assert np.abs(y.astype(np.int64) - expected.astype(np.int64)).max() <= 1
    assert (y != expected).mean() < 0.01


@pytest.mark.parametrize(
    ("mode", "pillow"), [("linear", Image.Resampling.BILINEAR), ("cubic", Image.Resampling.BICUBIC)]
)
@pytest.mark.parametrize("out", [(11, 20), (50, 90), (20, 70), (1, 1)])
def test_antialias_without_the_outside_is_what_pillow_does(mode: str, pillow: int, out: tuple[int, int]) -> None:
    x = np.random.default_rng(0).random((37, 53), np.float32)
    expected = np.asarray(Image.fromarray(x).resize(out[::-1], pillow))
    attributes = {"mode": mode, "antialias": 1, "cubic_coeff_a": -0.5, "exclude_outside": 1}
    (y,) = run_reference("Resize", [x, None, None, sizes(*out)], attributes, 18)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("mode", "antialias", "exclude"), MODES)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_taps_are_a_partition_of_one_within_the_axis(
    mode: str, antialias: int, exclude: int, transformation: str
) -> None:
    for extent, out in product((1, 2, 7, 30), repeat=2):
        taps = axis_taps(
            AxisScaling(extent, out, out / extent, out),
            mode,
            transformation=transformation,
            antialias=bool(antialias),
            exclude_outside=bool(exclude),
        )
        assert taps.indices.shape == taps.weights.shape
        assert taps.indices.shape[0] == out
        assert taps.indices.min() >= 0
        assert taps.indices.max() < extent
        np.testing.assert_allclose(taps.weights.sum(axis=1), 1, rtol=0, atol=1e-12)
        assert not taps.outside.any()


def test_taps_of_a_doubled_axis() -> None:
    taps = axis_taps(AxisScaling(3, 6, 2.0, 6.0), "linear")
    np.testing.assert_array_equal(taps.weights, np.tile([[0.25, 0.75], [0.75, 0.25]], (3, 1)))
    np.testing.assert_array_equal(taps.indices, [[0, 0], [0, 1], [0, 1], [1, 2], [1, 2], [2, 2]])
    assert axis_taps(AxisScaling(3, 6, 2.0, 6.0), "linear", transformation="asymmetric").indices.shape == (6, 2)
    assert axis_taps(AxisScaling(3, 6, 2.0, 6.0), "nearest").is_selection


@pytest.mark.parametrize(
    ("inputs", "attributes"),
    [
        ([X], {}),
        ([X, None, scales(1, 1, 2, 2), sizes(1, 2, 3, 4)], {}),
        ([X, None, scales(2, 2)], {}),
        ([X, None, scales(1, 1, 0, 2)], {}),
        ([X, None, None, sizes(3, 4)], {}),
        ([X, None, None, sizes(3, 4)], {"axes": [2, 2]}),
        ([X, None, None, sizes(1, 2, 3, 4)], {"coordinate_transformation_mode": "tf_crop_and_resize"}),
        ([X, None, None, sizes(1, 2, 3, 4)], {"keep_aspect_ratio_policy": "both"}),
    ],
)
def test_what_does_not_fit_is_a_model_error(inputs: list[np.ndarray | None], attributes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="Resize"):
        run_reference("Resize", inputs, attributes, 18)
