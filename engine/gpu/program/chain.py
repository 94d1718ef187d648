"""Element-wise chains: a tree of nodes as WGSL statements, and the kernel that evaluates one over strided tensors.

Axes that are nested in every operand become one, and an operand that repeats along an axis has stride 0 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from engine.compiled.model import ALIGNMENT
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, affine_span, linear_grid
from engine.gpu.program.expressions import functions_in, kind_of
from engine.gpu.program.numbers import Numbers
from engine.gpu.program.rules import expression
from engine.gpu.program.tensor import ITEM_BYTES, Shape, Tensor, span_of
from engine.graph.ir import Node, Value


@dataclass(slots=True)
class Tree:
    """A tree of element-wise nodes as WGSL statements.

    ``leaves`` are the values that it reads, with their names. ``lines`` compute ``result`` from these names.
    """

    leaves: dict[Value, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    result: str = ""

    def name(self, value: Value) -> str:
        """The name of ``value`` as a leaf, which is added where it is new."""
        return self.leaves.setdefault(value, f"a{len(self.leaves)}")

    def add(self, node: Node, args: Sequence[str]) -> str:
        """Add the statement that computes ``node`` from ``args``. Returns the name of its result."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"let {name} = {expression(node, args)};")
        return name


PLAIN = Tree(result="root")
"""The empty chain, which stores the root as it is."""

ChainInput = tuple[str, Tensor, np.dtype]
"""An operand of a chain: its name, its tensor, and its dtype in the graph."""


def chain_dispatches(
    tree: Tree, reads: Sequence[ChainInput], y: Tensor, *, dtype: np.dtype, binding_limit: int
) -> Iterator[Dispatch]:
    """The dispatches that evaluate ``tree`` over all of ``y``: one, or several where a row exceeds a binding."""
    if not y.size:
        return
    views = [_broadcast(tensor, y.shape) for _, tensor, _ in reads]
    extents, strides = collapse_axes(y, views)
    if len(extents) > 1 and _row_exceeds_binding(extents, strides, [y, *views], binding_limit):
        # two layouts, such as channels first and channels last, so that any row spans much: halves of the axis that
        # lies farthest apart, as often as it takes
        axis = max(
            range(y.rank), key=lambda axis: y.shape[axis] > 1 and max(abs(tensor.strides[axis]) for tensor in views)
        )
        middle = y.shape[axis] // 2
        for first, count in ((0, middle), (middle, y.shape[axis] - middle)):
            parts = [
                (name, part.slice(axis, first, count), kind) for (name, _, kind), part in zip(reads, views, strict=True)
            ]
            yield from chain_dispatches(
                tree, parts, y.slice(axis, first, count), dtype=dtype, binding_limit=binding_limit
            )
        return
    vec = 4 if fits_vec4(extents, strides, [y, *views]) else 1
    extents[-1] //= vec
    operands, lines, numbers = [], [], Numbers()
    positions = [f"i{axis}" for axis in range(len(extents))]
    for (name, tensor, kind), stride in zip(reads, strides[1:], strict=True):
        items, width = item_strides(stride, vec)
        # the statements use the leaf's name for the loaded element, so the operand has another
        operand = f"x_{name}"
        operands.append(_operand(operand, tensor, extents=extents, items=items, width=width))
        item = f"{operand}[{numbers.index(operand, items, positions)}]"
        lines.append(f"let {name} = {load_expression(item, storage=tensor.dtype, dtype=kind, width=width, vec=vec)};")
    items, width = item_strides(strides[0], vec)
    operands.append(_operand("y", y, extents=extents, items=items, width=width))
    value = store_expression(tree.result, y.dtype, dtype, vec)
    yield Dispatch(
        kernel="elementwise",
        params={
            **axis_params(extents, numbers),
            "vec": vec,
            "invocations": INVOCATIONS,
            "functions": functions_in([*tree.lines, tree.result]),
            "lines": [*lines, *tree.lines, f"y[{numbers.index('y', items, positions)}] = {value};"],
        },
        reads=operands[:-1],
        writes=operands[-1:],
        rows=extents[0],
        grid=linear_grid(prod(extents[1:])),
        uniforms=numbers.uniforms,
        flops=y.size * len(tree.lines),
    )


def _broadcast(tensor: Tensor, shape: Shape) -> Tensor:
    """``tensor`` broadcast to ``shape``; a tensor of one element may have more axes than that, of extent 1."""
    return (tensor.view(()) if tensor.rank > len(shape) else tensor).broadcast_to(shape)


