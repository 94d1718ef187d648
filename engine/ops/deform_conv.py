"""DeformConv (ONNX versions 19, 22): a convolution whose taps are moved by offsets and scaled by a mask.

arXiv:1703.06211 and arXiv:1811.11168. x is ``[N, C, *spatial]``, w ``[M, C/group, *kernel]``, the offsets
``[N, offset_group * taps * rank, *out]`` in input positions, one for each axis in order, the mask
``[N, offset_group * taps, *out]``. Outside the input lie zeros.
"""

from __future__ import annotations

from math import prod

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.conv import conv_window
from engine.ops.grid_sample import sample
from engine.ops.registry import operator
from engine.ops.types import accumulator
from engine.ops.window import Window


def deform_columns(x: np.ndarray, offset: np.ndarray, mask: np.ndarray | None, groups: int, w: Window) -> np.ndarray:
    """The input under each moved tap, ``[N, C, taps, positions]``, in the dtype of ``x``."""
    count, channels = x.shape[:2]
    rank = len(w.kernel)
    taps = np.indices(w.kernel).reshape(rank, -1, 1) * np.reshape(w.dilations, (rank, 1, 1))
    starts = np.indices(w.out).reshape(rank, 1, -1) * np.reshape(w.strides, (rank, 1, 1))
    regular = taps + starts - np.reshape(w.begin, (rank, 1, 1))
    offsets = offset.reshape(count * groups, w.taps, rank, -1).swapaxes(1, 2)
    positions = (regular + offsets.astype(x.dtype, copy=False)).reshape(count * groups, rank, -1)
    columns = sample(x.reshape(count * groups, channels // groups, *x.shape[2:]), positions.astype(x.dtype, copy=False))
    columns = columns.reshape(count, groups, channels // groups, w.taps, -1)
    if mask is not None:
        columns *= mask.astype(x.dtype, copy=False).reshape(count, groups, 1, w.taps, -1)
    return columns.reshape(count, channels, w.taps, -1)


@operator("DeformConv", since=19)
class DeformConv:
    """y = w * (x at the moved taps, times the mask) + b; float16 is summed in float32."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, w, offset = node.input(0), node.input(1), node.input(2)
        window = conv_window(node, x.shape, w.shape)
        groups, rank = node.attr("offset_group", 1), len(window.kernel)
        offset_shape = (x.shape[0], groups * window.taps * rank, *window.out)
        mask = node.optional_input(4)
        if offset.shape != offset_shape or x.shape[1] % groups:
            raise ValueError(f"offsets are of shape {list(offset.shape)}, not {list(offset_shape)}")
        if mask is not None and mask.shape != (x.shape[0], groups * window.taps, *window.out):
            raise ValueError(f"mask is of shape {list(mask.shape)}")
        return [TensorType(x.dtype, (x.shape[0], w.shape[0], *window.out))]

    @staticmethod
    def workspace(node: Node) -> int:
        x = node.input(0)
        window = conv_window(node, x.shape, node.input(1).shape)
        # the columns, and one corner's share of them
        return 2 * prod(x.shape[:2]) * window.taps * prod(window.out) * accumulator(x.dtype).itemsize

    @staticmethod
    def reference(
        node: Node,
        x: np.ndarray,
        w: np.ndarray,
        offset: np.ndarray,
        b: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        wide_dtype = accumulator(x.dtype)
        window = conv_window(node, x.shape, w.shape)
        group = node.attr("group", 1)
        columns = deform_columns(
            x.astype(wide_dtype, copy=False), offset, mask, groups=node.attr("offset_group", 1), w=window
        )
        columns = columns.reshape(x.shape[0], group, w.shape[1] * window.taps, -1)
        y = np.matmul(w.astype(wide_dtype, copy=False).reshape(group, w.shape[0] // group, -1), columns)
        y = y.reshape(x.shape[0], w.shape[0], *window.out)
        if b is not None:
            y += b.astype(wide_dtype, copy=False).reshape(-1, *(1,) * (x.ndim - 2))
        return y.astype(x.dtype, copy=False)
