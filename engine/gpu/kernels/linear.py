"""MatMul with a matrix that is known at load, as a 1x1 convolution of as many pixels as there are rows (conv.wgsl)."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.gpu.kernels.conv import Layer, emit_tiled, fits_tiles
from engine.gpu.kernels.elementwise import Tree
from engine.gpu.kernels.epilogue import pixel_stride
from engine.gpu.lowering import Lowering
from engine.gpu.tensor import ITEM_BYTES, Tensor
from engine.graph.ir import Node
from engine.ops.window import Window

FEWEST = 16
"""Rows, columns and summands that fill a tile well enough."""

PADDED = 32, 128
"""What rows and columns of the packed matrix are multiples of, at the most."""


def is_linear(node: Node, low: Lowering) -> bool:
    """Whether the convolution's kernel takes the product; it binds the matrix whole."""
    x, w = node.input(0), node.input(1)
    packed = prod(-(-extent // to) * to for extent, to in zip(w.shape, PADDED, strict=False))
    return (
        w.is_constant
        and len(w.shape) == 2
        and len(x.shape) >= 2
        and node.output.dtype in (np.float32, np.float16)
        and min(prod(x.shape[:-1]), *w.shape) >= FEWEST
        and fits_tiles(w.shape[1])
        and packed * ITEM_BYTES["f32"] <= low.binding_limit
    )


def emit_linear(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    """Add the product with the element-wise chain up to ``last`` in its epilogue."""
    x = low.input(node, 0)
    *rows, channels = x.shape
    by_pixel = x.transpose((0, x.rank - 1, *range(1, x.rank - 1)))
    if pixel_stride(by_pixel) is None:
        x = low.copied(x)
        by_pixel = x.transpose((0, x.rank - 1, *range(1, x.rank - 1)))
    count, stride = prod(rows), pixel_stride(by_pixel) or 0
    # rows of one column, since a binding too small for all of them is cut by rows
    column = Tensor(x.slot, x.dtype, (1, channels, count, 1), (0, x.strides[-1], stride, 0), x.offset)
    window = Window((1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (count, 1))
    outputs = node.input(1).shape[1]
    layer = Layer(
        node=node,
        x=column,
        window=window,
        outputs=outputs,
        groups=1,
        integer=False,
        prelude=("let root = raw;",),
        own={},
        zero=None,
        moves={},
        channel_axis=len(node.output.shape) - 1,
    )
    emit_tiled(layer, low, tree, last)
