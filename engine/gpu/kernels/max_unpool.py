"""Host of max_unpool.wgsl: zeros, with what MaxPool chose put back where it stood."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.gpu.dispatch import Dispatch
from engine.gpu.kernels.addressing import Walk, address, value_of
from engine.gpu.kernels.elementwise import copy
from engine.gpu.lowering import Lowering, lowers
from engine.graph.ir import Node
from engine.ops.max_unpool import unpooled_shape


@lowers("MaxUnpool")
def lower_max_unpool(node: Node, low: Lowering) -> None:
    x, indices = low.input(node, 0), low.input(node, 1)
    shape = unpooled_shape(node, x.shape)
    zero = low.constant(np.zeros((), node.output.dtype), "zero")
    y = low.output(node, order=x.order(), reads=[x, indices, zero])
    copy(zero.broadcast_to(y.shape), y, low)
    walk = Walk(x)
    low.dispatch(
        Dispatch(
            kernel="max_unpool",
            params={
                **walk.params(),
                "shape": shape,
                "size": prod(shape),
                "extents": y.shape,
                "y_strides": y.strides,
                "chosen": address("indices", indices, walk.positions),
                "source": value_of("x", x, walk.positions),
                "item": y.dtype,
            },
            reads=[walk.operand("x", x, walk.outer), walk.operand("indices", indices, walk.outer)],
            writes=[walk.operand("y", y)],
            rows=walk.rows,
            grid=walk.grid,
        )
    )
