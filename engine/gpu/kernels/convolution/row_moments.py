"""Moments of the rows of a product, written by its kernel for the product behind a LayerNormalization of it.

They are mean and sum of squared distances from it of each share of a row's channels, those of a tile: float32
``[blocks of BLOCK rows, shares, BLOCK, 2]``. Rows lie side by side, as the invocations that write and read them do.
The numbers are those that are stored, so that mean and row agree. No squares are subtracted, which would cancel.
"""

from __future__ import annotations

from typing import Any

from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.normalized import product_behind
from engine.gpu.kernels.convolution.pooled import MAX_BUFFERS
from engine.gpu.lowering.epilogue import Epilogue
from engine.gpu.lowering.lowering import Lowering, RowMoments
from engine.gpu.program.dispatch import Operand, Span
from engine.graph.ir import Node

BLOCK = 64
"""Rows whose moments of a share lie side by side."""

LEAST_CHANNELS = 768
"""Channels of a row from which moments are worth it. In Swin-L on an H200 the kernels that write and read them lost
some 50 µs more with rows of 192 than they saved, and with rows of 384 about as much as they saved."""


def moments_output(
    layer: Layer, lowering: Lowering, last: Node, epilogue: Epilogue, *, width: int, lanes: int, reads: int
) -> tuple[list[Operand], dict[str, Any]]:
    """What the dispatch of a layer writes, and its parameters, for moments of its rows: where a product takes a
    LayerNormalization of ``last``, the layer's output.

    The dispatch has tiles of ``width`` channels, and ``lanes`` neighbouring invocations with four channels each of one
    row; 0 where it cannot take moments. It reads ``reads`` tensors beside those of its epilogue.
    """
    value = last.output
    bound = reads + len(epilogue.reads) + len(epilogue.writes) + 1
    if (
        not lanes
        or layer.node.op != "MatMul"
        or layer.outputs < LEAST_CHANNELS
        or layer.outputs % (4 * lanes)
        or not epilogue.params["vector"]
        or bound > MAX_BUFFERS
        or not any(
            node.op == "LayerNormalization" and product_behind(node, lowering) is not None
            for node in lowering.consumers.get(value, ())
        )
    ):
        return [], {"moment_lanes": 0}
    blocks, shares = -(-layer.pixels // BLOCK), -(-layer.outputs // width)
    tensor = lowering.scratch((blocks, shares, BLOCK, 2), "f32", f"{value.name}:moments")
    lowering.row_moments[value] = RowMoments(tensor, width)
    params = {"moment_lanes": lanes, "stored": f"vec4<{epilogue.writes[0].tensor.dtype}>"}
    return [Operand("y_moments", tensor, _span(shares), 2)], params


def moments_input(moments: RowMoments | None) -> tuple[list[Operand], dict[str, int]]:
    """What a dispatch reads, and its uniforms, for ``moments`` of the rows of its input, where they are at hand."""
    if moments is None:
        return [], {}
    shares = moments.tensor.shape[1]
    uniforms = {"x_shares": shares, "x_share": moments.channels}
    return [Operand("x_moments", moments.tensor, _span(shares), 2)], uniforms


def _span(shares: int) -> Span:
    row = shares * 2

    def span(first: int, last: int) -> tuple[int, int]:
        return first // BLOCK * BLOCK * row, -(-last // BLOCK) * BLOCK * row

    return span
