"""Common parts of quantised products: operands less their zero points, and requantisation to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import ChainInput, Tree
from engine.gpu.program.expressions import conversion
from engine.gpu.program.tensor import Shape, Tensor
from engine.graph.ir import Node, Value
from engine.ops.integer_products import INT32, parameter_shape, place
from engine.ops.types import broadcast

SINGLE = np.dtype(np.float32)

Parameter = tuple[Value, int, int]
"""A scale or zero point, the axis of a vector of them, and the rank of the tensor that it belongs to."""


def parameter(lowering: Lowering, value: Value, axis: int, rank: int) -> Tensor:
    """The tensor of a scale or zero point, with axes that broadcast to a tensor of ``rank`` axes."""
    return lowering.reshape(lowering.tensor(value), parameter_shape(value.shape, axis, rank))


def channel_vector(parameter: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """A scale or zero point that broadcasts to ``shape``, one for each position of ``axis``; None where it varies
    along another axis."""
    aligned = parameter.reshape((1,) * (len(shape) - parameter.ndim) + parameter.shape)
    if any(extent != 1 for other, extent in enumerate(aligned.shape) if other != axis):
        return None
    return np.broadcast_to(aligned.reshape(-1), (shape[axis],))


def less_zero_point(lowering: Lowering, x: Value, zero: Value | None, axis: int) -> Tensor:
    """``x`` less its zero point, or less a vector of them along ``axis``: int32, in the order of x."""
    if x.data is not None and (zero is None or zero.data is not None):
        integers = x.data.astype(np.int32)
        if zero is not None and zero.data is not None:
            integers = integers - place(zero.data, axis, integers.ndim).astype(np.int32)
        return lowering.constant(integers, f"{x.name}:centred")
    tensor = lowering.tensor(x)
    if zero is None:
        return tensor
    zero_point = parameter(lowering, zero, axis, tensor.rank)
    y = lowering.scratch(tensor.shape, "i32", f"{x.name}:centred", tensor.order())
    reads: list[ChainInput] = [("a0", tensor, x.dtype), ("a1", zero_point, zero.dtype)]
    lowering.elementwise(Tree(result="(I(a0) - I(a1))"), reads, y, dtype=INT32)
    return y


def factor(lowering: Lowering, scales: Sequence[Parameter], y_scale: Parameter) -> Tensor:
    """The product of ``scales`` over ``y_scale``, float32: a sum times it has the scale of the output."""
    parameters = [*scales, y_scale]
    shape: Shape = broadcast(*(parameter_shape(value.shape, axis, rank) for value, axis, rank in parameters))
    constants = [place(value.data, axis, rank) for value, axis, rank in parameters if value.data is not None]
    if len(constants) == len(parameters):
        arrays = [array.astype(np.float64) for array in constants]
        return lowering.constant((arrays[0] * arrays[1] / arrays[2]).astype(SINGLE).reshape(shape), "factor")
    y = lowering.scratch(shape, "f32", "factor")
    reads = [
        (f"a{index}", parameter(lowering, value, axis, rank), value.dtype)
        for index, (value, axis, rank) in enumerate(parameters)
    ]
    lowering.elementwise(Tree(result="(a0 * a1 / a2)"), reads, y, dtype=SINGLE)
    return y


def requantization(node: Node, total: str = "root") -> str:
    """The 8-bit output of ``node`` from ``total``, ``factor`` and ``y_zero``: rounded, plus y_zero, saturated."""
    return conversion(f"(round(F({total}) * factor) + F(y_zero))", SINGLE, node.output.dtype)
