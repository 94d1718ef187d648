"""Resize (ONNX versions 10, 11, 13, 18, 19) and Upsample (7, 9): separable resampling of any axes.

Each output position of an axis maps to a coordinate among the input positions (the coordinate transformation), and is
the weighted sum of the input around it (the filter: nearest, linear or cubic, stretched when antialiasing). Both depend
on the axis alone, so ``axis_taps`` puts them into a table, and the operator is a gather and weighted sum axis by axis.

``floor(extent * scale)`` is formed in float32, the dtype of the scales, as exporters and runtimes do: in wider
arithmetic 10 * float32(0.7) would come out below 7. Like the ONNX shape inference and reference evaluator, and unlike
the operator's text, it leaves out the factor ``roi_end - roi_start``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor

import numpy as np

from engine.graph import bounds
from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints, static_array
from engine.ops.registry import operator
from engine.ops.types import accumulator, normalize_axes

SUPPORT = {"linear": 1, "cubic": 2}
"""Half the width of each filter, in input positions."""


REMEMBERED = 32
"""Tables that are kept: a network resamples its few sizes again and again."""


@dataclass(frozen=True, slots=True, eq=False)
class AxisTaps:
    """How one axis is resampled: ``y[o] = sum_t weights[o, t] * x[indices[o, t]]``. Its arrays are read-only.

    ``indices`` is int64 ``[out, taps]``, all within the input; ``weights`` is float64 ``[out, taps]``; ``outside`` is
    bool ``[out]``, true where the result is the extrapolation value instead.
    """

    indices: np.ndarray
    weights: np.ndarray
    outside: np.ndarray

    @property
    def is_selection(self) -> bool:
        """Whether each output is one input as it is."""
        return self.indices.shape[1] == 1 and bool((self.weights == 1).all())

    @property
    def keeps_constants(self) -> bool:
        """Whether what is the same everywhere stays so: the weights of each output sum to one, none is extrapolated."""
        return bool(np.isclose(self.weights.sum(axis=1), 1, rtol=0, atol=1e-12).all()) and not self.outside.any()


@dataclass(frozen=True, slots=True)
class AxisScaling:
    """The resampling of one axis: ``extent`` positions become ``out``.

    ``scale`` is output over input as the model gives it and ``width`` the output extent before it is rounded to
    ``out``; ``roi`` is the part of the axis to crop to, as fractions (tf_crop_and_resize).
    """

    extent: int
    out: int
    scale: float
    width: float
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def is_identity(self) -> bool:
        """Whether the axis stays as it is, even under a transformation that would shift it (tf_half_pixel_for_nn)."""
        return self.scale == 1 and self.out == self.extent and self.roi == (0.0, 1.0)


def source_coordinates(axis: AxisScaling, transformation: str, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """The input coordinate of each output position, ``[out]``, computed in ``dtype``; ValueError on an unknown name."""
    x = np.arange(axis.out, dtype=dtype)
    last = axis.extent - 1
    if transformation in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        if transformation == "pytorch_half_pixel" and axis.out == 1:
            return np.zeros(1, dtype)
        shift = 0.0
        if transformation == "half_pixel_symmetric":
            shift = axis.extent / 2 * (1 - axis.out / axis.width)
        return shift + (x + 0.5) / axis.scale - 0.5
    if transformation == "asymmetric":
        return x / axis.scale
    if transformation == "tf_half_pixel_for_nn":
        return (x + 0.5) / axis.scale
    if transformation == "align_corners":
        return np.zeros(axis.out, dtype) if axis.width == 1 else x * last / (axis.width - 1)
    if transformation == "tf_crop_and_resize":
        start, end = axis.roi
        if axis.width == 1:
            return np.full(axis.out, 0.5 * (start + end) * last, dtype)
        return start * last + x * (end - start) * last / (axis.width - 1)
    raise ValueError(f"coordinate_transformation_mode '{transformation}' is unknown")


def filter_weights(mode: str, distance: np.ndarray, cubic_a: float) -> np.ndarray:
    """The filter at each distance from its centre: the triangle, or Keys' cubic convolution (1981, equation 4)."""
    t = np.abs(distance)
    if mode == "linear":
        return np.maximum(1 - t, 0)
    near = ((cubic_a + 2) * t - (cubic_a + 3)) * t * t + 1
    far = ((t - 5) * t + 8) * t * cubic_a - 4 * cubic_a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def nearest_positions(coordinates: np.ndarray, rounding: str) -> np.ndarray:
    """The coordinates rounded to whole positions, float64; ValueError on an unknown ``nearest_mode``."""
    if rounding == "round_prefer_floor":
        return np.ceil(coordinates - 0.5)
    if rounding == "round_prefer_ceil":
        return np.floor(coordinates + 0.5)
    if rounding == "floor":
        return np.floor(coordinates)
    if rounding == "ceil":
        return np.ceil(coordinates)
    raise ValueError(f"nearest_mode '{rounding}' is unknown")


