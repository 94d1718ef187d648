"""Data movement and windows at every operator-set version whose meaning differs, against ONNX Runtime.

The ONNX node tests hold only the newest version of an operator; these cases hold the older ones, and the attributes
that the node tests leave out. A case that ONNX Runtime refuses or answers against the specification is not listed; the
comment beside its table says which and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from engine import ops
from engine.errors import ModelError
from engine.graph.ir import Node, TensorType, Value
from tests.engine.ops.oracle import check, run_reference

Attributes = Mapping[str, Any]


def floats(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Normal numbers that depend on the shape alone."""
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(dtype)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X = floats(2, 3, 5, 4)

SHAPES: list[tuple[str, Sequence[np.ndarray | None], Attributes, int]] = [
    ("Reshape", [X, ints(0, -1, 4)], {}, 7),
    ("Reshape", [X, ints(0, 0, 20)], {}, 13),
    ("Reshape", [floats(0, 3, 4), ints(3, 0, 7)], {"allowzero": 1}, 14),
    ("Reshape", [X, ints(5, -1)], {"allowzero": 1}, 19),
    ("Flatten", [X], {}, 7),
    ("Flatten", [X], {"axis": 0}, 9),
    ("Flatten", [X], {"axis": 4}, 9),
    ("Flatten", [X], {"axis": -1}, 11),
    ("Flatten", [X], {"axis": -4}, 13),
    ("Squeeze", [floats(1, 3, 1, 2)], {}, 7),
    ("Squeeze", [floats(1, 3, 1, 2)], {"axes": [2]}, 7),
    ("Squeeze", [floats(1, 3, 1, 2)], {"axes": [-2, 0]}, 11),
    ("Squeeze", [floats(1, 3, 1, 2)], {}, 13),
    ("Squeeze", [floats(1, 3, 1, 2), ints(-2)], {}, 13),
    ("Unsqueeze", [X], {"axes": [0, 3]}, 7),
    ("Unsqueeze", [X], {"axes": [-1, 0]}, 11),
    ("Unsqueeze", [X, ints(-1, 1)], {}, 13),
    ("Transpose", [X], {}, 7),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}, 13),
    ("Expand", [floats(3, 1), ints(2, 1, 4)], {}, 8),
    ("Expand", [floats(2, 3, 4), ints(3, 1)], {}, 13),
    ("Tile", [floats(2, 3), ints(2, 3)], {}, 7),
    ("Tile", [floats(2, 3), ints(1, 0)], {}, 13),
    ("Concat", [X, X[:, :2], X[:, 1:]], {"axis": 1}, 7),
    ("Concat", [X, X], {"axis": -1}, 11),
    ("Identity", [X], {}, 7),
    ("DepthToSpace", [floats(2, 8, 2, 3)], {"blocksize": 2}, 7),
    ("DepthToSpace", [floats(2, 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}, 11),
    ("DepthToSpace", [floats(1, 18, 2, 3)], {"blocksize": 3, "mode": "DCR"}, 13),
    ("SpaceToDepth", [floats(2, 3, 4, 6)], {"blocksize": 2}, 7),
    ("SpaceToDepth", [floats(2, 3, 6, 9)], {"blocksize": 3}, 13),
    ("Shape", [X], {}, 7),
    ("Shape", [X], {"start": 1, "end": -1}, 15),
    ("Shape", [X], {"start": -9, "end": 9}, 15),
    ("Size", [X], {}, 13),
    ("ConstantOfShape", [ints(2, 3)], {}, 9),
    ("ConstantOfShape", [ints(2, 0)], {"value": np.array([7], np.int32)}, 9),
    ("ConstantOfShape", [np.zeros(0, np.int64)], {"value": np.array([True])}, 20),
    ("Range", [np.float32(1), np.float32(2.05), np.float32(0.1)], {}, 11),
    ("Range", [np.int64(9), np.int64(-2), np.int64(-4)], {}, 11),
    ("Range", [np.int32(3), np.int32(1), np.int32(1)], {}, 11),
    ("Constant", [], {"value": floats(2, 3)}, 9),
    ("Constant", [], {"value_floats": [1.5, 2.5]}, 12),
    ("Constant", [], {"value_int": 3}, 13),
    ("Constant", [], {"value_ints": [3, 4]}, 13),
    ("Constant", [], {"value_float": 0.5}, 13),
    ("EyeLike", [floats(3, 5)], {"k": 1}, 9),
    ("EyeLike", [floats(3, 5)], {"k": -1, "dtype": 7}, 9),
    ("Trilu", [X], {}, 14),
    ("Trilu", [X, np.int64(-1)], {"upper": 0}, 14),
    ("NonZero", [np.array([[0, 1], [2, 0]], np.float32)], {}, 9),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "opset"), SHAPES)
