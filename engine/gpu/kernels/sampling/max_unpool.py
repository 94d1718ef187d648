"""MaxUnpool, the host of max_unpool.wgsl: zeros, with the elements of a MaxPool at the positions they came from."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.dispatch import Dispatch
from engine.graph.ir import Node
from engine.ops.max_unpool import unpooled_shape


@lowers("MaxUnpool")
def lower_max_unpool(node: Node, lowering: Lowering) -> None:
    x, indices = lowering.input(node, 0), lowering.input(node, 1)
    shape = unpooled_shape(node, x.shape)
    zero = lowering.constant(np.zeros((), node.output.dtype), "zero")
    y = lowering.output(node, order=x.order(), reads=[x, indices, zero])
    lowering.copy(zero.broadcast_to(y.shape), y)
    elements = ElementGrid(x)
    lowering.dispatch(
        Dispatch(
            kernel="max_unpool",
            params={
                **elements.params(),
                "shape": [elements.numbers.integer(f"shape{axis}", extent) for axis, extent in enumerate(shape)],
                "size": elements.numbers.integer("size", prod(shape)),
                "extents": [elements.numbers.integer(f"y_extent{axis}", extent) for axis, extent in enumerate(y.shape)],
                "place": elements.address("y", y, [f"o{axis}" for axis in range(y.rank)]),
                "index": elements.address("indices", indices, elements.positions),
                "source": elements.value_of("x", x, elements.positions),
                "item": y.dtype,
            },
            reads=[elements.operand("x", x, elements.outer), elements.operand("indices", indices, elements.outer)],
            writes=[elements.operand("y", y)],
            rows=elements.rows,
            grid=elements.grid,
            uniforms=elements.numbers.uniforms,
        )
    )