def taps_per_side(axis: AxisScaling, mode: str, *, antialias: bool) -> int:
    """Taps on either side of a coordinate under a weighting mode; ValueError on an unknown one."""
    if mode not in SUPPORT:
        raise ValueError(f"mode '{mode}' is not one of nearest, linear, cubic")
    # an axis that ends up empty may have any scale
    return ceil(SUPPORT[mode] / (min(axis.scale, 1.0) if antialias and axis.out else 1.0))


def table_bytes(axis: AxisScaling, mode: str, *, antialias: bool) -> int:
    """What `axis_taps` takes for the axis: positions, indices, weights and distances, of 8 bytes each."""
    taps = 1 if mode == "nearest" else 2 * taps_per_side(axis, mode, antialias=antialias)
    return 4 * 8 * axis.out * taps


@lru_cache(REMEMBERED)
def axis_taps(
    axis: AxisScaling,
    mode: str = "linear",
    *,
    transformation: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_a: float = -0.75,
    antialias: bool = False,
    exclude_outside: bool = False,
) -> AxisTaps:
    """The table by which ``axis`` is resampled; the options are those of Resize-19.

    Taps beyond an end of the axis repeat the last element there, or with ``exclude_outside`` get no weight. With
    ``antialias`` the filter is stretched by 1/scale when the axis shrinks. Taps that never carry weight are left out.
    ValueError on an unknown option or an empty axis.
    """
    if axis.extent < 1:
        raise ValueError("an empty axis cannot be resized")
    # Scales are float32: 8 / float32(1.6) is 5 in float32, as meant, and just below it in float64, where rounding would
    # choose another element than exporters and runtimes do. A weight does not mind.
    x = source_coordinates(axis, transformation, np.float32 if mode == "nearest" else np.float64)
    outside = np.zeros(axis.out, np.bool_)
    if transformation == "tf_crop_and_resize":
        outside |= (x < 0) | (x > axis.extent - 1)
    if mode == "nearest":
        positions = nearest_positions(x, nearest_mode).astype(np.int64)[:, None]
        return _table(positions.clip(0, axis.extent - 1), np.ones(positions.shape), outside)
    stretch = min(axis.scale, 1.0) if antialias else 1.0
    per_side = taps_per_side(axis, mode, antialias=antialias)
    # The element to the left, so that one exactly at the coordinate has distance 0 and never two halves.
    before = np.ceil(x) - 1
    positions = before[:, None] + np.arange(1 - per_side, per_side + 1)
    weights = filter_weights(mode, (positions - x[:, None]) * stretch, cubic_a)
    if exclude_outside:
        weights[(positions < 0) | (positions >= axis.extent)] = 0
    total = weights.sum(axis=1, keepdims=True)
    # A window wholly outside has nothing to renormalise; it stays 0.
    weights /= np.where(total == 0, 1, total)
    carrying = np.flatnonzero(weights.any(axis=0))
    carrying = carrying if carrying.size else np.zeros(1, np.int64)
    indices = positions.clip(0, axis.extent - 1).astype(np.int64)
    return _table(indices[:, carrying], weights[:, carrying], outside)


def _table(*arrays: np.ndarray) -> AxisTaps:
    for array in arrays:
        array.flags.writeable = False
    return AxisTaps(*arrays)


