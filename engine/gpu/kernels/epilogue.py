"""Element-wise nodes behind a convolution or product: computed where its sums are, before these are stored.

A product whose result one element-wise node reads waits for it, as element-wise nodes wait for each other. Whoever
lowers the chain finds the product at its root and lets it compute the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.gpu.dispatch import Operand, affine_span
from engine.gpu.kernels import elementwise
from engine.gpu.kernels.elementwise import Tree
from engine.gpu.kernels.expressions import functions_in
from engine.gpu.lowering import Lowering
from engine.gpu.tensor import Tensor, channels_last
from engine.graph.ir import Node, Value

Emit = Callable[[Node, Lowering, Tree, Node], None]
"""Lower a product: its node, the lowering, the chain from ``root`` to the result, and the chain's last node."""

PRODUCTS: dict[tuple[str, str], tuple[Emit, int]] = {}
"""Products that take a chain, and how many tensors they read themselves."""

PLAIN = Tree(result="root")
"""The chain that changes nothing."""


def lower_product(node: Node, low: Lowering) -> None:
    """Keep ``node`` for the element-wise node that alone reads it, or lower it now."""
    if low.read_once(node.output):
        (reader,) = low.consumers[node.output]
        if elementwise.is_elementwise(reader) and reader.output.shape == node.output.shape:
            low.defer(node)
            return
    emit, _ = PRODUCTS[node.domain, node.op]
    emit(node, low, PLAIN, node)


def lower_waiting(node: Node, low: Lowering) -> None:
    """Lower a node that has waited, whatever it is."""
    if (node.domain, node.op) in PRODUCTS:
        PRODUCTS[node.domain, node.op][0](node, low, PLAIN, node)
    else:
        elementwise.lower_now(node, low)


def fuse(node: Node, low: Lowering) -> bool:
    """Compute ``node`` in the epilogue of a product that waits below it. Returns whether there was one."""
    root = _root(node, low)
    if root is None:
        return False
    waiting = low.deferred(root)
    assert waiting is not None
    emit, reads = PRODUCTS[waiting.domain, waiting.op]
    if not elementwise.cut(node, low, root, elementwise.MOST_READS - reads):
        # the chain is too long for one epilogue: its lower part goes into it, and the rest reads the result
        low.tensor(next(value for value in node.used_inputs() if elementwise.leads_to(value, low, root)))
        return fuse(node, low)
    tree = elementwise.build(node, low, root)
    emit(low.take(root), low, tree, node)
    return True


def _root(node: Node, low: Lowering) -> Value | None:
    """The waiting product under ``node`` that was met last."""
    for value in reversed(list(node.used_inputs())):
        waiting = low.deferred(value)
        if waiting is None:
            continue
        if (waiting.domain, waiting.op) in PRODUCTS:
            return value
        found = _root(waiting, low)
        if found is not None:
            return found
    return None


@dataclass(frozen=True, slots=True)
class Epilogue:
    """What a kernel with ``parts/epilogue.wgsl`` is given: operands beside its own, and template parameters."""

    reads: list[Operand]
    write: Operand
    pixel_stride: int
    params: dict[str, object]


def pixel_stride(tensor: Tensor) -> int | None:
    """Elements from one pixel of ``[N, C, *spatial]`` to the next in row-major order; None where they are uneven."""
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
    low: Lowering,
    tree: Tree,
    last: Node,
    prelude: Sequence[str],
    own: dict[str, tuple[Tensor, np.dtype]],
    inputs: Sequence[Tensor],
    groups: int = 1,
    channel_axis: int = 1,
) -> tuple[Epilogue, Tensor, Tensor | None]:
    """The epilogue of a product whose output is that of ``last``, ``[N, C, *spatial]``, or with C on another axis.

    ``prelude`` computes ``root`` from ``raw`` and the names of ``own`` (channel vectors, such as a bias); ``inputs``
    are what the product itself reads; its ``groups`` divide the channels. Returns also the tensor that is written and,
    where that is only a stand-in for an output whose pixels lie unevenly, the output to copy it to.
    """
    value = last.output
    pixels = [axis for axis in range(len(value.shape)) if axis != channel_axis]
    perm = (*pixels[:1], channel_axis, *pixels[1:])

    def by_pixel(tensor: Tensor) -> Tensor:
        """Broadcast to the output, by a copy where pixels or channels lie unevenly in it."""
        wide = tensor.broadcast_to(value.shape).transpose(perm)
        even = pixel_stride(wide) is not None and wide.strides[1] in (0, 1)
        return wide if even else low.copied(wide, channels_last(wide.rank))

    reads = {name: (by_pixel(tensor), dtype) for name, (tensor, dtype) in own.items()}
    for leaf, name in tree.leaves.items():
        reads[name] = by_pixel(low.tensor(leaf)), leaf.dtype
    tensors = [*inputs, *(tensor for tensor, _ in reads.values())]
    y = low.output(last, order=(*pixels, channel_axis), reads=tensors).transpose(perm)
    target = None
    if pixel_stride(y) is None or (y.strides[1] != 1 and y.shape[1] > 1):
        target = y
        y = low.scratch(y.shape, y.dtype, f"{y.slot.label}:dense", channels_last(y.rank))
    steps = {name: (pixel_stride(tensor) or 0, tensor.strides[1]) for name, (tensor, _) in reads.items()}
    vector = _comes_in_fours(y, groups, [tensor for tensor, _ in reads.values()])
    operands, lines = [], []
    for name, (tensor, dtype) in reads.items():
        pixel, channel = steps[name]
        width = 4 if vector and channel == 1 else 1
        span = affine_span(tensor, pixel, (tensor.shape[1],), (channel,))
        operands.append(Operand(f"x_{name}", tensor, span, width))
        terms = [f"params.base_x_{name}"]
        terms += [f"m * {pixel // width}"] if pixel else []
        terms += [f"c / {width}" if width > 1 else "c"] if channel else []
        item = f"x_{name}[{' + '.join(terms)}]"
        lines.append(f"let {name} = {elementwise.loaded(item, tensor.dtype, dtype, width, 4 if vector else 1)};")
    stride = pixel_stride(y) or 0
    write = Operand("y", y, affine_span(y, stride, (y.shape[1],), (1,)), 4 if vector else 1)
    lines = [*lines, *prelude, *tree.lines]
    params: dict[str, object] = {
        "vector": vector,
        "lines": lines,
        "result": elementwise.stored(tree.result, y.dtype, value.dtype, 4 if vector else 1),
        "functions": functions_in([*lines, tree.result]),
    }
    return Epilogue(operands, write, stride, params), y, target


def _comes_in_fours(y: Tensor, groups: int, reads: Sequence[Tensor]) -> bool:
    """Whether four channels lie side by side and aligned in all of them, or are one element repeated."""

    def fits(tensor: Tensor) -> bool:
        stride = pixel_stride(tensor) or 0
        return tensor.strides[1] == 0 or (tensor.offset % 4 == 0 and stride % 4 == 0)

    return y.shape[1] // groups % 4 == 0 and fits(y) and all(map(fits, reads))