def copy_dispatches(x: Tensor, y: Tensor, *, binding_limit: int) -> Iterator[Dispatch]:
    """The dispatches that copy ``x`` into ``y``, which has its shape; float types convert."""
    dtype = np.dtype({"f32": np.float32, "f16": np.float32, "i32": np.int32, "u32": np.uint32}[x.dtype])
    return chain_dispatches(Tree(result="a0"), [("a0", x, dtype)], y, dtype=dtype, binding_limit=binding_limit)


def load_expression(item: str, storage: str, dtype: np.dtype, width: int, vec: int) -> str:
    """The WGSL value of ``dtype``'s kind from ``item``, ``width`` elements of an operand of that storage type."""
    kind = kind_of(dtype)
    if width < vec:  # one element for all four: a splat has the type of its element
        item = f"{'f32' if storage == 'f16' else storage}({item})"
    if kind == "B":
        return f"(U({item}) != U(0u))"
    return f"{kind}({item})"


def store_expression(value: str, storage: str, dtype: np.dtype, vec: int) -> str:
    """The WGSL item of an operand of that storage type from ``value``, of ``dtype``'s kind."""
    if kind_of(dtype) == "B":
        return f"select(U(0u), U(1u), {value})"
    if storage == "f16":
        return f"{'f16' if vec == 1 else 'vec4<f16>'}({value})"
    if storage == "u8":
        return f"dot({value}, U(1u, 256u, 65536u, 16777216u))"
    return value


def collapse_axes(y: Tensor, operands: Sequence[Tensor]) -> tuple[list[int], list[list[int]]]:
    """The extents of the fewest axes that iterate over ``y`` in memory order, and the strides of y and each operand.

    Axes of extent 1 are dropped, and neighbours that are nested in every tensor become one. There is at least one axis.
    """
    tensors = [y, *operands]
    extents: list[int] = []
    strides: list[list[int]] = [[] for _ in tensors]
    for axis in y.order():
        extent = y.shape[axis]
        if extent == 1:
            continue
        steps = [tensor.strides[axis] for tensor in tensors]
        if extents and all(
            tensor_strides[-1] == step * extent for tensor_strides, step in zip(strides, steps, strict=True)
        ):
            extents[-1] *= extent
            for tensor_strides, step in zip(strides, steps, strict=True):
                tensor_strides[-1] = step
        else:
            extents.append(extent)
            for tensor_strides, step in zip(strides, steps, strict=True):
                tensor_strides.append(step)
    if not extents:
        return [1], [[1] for _ in tensors]
    return extents, strides


def _row_exceeds_binding(extents: list[int], strides: list[list[int]], tensors: Sequence[Tensor], limit: int) -> bool:
    """Whether one position of the first axis spans more of a tensor than ``limit``, the bytes of a binding."""
    spans = (span_of(0, extents[1:], stride[1:]) for stride in strides)
    return any(
        (end - begin) * ITEM_BYTES[tensor.dtype] + ALIGNMENT > limit
        for (begin, end), tensor in zip(spans, tensors, strict=True)
    )


def fits_vec4(extents: list[int], strides: list[list[int]], tensors: Sequence[Tensor]) -> bool:
    """Whether each tensor has vec4 items along the innermost axis, aligned, or stride 0 along it."""
    if extents[-1] % 4 or strides[0][-1] != 1:
        return False
    return all(
        stride[-1] == 0 or (stride[-1] == 1 and tensor.offset % 4 == 0 and all(step % 4 == 0 for step in stride[:-1]))
        for stride, tensor in zip(strides, tensors, strict=True)
    )


def item_strides(strides: list[int], vec: int) -> tuple[list[int], int]:
    """The strides in items of the operand's binding, and the elements of an item."""
    if vec == 1 or strides[-1] == 0:
        return [*strides[:-1], strides[-1] * vec], 1
    return [stride // vec for stride in strides[:-1]] + [1], vec


def axis_params(extents: Sequence[int], numbers: Numbers) -> dict[str, Any]:
    """Template parameters of a kernel that goes over axes of ``extents``, of which the range of rows cuts the first.

    ``inner`` are the others with their extents, the innermost first, and ``row_items`` the items of all of them.
    """
    inner = [(axis, numbers.integer(f"extent{axis}", extents[axis])) for axis in range(len(extents) - 1, 0, -1)]
    return {"inner": inner, "row_items": numbers.integer("row_items", prod(extents[1:])) if inner else ""}


def _operand(name: str, tensor: Tensor, extents: list[int], items: list[int], width: int) -> Operand:
    steps = [stride * width for stride in items]
    span = affine_span(tensor, steps[0], [*extents[1:], width], [*steps[1:], 1])
    return Operand(name, tensor, span, width)
