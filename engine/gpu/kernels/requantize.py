"""What the kernels of quantised products share: factors less their zero points, and the step back to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.gpu.kernels.elementwise import Read, Tree, emit
from engine.gpu.kernels.expressions import converted
from engine.gpu.lowering import Lowering
from engine.gpu.tensor import Shape, Tensor
from engine.graph.ir import Node, Value
from engine.ops.integer_products import INT32, place
from engine.ops.integer_products import parameter_shape as placed
from engine.ops.types import broadcast

SINGLE = np.dtype(np.float32)

Parameter = tuple[Value, int, int]
"""A scale or zero point, the axis along which a vector lies, and the rank of the tensor that it belongs to."""


def parameter(low: Lowering, value: Value, axis: int, rank: int) -> Tensor:
    """The tensor of a scale or zero point as it broadcasts to a tensor of ``rank`` axes."""
    return low.reshaped(low.tensor(value), placed(value.shape, axis, rank))


def centred(low: Lowering, x: Value, zero: Value | None, axis: int) -> Tensor:
    """``x`` less its zero point, a vector of these along ``axis``, as int32 and in the layout of x."""
    if x.data is not None and (zero is None or zero.data is not None):
        wide = x.data.astype(np.int32)
        if zero is not None and zero.data is not None:
            wide = wide - place(zero.data, axis, wide.ndim).astype(np.int32)
        return low.constant(wide, f"{x.name}:centred")
    tensor = low.tensor(x)
    if zero is None:
        return tensor
    point = parameter(low, zero, axis, tensor.rank)
    y = low.scratch(tensor.shape, "i32", f"{x.name}:centred", tensor.order())
    reads: list[Read] = [("a0", tensor, x.dtype), ("a1", point, zero.dtype)]
    emit(Tree(result="(I(a0) - I(a1))"), reads, y, INT32, low)
    return y


def factor(low: Lowering, scales: Sequence[Parameter], y_scale: Parameter) -> Tensor:
    """The product of ``scales`` over ``y_scale``, float32, by which a sum becomes a value of the output's scale."""
    everything = [*scales, y_scale]
    shape: Shape = broadcast(*(placed(value.shape, axis, rank) for value, axis, rank in everything))
    known = [place(value.data, axis, rank) for value, axis, rank in everything if value.data is not None]
    if len(known) == len(everything):
        wide = [array.astype(np.float64) for array in known]
        return low.constant((wide[0] * wide[1] / wide[2]).astype(SINGLE).reshape(shape), "factor")
    y = low.scratch(shape, "f32", "factor")
    reads = [(f"a{index}", parameter(low, *one), one[0].dtype) for index, one in enumerate(everything)]
    emit(Tree(result="(a0 * a1 / a2)"), reads, y, SINGLE, low)
    return y


def requantization(node: Node, total: str = "root") -> str:
    """The 8-bit output of ``node`` from ``total``, ``factor`` and ``y_zero``: rounded, moved and saturated."""
    return converted(f"(round(F({total}) * factor) + F(y_zero))", SINGLE, node.output.dtype)