def resample(x: np.ndarray, axis: int, taps: AxisTaps) -> np.ndarray:
    """``x`` resampled along ``axis``; a pure selection keeps the dtype, a weighted sum must be given a float."""
    if taps.is_selection:
        return x.take(taps.indices[:, 0], axis)
    column = (-1, *(1,) * (x.ndim - 1 - axis))
    weights = taps.weights.astype(x.dtype)
    y = x.take(taps.indices[:, 0], axis) * weights[:, 0].reshape(column)
    for tap in range(1, taps.indices.shape[1]):
        y += x.take(taps.indices[:, tap], axis) * weights[:, tap].reshape(column)
    return y


def round_to(y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``y`` in ``dtype``; integers are rounded half to even and saturate, as in the ONNX reference evaluator."""
    if dtype.kind not in "iu":
        return y.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(y), limits.min, limits.max).astype(dtype)


def _scalings(
    node: Node,
    shape: tuple[int, ...],
    roi: np.ndarray | None,
    scales: np.ndarray | None,
    sizes: np.ndarray | None,
) -> dict[int, AxisScaling]:
    """The scaling of each axis that Resize names; ValueError when the inputs do not fit."""
    axes = normalize_axes(node.attr("axes") or range(len(shape)), len(shape))
    # Exporters write an empty tensor for an input that is left out: old versions had no optional one.
    target_sizes = None if sizes is None or sizes.size == 0 else ints(sizes)
    factors = None if scales is None or scales.size == 0 else [float(scale) for scale in scales]
    if (target_sizes is None) == (factors is None):
        raise ValueError("exactly one of scales and sizes must be given")
    regions: list[tuple[float, float]] = [(0.0, 1.0)] * len(axes)
    if node.attr("coordinate_transformation_mode") == "tf_crop_and_resize":
        if roi is None or roi.size != 2 * len(axes):
            raise ValueError(f"tf_crop_and_resize needs a roi of {2 * len(axes)} elements")
        regions = [(float(roi[i]), float(roi[i + len(axes)])) for i in range(len(axes))]
    extents = [shape[axis] for axis in axes]
    if target_sizes is not None:
        if len(target_sizes) != len(axes):
            raise ValueError(f"{len(target_sizes)} sizes for {len(axes)} axes")
        factors, widths = _from_sizes(node.attr("keep_aspect_ratio_policy", "stretch"), extents, target_sizes)
        outs = [floor(width + 0.5) for width in widths]
    else:
        if factors is None or len(factors) != len(axes) or min(factors, default=1) <= 0:
            raise ValueError(f"scales {factors} for {len(axes)} axes")
        widths = [float(np.float32(extent) * np.float32(scale)) for extent, scale in zip(extents, factors, strict=True)]
        outs = [floor(width) for width in widths]
    columns = zip(axes, extents, outs, factors, widths, regions, strict=True)
    return {axis: AxisScaling(*fields) for axis, *fields in columns}


def _from_sizes(policy: str, extents: list[int], sizes: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """(scales, output widths) that reach ``sizes``, or keep the aspect ratio within or around them."""
    scales = [size / extent for size, extent in zip(sizes, extents, strict=True)]
    if policy == "stretch":
        return scales, [float(size) for size in sizes]
    if policy not in ("not_larger", "not_smaller"):
        raise ValueError(f"keep_aspect_ratio_policy '{policy}' is unknown")
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [scale] * len(scales), [scale * extent for extent in extents]


def _inputs(
    node: Node, roi: np.ndarray | None, scales: np.ndarray | None, sizes: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """(roi, scales, sizes): before version 11 the second input is the scales."""
    return (None, roi, None) if node.version < 11 else (roi, scales, sizes)


def resize_taps(
    node: Node,
    shape: tuple[int, ...],
    roi: np.ndarray | None,
    scales: np.ndarray | None,
    sizes: np.ndarray | None,
) -> Iterator[tuple[int, AxisTaps]]:
    """(axis, table) for each axis that a Resize node over an input of ``shape`` changes.

    The arrays are the node's second to fourth inputs. Version 10 has no coordinate transformation: asymmetric, and
    nearest takes the next element down, or up when the axis shrinks, as in ONNX Runtime and that version's tests.
    """
    mode = node.attr("mode", "nearest")
    for axis, scaling in _scalings(node, shape, *_inputs(node, roi, scales, sizes)).items():
        if scaling.is_identity:
            continue
        if node.version < 11:
            rounding = "ceil" if scaling.scale < 1 else "floor"
            taps = axis_taps(scaling, mode, transformation="asymmetric", nearest_mode=rounding)
        else:
            taps = axis_taps(
                scaling,
                mode,
                transformation=node.attr("coordinate_transformation_mode", "half_pixel"),
                nearest_mode=node.attr("nearest_mode", "round_prefer_floor"),
                cubic_a=node.attr("cubic_coeff_a", -0.75),
                antialias=bool(node.attr("antialias", 0)),
                exclude_outside=bool(node.attr("exclude_outside", 0)),
            )
        yield axis, taps


def _resample_axes(x: np.ndarray, taps: Iterator[tuple[int, AxisTaps]], extrapolation: float) -> np.ndarray:
    steps = list(taps)
    y = x
    if not all(table.is_selection for _, table in steps):
        y = x.astype(accumulator(x.dtype) if x.dtype.kind == "f" else np.float64, copy=False)
    for axis, table in steps:
        y = resample(y, axis, table)
    for axis, table in steps:
        if table.outside.any():
            np.moveaxis(y, axis, 0)[table.outside] = extrapolation
    return round_to(y, x.dtype)


def _output_type(node: Node, scalings: dict[int, AxisScaling]) -> TensorType:
    x = node.input(0)
    shape = tuple(scalings[axis].out if axis in scalings else extent for axis, extent in enumerate(x.shape))
    result = TensorType(x.dtype, shape)
    bounds.check_tensor(result, f"{node.label}: its output")
    mode, antialias = node.attr("mode", "nearest"), bool(node.attr("antialias", 0))
    for axis, scaling in scalings.items():
        nbytes = 0 if scaling.is_identity else table_bytes(scaling, mode, antialias=antialias)
        bounds.require(nbytes, f"{node.label}: the table of weights of axis {axis}")
    return result


@operator("Resize", since=10, static=[1, 2, 3])
class Resize:
    """x resampled to scales or sizes; float16 summed in float32, integers in float64 and rounded once."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        inputs = _inputs(node, node.constant(1), node.constant(2), node.constant(3))
        return [_output_type(node, _scalings(node, node.input(0).shape, *inputs))]

    @staticmethod
    def reference(
        node: Node,
        x: np.ndarray,
        roi: np.ndarray | None = None,
        scales: np.ndarray | None = None,
        sizes: np.ndarray | None = None,
    ) -> np.ndarray:
        return _resample_axes(
            x, resize_taps(node, x.shape, roi=roi, scales=scales, sizes=sizes), node.attr("extrapolation_value", 0.0)
        )


def upsample_taps(node: Node, shape: tuple[int, ...], scales: np.ndarray | None) -> Iterator[tuple[int, AxisTaps]]:
    """(axis, table) for each axis that an Upsample node changes: asymmetric, nearest taking the next element down."""
    for axis, scaling in _scalings(node, shape, roi=None, scales=_upsample_scales(node, scales), sizes=None).items():
        if not scaling.is_identity:
            mode = node.attr("mode", "nearest")
            yield axis, axis_taps(scaling, mode, transformation="asymmetric", nearest_mode="floor")


def _upsample_scales(node: Node, scales: np.ndarray | None) -> np.ndarray:
    return np.array(node.attr("scales", ()), np.float32) if scales is None else scales


@operator("Upsample", since=7, until=9, static=[1])
class Upsample:
    """x enlarged by ``scales``: an attribute in version 7, the second input since version 9."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        scales = static_array(node, 1) if node.version >= 9 else None
        return [
            _output_type(
                node, _scalings(node, node.input(0).shape, roi=None, scales=_upsample_scales(node, scales), sizes=None)
            )
        ]

    @staticmethod
    def reference(node: Node, x: np.ndarray, scales: np.ndarray | None = None) -> np.ndarray:
        return _resample_axes(x, upsample_taps(node, x.shape, scales), 0.0)


def taps_of(node: Node) -> list[tuple[int, AxisTaps]]:
    """(axis, table) for each axis that a Resize or Upsample node changes."""
    shape = node.input(0).shape
    if node.op == "Upsample":
        return list(upsample_taps(node, shape, node.constant(1)))
    return list(resize_taps(node, shape, roi=node.constant(1), scales=node.constant(2), sizes=node.constant(3)))
