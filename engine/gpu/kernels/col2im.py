"""Host of col2im.wgsl: columns of window contents added up into an image."""

from __future__ import annotations

import numpy as np

from engine.gpu.dispatch import Dispatch
from engine.gpu.kernels.addressing import Walk, address
from engine.gpu.kernels.expressions import wrapped
from engine.gpu.kernels.product import KINDS
from engine.gpu.lowering import Lowering, lowers
from engine.graph.ir import Node
from engine.ops.arguments import static_ints
from engine.ops.window import resolve


@lowers("Col2Im")
def lower_col2im(node: Node, low: Lowering) -> None:
    x, window = low.input(node, 0), resolve(node, static_ints(node, 1), static_ints(node, 2))
    y = low.output(node, reads=[x])
    walk, rank, boolean = Walk(y), y.rank - 2, node.output.dtype == np.bool_
    image, channel, *positions = walk.positions
    channels = f"{channel} * {window.taps * x.strides[1]}"
    low.dispatch(
        Dispatch(
            kernel="col2im",
            params={
                **walk.params(),
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
                # as NumPy adds them, the sum of booleans is whether one holds
                "result": "min(sum, 1u)" if boolean else wrapped("sum", node.output.dtype),
                "target": address("y", y, walk.positions),
                "item": y.dtype,
            },
            reads=[walk.shared("x", x, [0, None, None])],
            writes=[walk.target()],
            rows=walk.rows,
            grid=walk.grid,
            flops=x.size,
        )
    )
