"""DeformConv: in two dimensions an implicit matrix product whose loader moves the taps (conv.wgsl).

What conv.wgsl does not take (other numbers of axes, several groups of offsets, channels that are no multiple of four,
weights that only a run knows, images that no binding holds) is gathered first (deform_columns.wgsl), then multiplied.
The columns of one image are made for some window positions of the first spatial axis at a time, so that they never
take more than COLUMN_BYTES; every part is multiplied before the next one takes its place.
"""

from __future__ import annotations

from math import prod

import numpy as np

from engine.gpu.dispatch import INVOCATIONS, Dispatch, Operand, linear_grid
from engine.gpu.kernels.conv import Layer, emit_tiled, fits_tiles
from engine.gpu.kernels.elementwise import Read, Tree, copy
from engine.gpu.kernels.epilogue import PRODUCTS, lower_product
from engine.gpu.kernels.grid_sample import sampler
from engine.gpu.kernels.product import multiply
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Slot, Tensor, channels_last, strides_of
from engine.graph.ir import Node
from engine.ops.conv import conv_window
from engine.ops.window import Window

COLUMN_BYTES = 32 << 20
"""What the columns take at the most, unless one position of the first axis takes more."""


@lowers("DeformConv")
def lower_deform_conv(node: Node, low: Lowering) -> None:
    if _is_tiled(node, low):
        lower_product(node, low)
    else:
        _lower_by_columns(node, low)


def _is_tiled(node: Node, low: Lowering) -> bool:
    x, w = node.input(0), node.input(1)
    return (
        w.is_constant
        and len(x.shape) == 4
        and node.attr("offset_group", 1) == 1
        and w.shape[1] % 4 == 0
        and node.output.type.size > 0
        and fits_tiles(w.shape[0], node.attr("group", 1))
        and x.type.nbytes <= low.binding_limit
    )


def _emit(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    emit_tiled(Layer.of(node, low), low, tree, last)


PRODUCTS["", "DeformConv"] = _emit, 5


def _lower_by_columns(node: Node, low: Lowering) -> None:
    x, offset, bias, mask = low.input(node, 0), low.input(node, 2), low.optional(node, 3), low.optional(node, 4)
    groups, window = node.attr("group", 1), conv_window(node, node.input(0).shape, node.input(1).shape)
    w = _weights(node, low, groups)
    channels, outputs = x.shape[1] // groups, w.shape[2]
    read = [tensor for tensor in (x, w, offset, bias, mask) if tensor is not None]
    place = low.output(node, order=channels_last(x.rank), reads=read)
    images = _by_image(place, groups)
    y = place if images is not None else low.scratch(place.shape, place.dtype, "deformed", channels_last(x.rank))
    row = groups * prod(window.out[1:]) * window.taps * channels
    most = max(1, min(COLUMN_BYTES, low.binding_limit) // (4 * row))
    slot = Slot(4 * row * min(most, window.out[0]), f"{node.output.name}:columns")
    reads: list[Read] = []
    if bias is not None:
        reads = [("bias", low.reshaped(bias, (groups, 1, outputs)), node.output.dtype)]
    for image in range(x.shape[0]):
        for first in range(0, window.out[0], most):
            count = min(most, window.out[0] - first)
            shape = groups, count * prod(window.out[1:]), window.taps * channels
            columns = Tensor(slot, "f32", shape, strides_of(shape))
            parts = [_part(tensor, image, first, count) for tensor in (offset, mask) if tensor is not None]
            low.dispatch(_columns(node, x.slice(0, image, 1), parts, columns, window, first, count))
            target = _by_image(_part(y, image, first, count), groups)
            assert target is not None
            prelude = ("let root = raw + bias;",) if reads else ("let root = raw;",)
            multiply(low, columns, w, target, np.dtype(np.float32), reads=reads, prelude=prelude)
    if y is not place:
        copy(y, place, low)


def _part(tensor: Tensor, image: int, first: int, count: int) -> Tensor:
    """Window positions ``first`` to before ``first + count`` of the first spatial axis, of one image."""
    return tensor.slice(0, image, 1).slice(2, first, count)


def _by_image(y: Tensor, groups: int) -> Tensor | None:
    """One image of y ``[N, M, *out]`` as ``[groups, positions, M / groups]``; None where positions lie unevenly."""
    channels = y.shape[1] // groups
    view = y.slice(0, 0, 1).reshape((groups, channels, prod(y.shape[2:])))
    return None if view is None else view.transpose((0, 2, 1))


def _weights(node: Node, low: Lowering, groups: int) -> Tensor:
    """The weights as ``[groups, taps * channels of a group, M / groups]``, the channels innermost in the columns."""
    value = node.input(1)
    outputs, channels, *kernel = value.shape
    split = groups, outputs // groups, channels, prod(kernel)
    shape = groups, prod(kernel) * channels, outputs // groups
    if value.data is not None:
        packed = value.data.reshape(split).transpose(0, 3, 2, 1).reshape(shape)
        return low.constant(packed, f"{value.name}:packed")
    return low.reshaped(low.reshaped(low.tensor(value), split).transpose((0, 3, 2, 1)), shape)


def _columns(
    node: Node, x: Tensor, moves: list[Tensor], columns: Tensor, window: Window, first: int, count: int
) -> Dispatch:
    offset, *mask = moves
    groups, positions, inner = columns.shape
    return Dispatch(
        kernel="deform_columns",
        params={
            **sampler(x.shape[2:], x.strides[2:]),
            "out": window.out,
            "kernel": window.kernel,
            "strides": window.strides,
            "dilations": window.dilations,
            "begin": window.begin,
            "taps": window.taps,
            "channels": x.shape[1] // groups,
            "offset_channels": x.shape[1] // node.attr("offset_group", 1),
            "channel_step": x.strides[1],
            "offset_strides": offset.strides,
            "mask_strides": mask[0].strides if mask else (),
            "invocations": INVOCATIONS,
        },
        reads=[Operand("x", x), Operand("offset", offset), *(Operand("mask", tensor) for tensor in mask)],
        writes=[Operand("y", columns)],
        rows=groups * positions,
        grid=linear_grid(inner),
        uniforms={"first_out": first, "count_out": count},
    )
