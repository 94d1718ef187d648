"""DeformConv: in two dimensions an implicit matrix product whose loader moves the taps (conv.wgsl).

What conv.wgsl does not compute (other numbers of axes, several groups of offsets, channels that are no multiple of
four, weights that are no constants, images that no binding holds) is gathered into columns (deform_columns.wgsl), which
are then multiplied. One dispatch gathers some window positions of the first spatial axis of one image, so that columns
never take more than COLUMN_BYTES. Each part is multiplied before the next one overwrites it.
"""

from __future__ import annotations

from math import prod

import numpy as np

from engine.caps import Caps
from engine.gpu.kernels.convolution.conv import emit_layer
from engine.gpu.kernels.convolution.layer import Layer, fits_tiles
from engine.gpu.kernels.product.product import multiply
from engine.gpu.kernels.sampling.grid_sample import sampler
from engine.gpu.lowering.fusion import lower_product
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.lowering.table import Implementation, Table, always
from engine.gpu.program.chain import ChainInput, Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, linear_grid
from engine.gpu.program.tensor import Slot, Tensor, channels_last, strides_of
from engine.graph.ir import Node
from engine.ops.conv import conv_window
from engine.ops.window import Window

COLUMN_BYTES = 32 << 20
"""Bytes of the columns at the most, unless one position of the first axis takes more."""


def takes_moved_taps(node: Node, caps: Caps) -> bool:
    """Whether conv.wgsl computes a DeformConv, or what a quantised file has in its place."""
    x, w = node.input(0), node.input(1)
    return (
        w.is_constant
        and len(x.shape) == 4
        and node.attr("offset_group", 1) == 1
        and w.shape[1] % 4 == 0
        and node.output.type.size > 0
        and fits_tiles(w.shape[0], node.attr("group", 1))
        and x.type.nbytes <= caps.binding_limit
    )


def _emit(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    emit_layer(Layer.of(node, lowering), lowering, tree, last)


def _lower_by_moved_taps(node: Node, lowering: Lowering) -> None:
    # on matrix units it reads the scales of its sums, too
    lower_product(node, lowering, _emit, reads=len(list(node.used_inputs())) + 1)


def _lower_by_columns(node: Node, lowering: Lowering) -> None:
    x, offset = lowering.input(node, 0), lowering.input(node, 2)
    bias, mask = lowering.optional(node, 3), lowering.optional(node, 4)
    groups, window = node.attr("group", 1), conv_window(node, node.input(0).shape, node.input(1).shape)
    w = _weights(node, lowering, groups)
    channels, outputs = x.shape[1] // groups, w.shape[2]
    inputs = [tensor for tensor in (x, w, offset, bias, mask) if tensor is not None]
    output = lowering.output(node, order=channels_last(x.rank), reads=inputs)
    y = output
    if _image_matrices(output, groups) is None:
        y = lowering.scratch(output.shape, output.dtype, "deformed", channels_last(x.rank))
    row = groups * prod(window.out[1:]) * window.taps * channels
    max_positions = max(1, min(COLUMN_BYTES, lowering.binding_limit) // (4 * row))
    slot = Slot(4 * row * min(max_positions, window.out[0]), f"{node.output.name}:columns")
    reads: list[ChainInput] = []
    if bias is not None:
        reads = [("bias", lowering.reshape(bias, (groups, 1, outputs)), node.output.dtype)]
    for image in range(x.shape[0]):
        for first in range(0, window.out[0], max_positions):
            count = min(max_positions, window.out[0] - first)
            shape = groups, count * prod(window.out[1:]), window.taps * channels
            columns = Tensor(slot, "f32", shape, strides_of(shape))
            deform_inputs = [
                _window_slice(tensor, image, first, count) for tensor in (offset, mask) if tensor is not None
            ]
            lowering.dispatch(
                _columns(
                    node,
                    x.slice(0, image, 1),
                    deform_inputs=deform_inputs,
                    columns=columns,
                    window=window,
                    first=first,
                    count=count,
                    keeps_nan=lowering.keeps_nan,
                )
            )
            target = _image_matrices(_window_slice(y, image, first, count), groups)
            assert target is not None
            prelude = ("let root = raw + bias;",) if reads else ("let root = raw;",)
            multiply(lowering, columns, w, target, dtype=np.dtype(np.float32), reads=reads, prelude=prelude)
    if y is not output:
        lowering.copy(y, output)


def _window_slice(tensor: Tensor, image: int, first: int, count: int) -> Tensor:
    """``count`` window positions from ``first`` on, of the first spatial axis of one image."""
    return tensor.slice(0, image, 1).slice(2, first, count)


def _image_matrices(y: Tensor, groups: int) -> Tensor | None:
    """One image of y ``[N, M, *out]`` as ``[groups, positions, M / groups]``; None where no strides express it."""
    channels = y.shape[1] // groups
    view = y.slice(0, 0, 1).reshape((groups, channels, prod(y.shape[2:])))
    return None if view is None else view.transpose((0, 2, 1))


def _weights(node: Node, lowering: Lowering, groups: int) -> Tensor:
    """The weights as ``[groups, taps * channels of a group, M / groups]``, channels innermost as in the columns."""
    value = node.input(1)
    outputs, channels, *kernel = value.shape
    split_shape = groups, outputs // groups, channels, prod(kernel)
    shape = groups, prod(kernel) * channels, outputs // groups
    if value.data is not None:
        data = value.data
        return lowering.derived_constant(
            value,
            f"columns of {groups}",
            lambda: data.reshape(split_shape).transpose(0, 3, 2, 1).reshape(shape),
            lowering.weight_storage(value),
        )
    return lowering.reshape(lowering.reshape(lowering.tensor(value), split_shape).transpose((0, 3, 2, 1)), shape)


def _columns(
    node: Node,
    x: Tensor,
    deform_inputs: list[Tensor],
    columns: Tensor,
    window: Window,
    first: int,
    count: int,
    keeps_nan: bool,
) -> Dispatch:
    offset, *mask = deform_inputs
    groups, positions, inner = columns.shape
    return Dispatch(
        kernel="deform_columns",
        params={
            **sampler(x.shape[2:], x.strides[2:], keeps_nan=keeps_nan),
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


def _key(node: Node) -> str:
    shapes = ["x".join(map(str, value.shape)) for value in (node.input(0), node.input(1), node.output)]
    return f"{node.input(0).dtype.name} x{shapes[0]} w{shapes[1]} y{shapes[2]} g{node.attr('group', 1)}"


DEFORMABLE_CONVOLUTION: Table[Node] = Table(
    "deformable-convolution",
    (
        Implementation(
            "moved-taps",
            "A convolution whose loader reads between pixels writes no columns, and takes an epilogue.",
            supports=takes_moved_taps,
            emit=_lower_by_moved_taps,
        ),
        Implementation(
            "columns",
            "Other axes, several groups of offsets and weights of the run have no loader: columns, then a product.",
            supports=always,
            emit=_lower_by_columns,
        ),
    ),
    _key,
)


@lowers("DeformConv")
def lower_deform_conv(node: Node, lowering: Lowering) -> None:
    lowering.choose(DEFORMABLE_CONVOLUTION, node).emit(node, lowering)
