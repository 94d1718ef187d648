"""Moments of the rows of a product, written by its kernel for the product behind a LayerNormalization of it.

They are mean and sum of squared distances from it of each share of a row's channels, float32 ``[blocks of BLOCK rows,
shares, BLOCK, 2]``: rows lie side by side, as the invocations that read them do. They are of the numbers as they are
stored, so that mean and row agree, and never a difference of squares, which would cancel.
"""

from __future__ import annotations

from typing import Any

from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.normalized import product_behind
from engine.gpu.kernels.convolution.pooled import MAX_BUFFERS
from engine.gpu.lowering.epilogue import Epilogue
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.dispatch import Operand, Span
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node

BLOCK = 64
"""Rows whose moments of a share lie side by side."""


def moments_output(
    layer: Layer, lowering: Lowering, last: Node, epilogue: Epilogue, *, lanes: int, reads: int
) -> tuple[list[Operand], dict[str, Any]]:
    """What the dispatch of a layer writes, and its parameters, for moments of its rows: where a product takes a
    LayerNormalization of ``last``, the layer's output.

    ``lanes`` is how many invocations have a share, four channels each; 0 where the kernel has none. It reads ``reads``
    tensors beside those of its epilogue.
    """
    value, share = last.output, 4 * lanes
    bound = reads + len(epilogue.reads) + len(epilogue.writes) + 1
    if (
        not lanes
        or layer.node.op != "MatMul"
        or layer.outputs % share
        or not epilogue.params["vector"]
        or bound > MAX_BUFFERS
        or not any(
            node.op == "LayerNormalization" and product_behind(node, lowering) is not None
            for node in lowering.consumers.get(value, ())
        )
    ):
        return [], {"moment_lanes": 0}
    shares, blocks = layer.outputs // share, -(-layer.pixels // BLOCK)
    moments = lowering.scratch((blocks, shares, BLOCK, 2), "f32", f"{value.name}:moments")
    lowering.row_moments[value] = moments
    params = {"moment_lanes": lanes, "stored": f"vec4<{epilogue.writes[0].tensor.dtype}>"}
    return [Operand("y_moments", moments, _span(shares), 2)], params


def moments_input(moments: Tensor | None) -> tuple[list[Operand], dict[str, int]]:
    """What a dispatch reads, and its uniforms, for ``moments`` of the rows of its input, where they are at hand."""
    if moments is None:
        return [], {}
    shares = moments.shape[1]
    return [Operand("x_moments", moments, _span(shares), 2)], {"x_shares": shares}


def _span(shares: int) -> Span:
    row = shares * 2

    def span(first: int, last: int) -> tuple[int, int]:
        return first // BLOCK * BLOCK * row, -(-last // BLOCK) * BLOCK * row

    return span
