"""MatMul with a constant matrix as a 1x1 convolution by conv.wgsl, of which each row is a pixel."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.caps import Caps
from engine.gpu.kernels.convolution.layer import Layer, fits_tiles
from engine.gpu.kernels.convolution.normalized import Normalization, waiting_normalization
from engine.gpu.kernels.convolution.table import CONVOLUTION
from engine.gpu.lowering.epilogue import pixel_stride
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.tensor import ITEM_BYTES, Tensor
from engine.graph.ir import Node
from engine.ops.window import Window

MIN_EXTENT = 16
"""Rows, columns and summands at the least, so that they fill a tile well enough."""

TILE_MULTIPLES = 32, 128
"""The numbers of rows and columns of the packed matrix are multiples of these, or of divisors of them."""


def takes_linear(node: Node, caps: Caps) -> bool:
    """Whether the kernel of convolutions can compute the product: floats times one constant matrix that it binds."""
    x, w = node.input(0), node.input(1)
    if node.op != "MatMul" or not w.is_constant or len(w.shape) != 2 or len(x.shape) < 2:
        return False
    # without matrix units, which are worth the room, bytes in blocks stay such: matmul.wgsl widens them
    if w.quantized is not None and w.quantized.block and caps.matrix_units is None:
        return False
    packed_size = prod(
        -(-extent // multiple) * multiple for extent, multiple in zip(w.shape, TILE_MULTIPLES, strict=False)
    )
    return (
        node.output.dtype in (np.float32, np.float16)
        and min(node.output.type.size, w.type.size) > 0
        and fits_tiles(w.shape[1])
        and packed_size * ITEM_BYTES["f32"] <= caps.binding_limit
    )


def fills_tiles(node: Node) -> bool:
    """Whether rows, columns and summands are enough for a tile."""
    return min(prod(node.input(0).shape[:-1]), *node.input(1).shape) >= MIN_EXTENT


def emit_linear(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    """Add the product with the element-wise chain up to ``last`` in its epilogue.

    A LayerNormalization that waits for it becomes part of it where the row can compute it.
    """
    normalization = waiting_normalization(node.input(0), lowering, len(tree.leaves))
    layer = _layer(node, lowering, normalization)
    row = lowering.choose(CONVOLUTION, layer)
    if normalization is not None:
        if row.normalizes(layer, lowering.caps):
            lowering.joined[lowering.pop_waiting(node.input(0))] = node
        else:
            layer = _layer(node, lowering, None)
    row.emit(layer, lowering, tree, last)


def _layer(node: Node, lowering: Lowering, normalization: Normalization | None) -> Layer:
    """The product as a convolution of its left operand, or of what ``normalization`` makes that of."""
    x = lowering.input(node, 0) if normalization is None else lowering.tensor(normalization.x)
    *rows, channels = x.shape
    by_pixel = x.transpose((0, x.rank - 1, *range(1, x.rank - 1)))
    if pixel_stride(by_pixel) is None:
        x = lowering.dense_copy(x)
        by_pixel = x.transpose((0, x.rank - 1, *range(1, x.rank - 1)))
    count, stride = prod(rows), pixel_stride(by_pixel) or 0
    # pixels of one column, since the plan cuts whole rows of pixels where a binding is too small for all of them
    column = Tensor(x.slot, x.dtype, (1, channels, count, 1), strides=(0, x.strides[-1], stride, 0), offset=x.offset)
    window = Window(kernel=(1, 1), strides=(1, 1), dilations=(1, 1), begin=(0, 0), end=(0, 0), out=(count, 1))
    outputs = node.input(1).shape[1]
    return Layer(
        node=node,
        x=column,
        window=window,
        outputs=outputs,
        groups=1,
        integer=False,
        prelude=("let root = raw;",),
        channel_vectors={},
        zero=None,
        weight_type=lowering.weight_storage(node.input(1)),
        has_extremes=lowering.has_extremes,
        deform_inputs={},
        channel_axis=len(node.output.shape) - 1,
        normalization=normalization,
    )
