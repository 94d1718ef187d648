"""QuantizeLinear and DequantizeLinear per axis and in blocks, and DynamicQuantizeLinear.

With one scale for all of a tensor they are element-wise operators like others (rules.py). A vector of scales is one too
once it is spread along its axis; blocks are, once the axis is seen as two: blocks, and positions in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from engine.gpu.dispatch import INVOCATIONS, Dispatch, Operand, Span, affine_span
from engine.gpu.kernels.elementwise import (
    Tree,
    collapsed,
    emit,
    fits_vec4,
    index_of,
    items_of,
    lower_elementwise,
)
from engine.gpu.kernels.expressions import converted
from engine.gpu.kernels.rules import expression
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.plan import ALIGNMENT
from engine.gpu.tensor import ITEM_BYTES, Tensor, span_of
from engine.graph.ir import Node
from engine.ops.quantize import per_tensor
from engine.ops.types import normalize_axis

PARTS = 1024
"""Workgroups that look for the extremes of a tensor, at the most: enough for any GPU, and few for one to join."""

LEAST_PART = 8 * INVOCATIONS
"""Items that a workgroup looks through, unless there are fewer or bindings are smaller than anywhere."""


@lowers("QuantizeLinear", "DequantizeLinear")
def lower_linear(node: Node, low: Lowering) -> None:
    if per_tensor(node):
        lower_elementwise(node, low)
        return
    inputs = [low.tensor(value) for value in node.used_inputs()]
    x, parameters = inputs[0], inputs[1:]
    y = low.output(node, order=x.order(), reads=inputs)
    axis = normalize_axis(node.attr("axis", 1), x.rank)
    block = node.attr("block_size", 0)
    if not block:
        line = (-1,) + (1,) * (x.rank - axis - 1)
        spread = [low.reshaped(one, (one.size, *line[1:])) for one in parameters]
        _linear(node, low, x, spread, y)
        return
    whole = x.shape[axis] // block * block
    for start, count, width in ((0, whole, block), (whole, x.shape[axis] - whole, x.shape[axis] - whole)):
        if count:
            parts = [_blocks(tensor.slice(axis, start, count), axis, width) for tensor in (x, y)]
            spread = [
                _blocks(one if one.size == 1 else one.slice(axis, start // block, count // width), axis, 1)
                for one in parameters
            ]
            _linear(node, low, parts[0], spread, parts[1])


def _blocks(tensor: Tensor, axis: int, width: int) -> Tensor:
    """``tensor`` with ``axis`` as two: blocks of ``width``, and positions in them. A scalar is left as it is."""
    if not tensor.rank or tensor.shape == (1,):
        return tensor
    split = tensor.reshape((*tensor.shape[:axis], tensor.shape[axis] // width, width, *tensor.shape[axis + 1 :]))
    assert split is not None
    return split


def _linear(node: Node, low: Lowering, x: Tensor, parameters: Sequence[Tensor], y: Tensor) -> None:
    names = [f"a{index}" for index in range(len(parameters) + 1)]
    dtypes = [value.dtype for value in node.used_inputs()]
    reads = list(zip(names, [x, *parameters], dtypes, strict=True))
    emit(Tree(result=expression(node, names)), reads, y, node.output.dtype, low)


@lowers("DynamicQuantizeLinear")
def lower_dynamic_quantize(node: Node, low: Lowering) -> None:
    x, byte, single = low.input(node, 0), np.dtype(np.uint8), np.dtype(np.float32)
    extremes = _extremes(low, x)
    scale, zero = (_small_output(node, low, index, dtype) for index, dtype in ((1, "f32"), (2, "u32")))
    low.dispatch(
        Dispatch(
            kernel="quantization",
            params={"parts": extremes.shape[0], "invocations": INVOCATIONS},
            reads=[Operand("extremes", extremes)],
            writes=[Operand("scale", scale), Operand("zero", zero)],
            rows=1,
            grid=lambda _: 1,
        )
    )
    y = low.output(node, order=x.order(), reads=[x, scale, zero])
    value = converted("(round(divided(a0, a1)) + F(a2))", single, byte)
    emit(Tree(result=value), [("a0", x, single), ("a1", scale, single), ("a2", zero, byte)], y, byte, low)


def _small_output(node: Node, low: Lowering, index: int, dtype: str) -> Tensor:
    """The output at ``index``, a scalar; memory for it where the node leaves it out."""
    if index < len(node.outputs) and node.outputs[index] is not None:
        return low.output(node, index)
    return low.scratch((), dtype, f"{node.output.name}:{index}")


def _extremes(low: Lowering, x: Tensor) -> Tensor:
    """The least and the largest element of each part of x, ``[parts, 2]`` float32; NaN is both."""
    # x in the order in which it lies in memory: it is itself the tensor that is walked over
    extents, (strides, _) = collapsed(x, [x])
    vec = 4 if fits_vec4(extents, [strides], [x]) else 1
    extents[-1] //= vec
    items, _ = items_of(strides, vec)
    inner, total = prod(extents[1:]), prod(extents)
    part = max(min(LEAST_PART, low.binding_limit // 32), -(-total // PARTS))
    count = -(-total // part)
    span = _part_span(x, extents, strides, vec, part, inner)
    if len(extents) > 1 and any(_bytes(x, span(p, p + 1)) > low.binding_limit for p in range(count)):
        return _extremes(low, low.copied(x, x.order()))
    # the elements of an item have extremes of their own
    y = low.scratch((count * vec, 2), "f32", f"{low.node.output.name}:extremes")
    low.dispatch(
        Dispatch(
            kernel="extremes",
            params={
                "extents": extents,
                "element": f"x[{index_of('x', items)}]",
                "part": part,
                "total": total,
                "vec": vec,
                "invocations": INVOCATIONS,
            },
            reads=[Operand("x", x, span, vec)],
            writes=[Operand("y", y, affine_span(y, 2 * vec, (2 * vec,), (1,)))],
            rows=count,
            grid=lambda parts: parts,
            flops=2 * x.size,
        )
    )
    return y


def _bytes(x: Tensor, span: tuple[int, int]) -> int:
    """Bytes of a binding that holds these elements, wherever it may begin."""
    return (span[1] - span[0]) * ITEM_BYTES[x.dtype] + ALIGNMENT


def _part_span(x: Tensor, extents: list[int], strides: list[int], vec: int, part: int, inner: int) -> Span:
    """What parts ``first`` to before ``last`` touch: positions of the first axis, the rest whole."""
    box = [*extents[1:], vec]
    steps = [*strides[1:-1], strides[-1] * vec, 1] if len(extents) > 1 else [1]
    outer = strides[0] * (vec if len(extents) == 1 else 1)

    def span(first: int, last: int) -> tuple[int, int]:
        begin, end = first * part // inner, min(-(-last * part // inner), extents[0])
        return span_of(x.offset + begin * outer, (max(0, end - begin), *box), (outer, *steps))

    return span
