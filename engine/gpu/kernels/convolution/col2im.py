"""Col2Im, the host of col2im.wgsl: the sum of columns of window contents, as an image."""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.product.product import KINDS
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.expressions import wrap
from engine.graph.ir import Node
from engine.ops.arguments import static_ints
from engine.ops.window import resolve


@lowers("Col2Im")
def lower_col2im(node: Node, lowering: Lowering) -> None:
    x, window = lowering.input(node, 0), resolve(node, static_ints(node, 1), static_ints(node, 2))
    y = lowering.output(node, reads=[x])
    elements, rank, boolean = ElementGrid(y), y.rank - 2, node.output.dtype == np.bool_
    image, channel, *positions = elements.positions
    channels = f"{channel} * {window.taps * x.strides[1]}"
    lowering.dispatch(
        elements.dispatch(
            "col2im",
            params={
                "rank": rank,
                "origin": f"params.base_x + {image} * {x.strides[0]} + {channels}",
                "positions": positions,
                "kernel": window.kernel,
                "strides": window.strides,
                "dilations": window.dilations,
                "begin": window.begin,
                "windows": window.out,
                "x_strides": x.strides,
                "kind": "u32" if boolean else KINDS[node.output.dtype.kind],
                # as in NumPy, the sum of booleans is whether one of them is true
                "result": "min(sum, 1u)" if boolean else wrap("sum", node.output.dtype),
            },
            reads=[elements.mapped_operand("x", x, [0, None, None])],
            flops=x.size,
        )
    )