def test_shape(op: str, inputs: Sequence[np.ndarray | None], attributes: Attributes, opset: int) -> None:
    check(op, [None if x is None else np.asarray(x) for x in inputs], attributes, opset)


INDEXED: list[tuple[str, Sequence[np.ndarray | None], Attributes, int]] = [
    ("Slice", [X], {"starts": [1, -3], "ends": [9, -1], "axes": [1, 2]}, 7),
    ("Slice", [X], {"starts": [0, 1], "ends": [1, 2]}, 9),
    ("Slice", [X, ints(1, -1), ints(9, -9), ints(1, 2), ints(1, -2)], {}, 10),
    ("Slice", [X, ints(4), ints(np.iinfo(np.int64).min), ints(2), ints(-3)], {}, 10),
    ("Slice", [X, ints(0, 2), ints(2, 2)], {}, 11),
    ("Slice", [X, ints(-9, 0), ints(np.iinfo(np.int64).max, 3), ints(-1, 0), ints(3, 1)], {}, 13),
    ("Slice", [X, ints(9), ints(0), ints(3), ints(-1)], {}, 13),
    ("Slice", [X.astype(np.uint8), ints(1), ints(3), None, ints(2)], {}, 13),
    ("Pad", [X], {"pads": [0, 0, 1, 2, 0, 1, 0, 1], "value": 2.5}, 7),
    ("Pad", [X], {"pads": [0, 0, 2, 1, 0, 0, 3, 2], "mode": "reflect"}, 7),
    ("Pad", [X], {"pads": [0, 1, 2, 1, 0, 0, 3, 2], "mode": "edge"}, 10),
    ("Pad", [X], {"pads": [0, -1, 2, 0, 0, 0, -3, 2]}, 10),
    ("Pad", [X, ints(0, 0, 1, 2, 0, 1, 0, 1), np.float32(-1.5)], {}, 11),
    ("Pad", [X, ints(0, 0, 4, 2, 0, 1, 0, 3)], {"mode": "reflect"}, 13),
    ("Pad", [X.astype(np.int32), ints(0, 0, 4, -2, 0, 1, 0, 3), np.int32(7)], {}, 13),
    ("Pad", [X, ints(1, 2, 3, -1), None, ints(-1, 1)], {"mode": "edge"}, 18),
    ("Pad", [X, ints(2, 3, 4, 1), None, ints(2, 3)], {"mode": "wrap"}, 19),
    ("Gather", [X, np.array([[0, 2], [1, 1]])], {"axis": 1}, 7),
    ("Gather", [X, np.array([[0, -1], [1, 1]], np.int32)], {"axis": -2}, 11),
    ("Gather", [X, np.array(1)], {}, 13),
    ("GatherElements", [X, np.array([[[[0, -1, 1, 1]]]])], {"axis": 0}, 11),
    ("GatherElements", [X, np.array([[[[3, -1], [0, 2]]]], np.int32)], {"axis": -1}, 13),
    ("GatherND", [X, np.array([[0, 2], [1, -1]])], {}, 11),
    ("GatherND", [X, np.array([[[0, 1]], [[2, -1]]])], {"batch_dims": 1}, 12),
    ("GatherND", [floats(2, 2, 3, 4), np.array([[[1], [0]], [[2], [-1]]])], {"batch_dims": 2}, 13),
    ("ScatterND", [floats(4, 3), ints(2, 0).reshape(2, 1), floats(2, 3)], {}, 11),
    ("ScatterND", [floats(4, 3), np.array([[2, -1], [2, -1]]), floats(2)], {"reduction": "add"}, 16),
    ("ScatterND", [floats(4, 3), np.array([[2], [2]]), floats(2, 3)], {"reduction": "mul"}, 16),
    ("ScatterND", [floats(4, 3), np.array([[2], [2]]), floats(2, 3)], {"reduction": "max"}, 18),
    ("Scatter", [floats(3, 4), np.array([[0, 2, 1]]), floats(1, 3)], {"axis": 0}, 9),
    ("ScatterElements", [floats(3, 4), np.array([[0, -1, 1]]), floats(1, 3)], {"axis": 1}, 11),
    ("ScatterElements", [floats(3, 4), np.array([[1, 1, 1]]), floats(1, 3)], {"axis": 1, "reduction": "add"}, 16),
    ("ScatterElements", [floats(3, 4), np.array([[1, 1, 1]]), floats(1, 3)], {"axis": -1, "reduction": "min"}, 18),
    ("OneHot", [np.array([[0, 4], [-2, 5]]), ints(5), np.array([0.5, 2], np.float32)], {"axis": 1}, 9),
    ("OneHot", [np.array([0, 2, -3], np.float32), np.array(3.0, np.float32), floats(2)], {}, 11),
    ("ReverseSequence", [floats(4, 3, 2), ints(1, 4, 2)], {}, 10),
    ("ReverseSequence", [floats(3, 4, 2), ints(1, 4, 2)], {"time_axis": 1, "batch_axis": 0}, 10),
    ("CenterCropPad", [X, ints(3, 8)], {"axes": [-2, -1]}, 18),
    ("CenterCropPad", [X, ints(2, 6, 2, 4)], {}, 18),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "opset"), INDEXED)
