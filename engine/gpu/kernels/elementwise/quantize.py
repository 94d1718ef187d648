"""QuantizeLinear and DequantizeLinear per axis and in blocks, and DynamicQuantizeLinear.

With one scale for all of a tensor they are element-wise operators like others (rules.py). So they are with a vector of
scales that broadcasts along its axis, and with blocks, once the axis is split in two: blocks, and positions in a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from engine.compiled.model import ALIGNMENT
from engine.gpu.kernels.convolution.layer import loads_bytes
from engine.gpu.kernels.elementwise.elementwise import lower_elementwise
from engine.gpu.kernels.product.dynamic_quantization import AS_BYTE, MAX_PARTS, quantization
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.chain import Tree, axis_params, collapse_axes, fits_vec4, item_strides
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, Span, affine_span
from engine.gpu.program.numbers import Numbers
from engine.gpu.program.rules import expression
from engine.gpu.program.tensor import ITEM_BYTES, Tensor, channels_last, span_of
from engine.graph.ir import Node, Value
from engine.ops.quantize import per_tensor
from engine.ops.types import normalize_axis

MIN_PART_ITEMS = 8 * INVOCATIONS
"""Items of a workgroup at the least, unless the tensor has fewer or bindings are smaller than on any adapter."""


@lowers("QuantizeLinear", "DequantizeLinear")
def lower_linear(node: Node, lowering: Lowering) -> None:
    if per_tensor(node):
        lower_elementwise(node, lowering)
        return
    inputs = [lowering.tensor(value) for value in node.used_inputs()]
    x, parameters = inputs[0], inputs[1:]
    y = lowering.output(node, order=x.order(), reads=inputs)
    axis = normalize_axis(node.attr("axis", 1), x.rank)
    block = node.attr("block_size", 0)
    if not block:
        ones = (1,) * (x.rank - axis - 1)
        parameter_views = [lowering.reshape(parameter, (parameter.size, *ones)) for parameter in parameters]
        _linear(node, lowering, x=x, parameters=parameter_views, y=y)
        return
    # whole blocks, then the shorter block at the end of the axis
    whole_blocks = x.shape[axis] // block * block
    last_block = x.shape[axis] - whole_blocks
    for start, count, width in ((0, whole_blocks, block), (whole_blocks, last_block, last_block)):
        if count:
            parts = [_blocks(tensor.slice(axis, start, count), axis, width) for tensor in (x, y)]
            parameter_views = [
                _blocks(
                    parameter if parameter.size == 1 else parameter.slice(axis, start // block, count // width), axis, 1
                )
                for parameter in parameters
            ]
            _linear(node, lowering, x=parts[0], parameters=parameter_views, y=parts[1])


def _blocks(tensor: Tensor, axis: int, width: int) -> Tensor:
    """``tensor`` with ``axis`` split into blocks of ``width``, and positions in a block; a scalar is returned as is."""
    if not tensor.rank or tensor.shape == (1,):
        return tensor
    return tensor.view((*tensor.shape[:axis], tensor.shape[axis] // width, width, *tensor.shape[axis + 1 :]))


def _linear(node: Node, lowering: Lowering, x: Tensor, parameters: Sequence[Tensor], y: Tensor) -> None:
    names = [f"a{index}" for index in range(len(parameters) + 1)]
    dtypes = [value.dtype for value in node.used_inputs()]
    reads = list(zip(names, [x, *parameters], dtypes, strict=True))
    lowering.elementwise(Tree(result=expression(node, names)), reads, y, dtype=node.output.dtype)


@lowers("DynamicQuantizeLinear")
def lower_dynamic_quantize(node: Node, lowering: Lowering) -> None:
    x, byte, single = lowering.input(node, 0), np.dtype(np.uint8), np.dtype(np.float32)
    extremes = _extremes(lowering, x)
    scale, zero = (_small_output(node, lowering, index, dtype) for index, dtype in ((1, "f32"), (2, "u32")))
    quantization(lowering, extremes, scale, zero)
    if _stays_packed(node.output, x, lowering):
        y = lowering.scratch(x.shape, "u8", node.output.name, channels_last(x.rank))
        lowering.alias(node, y)
    else:
        y = lowering.output(node, order=x.order(), reads=[x, scale, zero])
    lowering.elementwise(
        Tree(result=AS_BYTE), [("a0", x, single), ("a1", scale, single), ("a2", zero, byte)], y, dtype=byte
    )


def _stays_packed(value: Value, x: Tensor, lowering: Lowering) -> bool:
    """Whether ``value``, made of x, is stored as bytes: every reader loads four channels a word, and so x lies."""
    readers = lowering.consumers.get(value, ())
    if not readers or value in lowering.graph.outputs or not all(loads_bytes(node, value) for node in readers):
        return False
    others = [axis for axis in range(x.rank) if axis != 1 and x.shape[axis] > 1]
    return x.strides[1] == 1 and x.offset % 4 == 0 and all(x.strides[axis] % 4 == 0 for axis in others)


def _small_output(node: Node, lowering: Lowering, index: int, dtype: str) -> Tensor:
    """The output at ``index``, a scalar, or a scratch tensor where the node has none."""
    if index < len(node.outputs) and node.outputs[index] is not None:
        return lowering.output(node, index)
    return lowering.scratch((), dtype, f"{node.output.name}:{index}")


def _extremes(lowering: Lowering, x: Tensor) -> Tensor:
    """The smallest and the largest element of each part of x, ``[parts, 2]`` float32; where one is NaN, both are."""
    # the order of memory of x, which is both the tensor to iterate over and the operand
    extents, (strides, _) = collapse_axes(x, [x])
    vec = 4 if fits_vec4(extents, [strides], [x]) else 1
    extents[-1] //= vec
    items, _ = item_strides(strides, vec)
    inner, total = prod(extents[1:]), prod(extents)
    part_items = max(min(MIN_PART_ITEMS, lowering.binding_limit // 32), -(-total // MAX_PARTS))
    count = -(-total // part_items)
    span = _part_span(x, extents=extents, strides=strides, vec=vec, part_items=part_items, inner=inner)
    if len(extents) > 1 and any(_bytes(x, span(p, p + 1)) > lowering.binding_limit for p in range(count)):
        return _extremes(lowering, lowering.dense_copy(x, x.order()))
    # each of the elements of an item has extremes of its own
    y = lowering.scratch((count * vec, 2), "f32", f"{lowering.node.output.name}:extremes")
    numbers = Numbers()
    lowering.dispatch(
        Dispatch(
            kernel="extremes",
            params={
                **axis_params(extents, numbers),
                "element": f"x[{numbers.index('x', items, [f'i{axis}' for axis in range(len(extents))])}]",
                "part": numbers.integer("part_items", part_items),
                "total": numbers.integer("items", total),
                "vec": vec,
                "invocations": INVOCATIONS,
            },
            reads=[Operand("x", x, span, vec)],
            writes=[Operand("y", y, affine_span(y, 2 * vec, (2 * vec,), (1,)))],
            rows=count,
            grid=lambda parts: parts,
            uniforms=numbers.uniforms,
            flops=2 * x.size,
        )
    )
    return y


def _bytes(x: Tensor, span: tuple[int, int]) -> int:
    """The bytes of a binding that holds a range of elements, wherever it begins."""
    return (span[1] - span[0]) * ITEM_BYTES[x.dtype] + ALIGNMENT


def _part_span(x: Tensor, extents: list[int], strides: list[int], vec: int, part_items: int, inner: int) -> Span:
    """The span of x by parts: a range of positions of the first axis, all of the others."""
    box = [*extents[1:], vec]
    steps = [*strides[1:-1], strides[-1] * vec, 1] if len(extents) > 1 else [1]
    outer = strides[0] * (vec if len(extents) == 1 else 1)

    def span(first: int, last: int) -> tuple[int, int]:
        begin, end = first * part_items // inner, min(-(-last * part_items // inner), extents[0])
        return span_of(x.offset + begin * outer, (max(0, end - begin), *box), (outer, *steps))

    return span
