"""The epilogue of a convolution or product: a chain of element-wise nodes on its sums, before these are stored.

A product waits where only one element-wise node reads its result, as element-wise nodes wait for each other. The
lowering of the chain then finds the product at its root, and lets it compute all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree, load_expression, store_expression
from engine.gpu.program.dispatch import Operand, affine_span
from engine.gpu.program.expressions import functions_in
from engine.gpu.program.tensor import Tensor, channels_last
from engine.graph.ir import Node

MAX_READS = 6
"""Tensors that a kernel which writes two reads at the most: a dispatch has eight storage buffers."""


@dataclass(frozen=True, slots=True)
class Epilogue:
    """What a kernel adds to its dispatch for ``parts/epilogue.wgsl``: operands, uniforms, and template parameters."""

    reads: list[Operand]
    writes: list[Operand]
    uniforms: dict[str, int]
    params: dict[str, Any]


def pixel_stride(tensor: Tensor) -> int | None:
    """The stride from one pixel of ``[N, C, *spatial]`` to the next, in row-major order; None where it varies."""
    stride: int | None = None
    inner = 1
    for axis in (*reversed(range(2, tensor.rank)), 0):
        if tensor.shape[axis] == 1:
            continue
        if stride is None:
            stride = tensor.strides[axis]
        elif tensor.strides[axis] != stride * inner:
            return None
        inner *= tensor.shape[axis]
    return (tensor.shape[1] if stride is None else stride) if tensor.rank > 1 else None


def prepare(
    lowering: Lowering,
    tree: Tree,
    last: Node,
    prelude: Sequence[str],
    channel_vectors: dict[str, tuple[Tensor, np.dtype]],
    inputs: Sequence[Tensor],
    groups: int = 1,
    channel_axis: int = 1,
) -> tuple[Epilogue, Tensor, Tensor | None]:
    """The epilogue of a product whose output is that of ``last``, ``[N, C, *spatial]``, or with C on another axis.

    ``prelude`` computes ``root`` from ``raw`` and the names of ``channel_vectors``, such as a bias. ``inputs`` are the
    tensors that the product itself reads. Its ``groups`` divide the channels. Returns also the tensor to write and,
    where the pixels of the output are not evenly spaced, the output to copy that tensor to.
    """
    value = last.output
    pixels = [axis for axis in range(len(value.shape)) if axis != channel_axis]
    perm = (*pixels[:1], channel_axis, *pixels[1:])

    def by_pixel(tensor: Tensor) -> Tensor:
        """``tensor`` broadcast to the output; a copy where its pixels or channels are not evenly spaced."""
        view = tensor.broadcast_to(value.shape).transpose(perm)
        is_even = pixel_stride(view) is not None and view.strides[1] in (0, 1)
        return view if is_even else lowering.dense_copy(view, channels_last(view.rank))

    reads = {name: (by_pixel(tensor), dtype) for name, (tensor, dtype) in channel_vectors.items()}
    for leaf, name in tree.leaves.items():
        reads[name] = by_pixel(lowering.tensor(leaf)), leaf.dtype
    tensors = [*inputs, *(tensor for tensor, _ in reads.values())]
    order = (*pixels, channel_axis)
    twin = lowering.concats.twin(value, order, tensors) if len(tensors) <= MAX_READS else None
    if twin is not None and not _is_even(twin.transpose(perm)):
        twin = None
    y = lowering.output(last, order=order, reads=tensors, twin=twin).transpose(perm)
    twins = {} if twin is None else {"twin": twin.transpose(perm)}
    target = None
    if not _is_even(y):
        target = y
        y = lowering.scratch(y.shape, y.dtype, f"{y.slot.label}:dense", channels_last(y.rank))
    # strides of axes of one position are chosen so that layers of other sizes have the same statements
    one_pixel, one_channel = y.size == y.shape[1], y.shape[1] == 1
    steps = {
        name: (0 if one_pixel else pixel_stride(tensor) or 0, 1 if one_channel else tensor.strides[1])
        for name, (tensor, _) in reads.items()
    }
    vec = 4 if _has_vec4_channels(y, groups, [*twins.values(), *(tensor for tensor, _ in reads.values())]) else 1
    operands, lines = [], []
    uniforms = {}
    for name, (tensor, dtype) in reads.items():
        pixel, channel = steps[name]
        width = vec if channel == 1 else 1
        span = affine_span(tensor, pixel, (tensor.shape[1],), (channel,))
        operands.append(Operand(f"x_{name}", tensor, span, width))
        terms = [f"params.base_x_{name}"]
        if pixel:
            uniforms[f"pixel_{name}"] = pixel // width
            terms.append(f"m * params.pixel_{name}")
        terms += [f"c / {width}" if width > 1 else "c"] if channel else []
        item = f"x_{name}[{' + '.join(terms)}]"
        load = load_expression(item, storage=tensor.dtype, dtype=dtype, width=width, vec=vec)
        lines.append(f"let {name} = {load};")
    writes = []
    for name, tensor in {"y": y, **twins}.items():
        uniforms[f"pixel_{name}"] = stride = pixel_stride(tensor) or 0
        writes.append(Operand(name, tensor, affine_span(tensor, stride, (tensor.shape[1],), (1,)), vec))
    lines = [*lines, *prelude, *tree.lines]
    params: dict[str, Any] = {
        "vector": vec == 4,
        "lines": lines,
        "result": store_expression(tree.result, y.dtype, value.dtype, vec),
        "functions": functions_in([*lines, tree.result]),
        "targets": [operand.name for operand in writes],
    }
    return Epilogue(operands, writes, uniforms, params), y, target


def _is_even(y: Tensor) -> bool:
    """Whether the pixels of ``[N, C, *spatial]`` are evenly spaced, and the channels of each side by side."""
    return pixel_stride(y) is not None and (y.strides[1] == 1 or y.shape[1] == 1)


def _has_vec4_channels(y: Tensor, groups: int, reads: Sequence[Tensor]) -> bool:
    """Whether each tensor has vec4 items along the channels of a group, aligned, or stride 0 along them."""

    def fits(tensor: Tensor) -> bool:
        stride = pixel_stride(tensor) or 0
        return tensor.strides[1] == 0 or (tensor.offset % 4 == 0 and stride % 4 == 0)

    return y.shape[1] // groups % 4 == 0 and fits(y) and all(map(fits, reads))