def test_indexed(op: str, inputs: Sequence[np.ndarray | None], attributes: Attributes, opset: int) -> None:
    check(op, [None if x is None else np.asarray(x) for x in inputs], attributes, opset)


SPLITS: list[tuple[Sequence[np.ndarray], Attributes, int, int]] = [
    ([X], {"axis": 2, "split": [1, 4]}, 7, 2),
    ([X], {"axis": -1, "split": [2, 0, 2]}, 11, 3),
    ([X, ints(3, 2)], {"axis": 2}, 13, 2),
    ([X], {"axis": 2, "num_outputs": 3}, 18, 3),
]


@pytest.mark.parametrize(("inputs", "attributes", "opset", "outputs"), SPLITS)
def test_split(inputs: Sequence[np.ndarray], attributes: Attributes, opset: int, outputs: int) -> None:
    check("Split", inputs, attributes, opset, outputs=outputs)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_split_into_equal_parts_without_sizes(opset: int) -> None:
    node = Node("Split", [Value("x", TensorType(X.dtype, X.shape))], [None, None], {"axis": 3}, version=opset)
    node.outputs = [Value(name, kind) for name, kind in zip("ab", ops.infer(node), strict=True)]
    for ours, expected in zip(ops.evaluate(node, [X]), np.split(X, 2, axis=3), strict=True):
        np.testing.assert_array_equal(ours, expected)


