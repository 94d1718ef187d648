"""A MaxPool of squares of two pixels, written by the kernel of the convolution that it reads.

The pixels are then still in registers, so that nothing reads the convolution's output for it.
"""

from __future__ import annotations

from engine.gpu.lowering.lowering import Lowering
from engine.graph.ir import Node, Value
from engine.ops.pool import pool_window


def pooling_reader(value: Value, lowering: Lowering) -> Node | None:
    """The MaxPool of 2x2 pixels that reads ``value``, ``[N, C, H, W]``, where a kernel can write its output too.

    A window may reach over the far edges, as with ceil_mode: it begins on the picture. None where indices are read, or
    where a Concat joins the output, which may have other strides.
    """
    for node in lowering.consumers.get(value, ()):
        if node.op != "MaxPool" or node.domain or len(value.shape) != 4 or value.dtype.kind != "f":
            continue
        window = pool_window(node, value.shape)
        squares = window.kernel == window.strides == (2, 2) and window.dilations == (1, 1) and window.begin == (0, 0)
        begins_inside = all(2 * count - 2 < extent for count, extent in zip(window.out, value.shape[2:], strict=True))
        if squares and begins_inside and not lowering.is_read(node, 1) and not lowering.concats.joins(node.output):
            return node
    return None
