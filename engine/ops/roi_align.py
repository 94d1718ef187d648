"""RoiAlign (ONNX versions 10, 16, 22): regions of a feature map resampled to one size (arXiv:1703.06870)."""

from __future__ import annotations

from math import ceil, prod

import numpy as np

from engine.graph import bounds
from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import accumulator


def _samples(length: float, bins: int, ratio: int) -> int:
    """Sample points in a bin along one axis: ``ratio``, or where that is 0 one for each pixel."""
    return ratio if ratio > 0 else max(ceil(length / bins), 0)


def _axis(start: float, length: float, bins: int, samples: int, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis, the (indices, weights) ``[bins, samples, 2]`` of the two pixels around each sample point.

    Points up to one pixel outside take the edge; beyond, the weights are 0.
    """
    at = start + (np.arange(bins)[:, None] + (np.arange(samples) + 0.5) / max(samples, 1)) * (length / bins)
    inside = (at >= -1) & (at <= extent)
    at = at.clip(0, extent - 1)
    lower = np.floor(at).astype(np.int64)
    fraction = at - lower
    indices = np.stack([lower, np.minimum(lower + 1, extent - 1)], axis=-1)
    return indices, np.stack([1 - fraction, fraction], axis=-1) * inside[..., None]


@operator("RoiAlign", since=10)
class RoiAlign:
    """y[r, c, i, j]: the mean or the largest of the sample points in one bin of region r.

    ``max`` compares the four weighted pixels around each point, not their sum: what ONNX Runtime does and the
    operator's tests hold. Without the attribute (version 10) the coordinates are not shifted by half a pixel.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, rois, batch = node.input(0), node.input(1), node.input(2)
        if len(x.shape) != 4 or rois.shape != (*batch.shape, 4) or node.attr("mode", "avg") not in ("avg", "max"):
            raise ValueError(f"rois of shape {list(rois.shape)}, mode '{node.attr('mode', 'avg')}'")
        out = node.attr("output_height", 1), node.attr("output_width", 1)
        return [TensorType(x.dtype, (rois.shape[0], x.shape[1], *out))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, rois: np.ndarray, batch: np.ndarray) -> np.ndarray:
        bins = node.attr("output_height", 1), node.attr("output_width", 1)
        default = "half_pixel" if node.version >= 16 else "output_half_pixel"
        half_pixel = node.attr("coordinate_transformation_mode", default) == "half_pixel"
        y = np.zeros((len(rois), x.shape[1], *bins), accumulator(x.dtype))
        for index, (x1, y1, x2, y2) in enumerate(rois.astype(np.float64) * node.attr("spatial_scale", 1.0)):
            shift = 0.5 if half_pixel else 0.0
            lengths = (y2 - y1, x2 - x1)
            if not half_pixel:
                lengths = max(lengths[0], 1.0), max(lengths[1], 1.0)
            ratio = node.attr("sampling_ratio", 0)
            samples = [_samples(length, count, ratio) for length, count in zip(lengths, bins, strict=True)]
            # four corners of each, in float64, twice: the region may be of any size
            points = prod(bins) * prod(max(count, 1) for count in samples)
            bounds.require(2 * 4 * 8 * x.shape[1] * points, f"{node.label}: region {index}")
            rows, row_weights = _axis(y1 - shift, lengths[0], bins[0], samples=samples[0], extent=x.shape[2])
            columns, column_weights = _axis(x1 - shift, lengths[1], bins[1], samples=samples[1], extent=x.shape[3])
            # [C, bins, samples, 2, bins, samples, 2]
            corners = x[batch[index]][:, rows[..., None, None, None], columns]
            products = corners * row_weights[..., None, None, None] * column_weights
            if products.size == 0:
                continue  # a region turned inside out has no sample points
            if node.attr("mode", "avg") == "max":
                y[index] = products.max(axis=(2, 3, 5, 6))
            else:
                y[index] = products.sum(axis=(2, 3, 5, 6)) / (rows.shape[1] * columns.shape[1])
        return y.astype(x.dtype, copy=False)