# Dilated pooling with auto_pad SAME is left out: ONNX Runtime pads as if there were no dilation, so that the output is
# not the ceil(input / stride) that the operator and ONNX's shape inference promise.
MAX_POOLS: list[tuple[Attributes, int]] = [
    ({"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}, 7),
    ({"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, 7),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, 8),
    ({"kernel_shape": [3, 3], "storage_order": 1, "strides": [1, 2]}, 8),
    ({"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}, 10),
    ({"kernel_shape": [2, 3], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]}, 10),
    ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "auto_pad": "VALID"}, 11),
    ({"kernel_shape": [3, 2], "dilations": [2, 3]}, 12),
    ({"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 2, 1], "ceil_mode": 1, "strides": [2, 2]}, 22),
]


@pytest.mark.parametrize(("attributes", "opset"), MAX_POOLS)
def test_max_pool(attributes: Attributes, opset: int) -> None:
    check("MaxPool", [floats(2, 3, 7, 9)], attributes, opset, outputs=1 if opset < 8 else 2)


def test_max_pool_of_bytes() -> None:
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    check("MaxPool", [np.arange(-60, 66).reshape(1, 2, 7, 9).astype(np.int8)], attributes, 12, outputs=2)


def test_max_pool_of_negative_infinities_finds_the_input_not_the_padding() -> None:
    # ONNX Runtime answers the lowest finite number where the window touches the padding.
    attributes = {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    y, indices = run_reference("MaxPool", [np.full((1, 1, 4, 4), -np.inf, np.float32)], attributes, 12, outputs=2)
    assert np.isneginf(y).all()
    np.testing.assert_array_equal(indices[0, 0], [[0, 1, 3], [4, 5, 7], [12, 13, 15]])


AVERAGE_POOLS: list[tuple[Attributes, int]] = [
    ({"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}, 7),
    ({"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "count_include_pad": 1}, 7),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, 7),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER", "count_include_pad": 1}, 7),
    ({"kernel_shape": [3, 3], "strides": [3, 2], "ceil_mode": 1}, 10),
    ({"kernel_shape": [3, 3], "strides": [3, 2], "ceil_mode": 1, "pads": [1, 0, 1, 1], "count_include_pad": 1}, 10),
    ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "auto_pad": "VALID"}, 11),
    ({"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 2, 1], "count_include_pad": 1}, 19),
    ({"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 2, 1], "ceil_mode": 1, "strides": [2, 2]}, 22),
]


@pytest.mark.parametrize(("attributes", "opset"), AVERAGE_POOLS)
def test_average_pool(attributes: Attributes, opset: int) -> None:
    check("AveragePool", [floats(2, 3, 7, 9)], attributes, opset)


def test_average_pool_sums_half_precision_in_single() -> None:
    x = np.full((1, 1, 64, 64), 1.001, np.float16)
    (y,) = run_reference("AveragePool", [x], {"kernel_shape": [64, 64]}, 19)
    np.testing.assert_array_equal(y, x[..., :1, :1])


LP_POOLS: list[tuple[Attributes, int]] = [
    ({"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}, 7),
    ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER", "p": 1}, 11),
    ({"kernel_shape": [3, 2], "dilations": [2, 3], "ceil_mode": 1, "strides": [2, 2], "p": 3}, 18),
]


@pytest.mark.parametrize(("attributes", "opset"), LP_POOLS)
def test_lp_pool(attributes: Attributes, opset: int) -> None:
    check("LpPool", [floats(2, 3, 7, 9)], attributes, opset)


@pytest.mark.parametrize(
    ("op", "attributes"), [("GlobalAveragePool", {}), ("GlobalMaxPool", {}), ("GlobalLpPool", {"p": 3})]
)
@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5)])
def test_global_pool(op: str, attributes: Attributes, shape: tuple[int, ...]) -> None:
    check(op, [floats(*shape)], attributes, 7)


def test_max_unpool_undoes_max_pool() -> None:
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    y, indices = check("MaxPool", [floats(2, 3, 6, 8)], attributes, 8, outputs=2)
    for opset in (9, 11):
        check("MaxUnpool", [y, indices], attributes, opset)


# An output_shape beyond what is computed is left out: ONNX Runtime refuses it, the node test convtranspose_output_shape
# fills it with zeros.
CONV_TRANSPOSES: list[tuple[Attributes, int]] = [
    ({}, 7),
    ({"strides": [2, 3], "pads": [1, 0, 1, 2], "output_padding": [1, 2]}, 7),
    ({"strides": [2, 2], "dilations": [2, 1], "group": 2}, 11),
    ({"strides": [2, 3], "auto_pad": "SAME_UPPER"}, 7),
    ({"strides": [2, 1], "auto_pad": "SAME_LOWER"}, 11),
    ({"strides": [2, 3], "auto_pad": "VALID", "group": 2}, 11),
    ({"strides": [2, 3], "output_shape": [9, 14]}, 7),
    ({"strides": [2, 3], "output_shape": [9, 14], "auto_pad": "SAME_UPPER"}, 11),
    ({"strides": [2, 3], "output_shape": [9, 14], "output_padding": [1, 0]}, 22),
]


@pytest.mark.parametrize(("attributes", "opset"), CONV_TRANSPOSES)
def test_conv_transpose(attributes: Attributes, opset: int) -> None:
    group = attributes.get("group", 1)
    inputs = [floats(2, 4, 5, 6), floats(4, 3, 3, 2), floats(3 * group)]
    check("ConvTranspose", inputs, attributes, opset)


@pytest.mark.parametrize("shape", [(2, 4, 9), (1, 4, 3, 4, 5)])
def test_conv_transpose_over_other_ranks(shape: tuple[int, ...]) -> None:
    attributes = {"strides": [2] * (len(shape) - 2), "pads": [1, 0] * (len(shape) - 2)}
    inputs = [floats(*shape), floats(4, 2, *(3,) * (len(shape) - 2))]
    check("ConvTranspose", inputs, attributes, 11)


# Dilation over three axes is left out: ONNX Runtime differs there from us and the ONNX reference evaluator, who agree.
def test_col2im_over_three_axes() -> None:
    attributes = {"strides": [2, 1, 2], "pads": [1, 0, 1, 1, 0, 1]}
    check("Col2Im", [floats(2, 24, 3 * 4 * 3), ints(4, 5, 5), ints(2, 2, 3)], attributes, 18)


def test_col2im_over_two_dilated_axes() -> None:
    attributes = {"strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2]}
    check("Col2Im", [floats(2, 12, 15), ints(4, 6), ints(2, 2)], attributes, 18)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(
    ("mode", "opset"), [("bilinear", 16), ("bicubic", 16), ("nearest", 16), ("linear", 20), ("cubic", 20)]
)
def test_grid_sample(mode: str, opset: int, padding_mode: str, align_corners: int) -> None:
    grid = (1.4 * floats(2, 4, 3, 2)).astype(np.float32)
    attributes = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    check("GridSample", [floats(2, 3, 5, 6), grid], attributes, opset, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [10, 16])
@pytest.mark.parametrize("attributes", [{"sampling_ratio": 2}, {"sampling_ratio": 0}, {"mode": "max"}])
def test_roi_align(attributes: Attributes, opset: int) -> None:
    rois = np.array([[0, 0, 9, 7], [-3, 1, 4.5, 6.25], [2, 2, 2.5, 2.5]], np.float32)
    attributes = {"output_height": 3, "output_width": 2, "spatial_scale": 0.75, **attributes}
    check("RoiAlign", [floats(2, 3, 6, 7), rois, ints(0, 1, 1)], attributes, opset)


@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2]}, {"group": 2, "offset_group": 2}],
)
def test_deform_conv(attributes: Attributes, has_mask: bool, opset: int) -> None:
    x, w, b = floats(2, 4, 7, 8), floats(6, 4 // attributes.get("group", 1), 3, 2), floats(6)
    plain = {name: value for name, value in attributes.items() if name != "offset_group"}
    (plain_result,) = run_reference("Conv", [x, w, b], plain, opset)
    taps = attributes.get("offset_group", 1) * 6
    offset, mask = 2 * floats(2, taps * 2, *plain_result.shape[2:]), floats(2, taps, *plain_result.shape[2:])
    check("DeformConv", [x, w, offset, b, *([mask] if has_mask else [])], attributes, opset, rtol=1e-5, atol=1e-5)
    (same,) = run_reference("DeformConv", [x, w, 0 * offset, b], attributes, opset)
    np.testing.assert_allclose(same, plain_result, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "opset"),
    [
        ("Reshape", [X, ints(-1, -1)], {}, 13),
        ("Reshape", [X, ints(7, -1)], {}, 13),
        ("Slice", [X, ints(0), ints(1), ints(0), ints(0)], {}, 13),
        ("Squeeze", [X, ints(0)], {}, 13),
        ("Concat", [X, X[:1]], {"axis": 1}, 13),
        ("Concat", [X, X], {}, 13),
        ("Split", [X, ints(1, 1)], {"axis": 1}, 13),
        ("Tile", [X, ints(1, 1)], {}, 13),
        ("DepthToSpace", [X], {"blocksize": 2}, 13),
        ("MaxPool", [X], {"kernel_shape": [9, 9]}, 12),
        ("MaxPool", [X], {}, 12),
        ("ConvTranspose", [X, floats(4, 1, 2, 2)], {}, 11),
        ("Gather", [X, ints(0)], {"axis": 4}, 13),
        ("Range", [np.array(0), np.array(1), np.array(0)], {}, 11),
        ("Resize", [X], {}, 13),
    ],
)
def test_inputs_that_do_not_fit_are_a_model_error(
    op: str, inputs: Sequence[np.ndarray], attributes: Attributes, opset: int
) -> None:
    with pytest.raises(ModelError, match=op):
        run_reference(op, inputs, attributes, opset)


def test_non_zero_of_run_time_data_is_refused() -> None:
    node = Node("NonZero", [Value("x", TensorType(X.dtype, X.shape))], [None], version=13)
    with pytest.raises(ModelError, match="depends on the data"):
        ops.infer(node)
