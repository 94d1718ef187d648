"""A MaxPool of squares of two pixels, written by the kernel of the convolution that it reads.

The pixels are then still in registers, so that nothing reads the convolution's output for it.
"""

from __future__ import annotations

from typing import Any

from engine.gpu.lowering.epilogue import Epilogue
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.dispatch import Operand
from engine.gpu.program.expressions import functions_in
from engine.gpu.program.tensor import channels_last
from engine.graph.ir import Node, Value
from engine.ops.pool import pool_window

MAX_BUFFERS = 8
"""Tensors that a dispatch binds on every adapter."""


def pooling_reader(value: Value, lowering: Lowering, epilogue: Epilogue, reads: int) -> Node | None:
    """The MaxPool of 2x2 pixels that reads ``value``, ``[N, C, H, W]``, where a kernel can write its output too.

    The kernel reads ``reads`` tensors beside those of its epilogue, which has four channels at a time.

    A window may reach over the far edges, as with ceil_mode: it begins on the picture. None where indices are read, or
    where a Concat joins the output, which may have other strides.
    """
    bound = reads + len(epilogue.reads) + len(epilogue.writes) + 1
    if not epilogue.params["vector"] or bound > MAX_BUFFERS:
        return None
    for node in lowering.consumers.get(value, ()):
        if node.op != "MaxPool" or node.domain or len(value.shape) != 4 or value.dtype.kind != "f":
            continue
        window = pool_window(node, value.shape)
        squares = window.kernel == window.strides == (2, 2) and window.dilations == (1, 1) and window.begin == (0, 0)
        begins_inside = all(2 * count - 2 < extent for count, extent in zip(window.out, value.shape[2:], strict=True))
        if squares and begins_inside and not lowering.is_read(node, 1) and not lowering.concats.joins(node.output):
            return node
    return None


def pooled_output(
    pooling: Node | None, node: Node, lowering: Lowering, epilogue: Epilogue, *, lines: int, height: int
) -> tuple[list[Operand], dict[str, Any], dict[str, int]]:
    """What the dispatch of ``node`` writes, and its parameters and uniforms, to write the output of ``pooling``, too.

    Rows of the dispatch are lines of tiles, ``lines`` an image, each ``height`` pixels high: an even number.
    """
    if pooling is None:
        return [], {"pooled": ""}, {}
    y = lowering.output(pooling, order=channels_last(4))
    lowering.joined[pooling] = node
    _, channels, pooled_height, width = y.shape

    def begin(line: int) -> int:
        row = min(line % lines * height // 2, pooled_height)
        return (line // lines * pooled_height + row) * width * channels

    functions = functions_in(["larger()"])
    names = [*functions, *(name for name in epilogue.params["functions"] if name not in functions)]
    stored = f"vec4<{epilogue.writes[0].tensor.dtype}>"
    params = {"pooled": f"vec4<{y.dtype}>", "stored": stored, "functions": names}
    uniforms = {"pooled_height": pooled_height, "pooled_width": width, "channels_out": channels}
    return [Operand("pooled", y, lambda first, last: (begin(first), begin(last)), 4)], params, uniforms
