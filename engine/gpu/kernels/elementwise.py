"""Element-wise chains: a tree of nodes becomes one generated kernel, with broadcasting.

A node whose result only another element-wise node (or a kernel with an epilogue) reads waits for it, so that its result
is never written. The tree is cut where it would read more tensors than every adapter binds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from engine.gpu.dispatch import INVOCATIONS, Dispatch, Operand, affine_span, linear_grid
from engine.gpu.kernels.expressions import functions_in, kind_of
from engine.gpu.kernels.rules import RULES, expression
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.plan import ALIGNMENT
from engine.gpu.tensor import ITEM_BYTES, Shape, Tensor, span_of
from engine.graph.ir import Node, Value
from engine.ops.quantize import per_tensor
from engine.ops.types import broadcast

MOST_READS = 7
"""Storage buffers in a dispatch are eight, and one is written."""

MOST_INPUTS = 4
"""Inputs of a node in a chain; one in the epilogue of a product then reads three tensors beside it at the most."""

MOST_NODES = 32
"""Nodes of one kernel: beyond it a compiler takes long and gains nothing."""


@dataclass(slots=True)
class Tree:
    """A tree of element-wise nodes as WGSL statements.

    ``leaves`` are the values it reads, each under its name; ``lines`` compute ``result`` from these names.
    """

    leaves: dict[Value, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    result: str = ""

    def name(self, value: Value) -> str:
        """The name of a leaf, which it becomes if it is none yet."""
        return self.leaves.setdefault(value, f"a{len(self.leaves)}")

    def add(self, node: Node, args: Sequence[str]) -> str:
        """A statement that computes ``node`` from ``args``; returns the name of its result."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"let {name} = {expression(node, args)};")
        return name


def is_elementwise(node: Node) -> bool:
    """Whether an expression computes the node's only output that anything reads."""
    if node.domain or node.op not in RULES or any(node.outputs[1:]) or len(set(node.used_inputs())) > MOST_INPUTS:
        return False
    return node.op not in ("QuantizeLinear", "DequantizeLinear") or per_tensor(node)


@lowers(*RULES)
def lower_elementwise(node: Node, low: Lowering) -> None:
    if is_elementwise(node) and low.read_once(node.output):
        (reader,) = low.consumers[node.output]
        if is_elementwise(reader) and reader.output.shape == node.output.shape:
            low.defer(node)
            return
    if len(set(node.used_inputs())) > MOST_READS:
        _lower_many(node, low)
    else:
        lower_now(node, low)


def _lower_many(node: Node, low: Lowering) -> None:
    """Compute a Max, Min, Sum or Mean of more inputs than one dispatch reads, as many at a time as fit."""
    reads = [(low.tensor(value), value.dtype) for value in node.used_inputs()]
    join = RULES["Sum" if node.op == "Mean" else node.op]
    while True:
        part, reads = reads[:MOST_READS], reads[MOST_READS:]
        names = [f"a{index}" for index in range(len(part))]
        operands = [(name, tensor, dtype) for name, (tensor, dtype) in zip(names, part, strict=True)]
        if not reads:
            y = low.output(node, order=part[0][0].order(), reads=[tensor for tensor, _ in part])
            emit(Tree(result=expression(node, names)), operands, y, node.output.dtype, low)
            return
        shape = broadcast(*(tensor.shape for tensor, _ in part))
        y = low.scratch(shape, low.storage(node.output.dtype, prod(shape)), f"{node.output.name}:part")
        emit(Tree(result=join(node, names)), operands, y, node.output.dtype, low)
        reads.insert(0, (y, node.output.dtype))


def lower_now(node: Node, low: Lowering) -> None:
    """Compute ``node`` and all nodes that wait for it in one dispatch, or in the epilogue of what waits below."""
    from engine.gpu.kernels.epilogue import fuse

    if fuse(node, low):
        return
    cut(node, low, None, MOST_READS)
    tree = build(node, low)
    reads = {value: low.tensor(value) for value in tree.leaves}
    y = low.output(node, order=_order(node.output, reads), reads=list(reads.values()))
    emit(tree, [(name, reads[value], value.dtype) for value, name in tree.leaves.items()], y, node.output.dtype, low)


def build(node: Node, low: Lowering, root: Value | None = None) -> Tree:
    """The tree of ``node`` and the waiting nodes under it.

    ``root``, where given, is a value that the caller computes itself under the name ``root``; it is no leaf.
    """
    tree = Tree()
    names: dict[Value, str] = {}

    def visit(value: Value) -> str:
        if value is root:
            return "root"
        child = low.deferred(value)
        if child is None or not is_elementwise(child):
            return names.get(value) or tree.name(value)
        names[value] = tree.add(low.take(value), [visit(value) if value else "" for value in child.inputs])
        return names[value]

    tree.result = tree.add(node, [visit(value) if value else "" for value in node.inputs])
    return tree


def cut(node: Node, low: Lowering, root: Value | None, most: int) -> bool:
    """Lower waiting nodes under ``node`` on their own until the rest reads at most ``most`` values, if it can.

    Returns whether it does. What leads to ``root`` is left as it is.
    """
    while True:
        leaves, nodes = _extent(node, low, root)
        if len(leaves) <= most and nodes <= MOST_NODES:
            return True
        waiting = [value for value in node.used_inputs() if low.deferred(value) and not leads_to(value, low, root)]
        if not waiting:
            return False
        low.tensor(max(waiting, key=lambda value: len(_extent(_waiting(low, value), low, root)[0])))


def leads_to(value: Value, low: Lowering, root: Value | None) -> bool:
    """Whether ``value`` is ``root``, or waits for it."""
    if value is root:
        return True
    child = low.deferred(value)
    return child is not None and is_elementwise(child) and any(leads_to(x, low, root) for x in child.used_inputs())


def _waiting(low: Lowering, value: Value) -> Node:
    node = low.deferred(value)
    assert node is not None
    return node


def _extent(node: Node, low: Lowering, root: Value | None) -> tuple[set[Value], int]:
    """The values that the tree of ``node`` reads, and its nodes."""
    leaves: set[Value] = set()
    nodes = 1
    for value in node.used_inputs():
        child = low.deferred(value)
        if value is root:
            continue
        if child is None or not is_elementwise(child):
            leaves.add(value)
        else:
            inner, count = _extent(child, low, root)
            leaves |= inner
            nodes += count
    return leaves, nodes


def _order(value: Value, reads: dict[Value, Tensor]) -> tuple[int, ...]:
    """The layout of the result: that of the first operand that fills it."""
    for leaf, tensor in reads.items():
        if leaf.shape == value.shape and tensor.rank:
            return tensor.order()
    return tuple(range(len(value.shape)))


Read = tuple[str, Tensor, np.dtype]
"""Name, tensor and the dtype that the graph gives it."""


def emit(tree: Tree, reads: Sequence[Read], y: Tensor, dtype: np.dtype, low: Lowering) -> None:
    """Add the dispatch that evaluates ``tree`` over all of ``y``."""
    if not y.size:
        return
    wide = [_spread(tensor, y.shape) for _, tensor, _ in reads]
    extents, strides = collapsed(y, wide)
    if len(extents) > 1 and _row_is_too_long(extents, strides, [y, *wide], low.binding_limit):
        # two layouts that no range of rows is short in, such as channels first and last: one position at a time
        axis = max(
            range(y.rank), key=lambda axis: y.shape[axis] > 1 and max(abs(tensor.strides[axis]) for tensor in wide)
        )
        for at in range(y.shape[axis]):
            parts = [(name, part.slice(axis, at, 1), kind) for (name, _, kind), part in zip(reads, wide, strict=True)]
            emit(tree, parts, y.slice(axis, at, 1), dtype, low)
        return
    vec = 4 if fits_vec4(extents, strides, [y, *wide]) else 1
    extents[-1] //= vec
    operands, lines = [], []
    for (name, tensor, kind), stride in zip(reads, strides[1:], strict=True):
        items, width = items_of(stride, vec)
        # a new name: the statements call the loaded element by the leaf's
        operand = f"x_{name}"
        operands.append(_operand(operand, tensor, extents, items, width))
        item = f"{operand}[{index_of(operand, items)}]"
        lines.append(f"let {name} = {loaded(item, tensor.dtype, kind, width, vec)};")
    items, width = items_of(strides[0], vec)
    operands.append(_operand("y", y, extents, items, width))
    value = stored(tree.result, y.dtype, dtype, vec)
    low.dispatch(
        Dispatch(
            kernel="elementwise",
            params={
                "extents": extents,
                "row_items": prod(extents[1:]),
                "vec": vec,
                "invocations": INVOCATIONS,
                "functions": functions_in([*tree.lines, tree.result]),
                "lines": [*lines, *tree.lines, f"y[{index_of('y', items)}] = {value};"],
            },
            reads=operands[:-1],
            writes=operands[-1:],
            rows=extents[0],
            grid=linear_grid(prod(extents[1:])),
            flops=y.size * len(tree.lines),
        )
    )


def _spread(tensor: Tensor, shape: Shape) -> Tensor:
    """``tensor`` broadcast to ``shape``; a scalar may have more axes than that, of extent 1."""
    scalar = tensor.reshape(()) if tensor.rank > len(shape) else tensor
    assert scalar is not None
    return scalar.broadcast_to(shape)


def copy(x: Tensor, y: Tensor, low: Lowering) -> None:
    """Add a dispatch that copies ``x`` into ``y``, which has its shape; float types convert."""
    dtype = np.dtype({"f32": np.float32, "f16": np.float32, "i32": np.int32, "u32": np.uint32}[x.dtype])
    emit(Tree(result="a0"), [("a0", x, dtype)], y, dtype, low)


def loaded(item: str, storage: str, dtype: np.dtype, width: int, vec: int) -> str:
    """``item``, read from an operand of that storage type, as a value of the kind that ``dtype`` has."""
    kind = kind_of(dtype)
    if width < vec:  # one element for four: a splat keeps its type
        item = f"{'f32' if storage == 'f16' else storage}({item})"
    if kind == "B":
        return f"(U({item}) != U(0u))"
    return f"{kind}({item})"


def stored(value: str, storage: str, dtype: np.dtype, vec: int) -> str:
    """``value`` of the kind that ``dtype`` has, as it is written to an operand of that storage type."""
    if kind_of(dtype) == "B":
        return f"select(U(0u), U(1u), {value})"
    if storage == "f16":
        return f"{'f16' if vec == 1 else 'vec4<f16>'}({value})"
    return value


def collapsed(y: Tensor, operands: Sequence[Tensor]) -> tuple[list[int], list[list[int]]]:
    """Extents of the fewest axes that iterate over ``y`` in its memory order, and the strides of y and each operand.

    Axes of extent 1 go; neighbours that lie one in the other in every tensor are one axis. At least one is left.
    """
    tensors = [y, *operands]
    extents: list[int] = []
    strides: list[list[int]] = [[] for _ in tensors]
    for axis in y.order():
        extent = y.shape[axis]
        if extent == 1:
            continue
        steps = [tensor.strides[axis] for tensor in tensors]
        if extents and all(have[-1] == step * extent for have, step in zip(strides, steps, strict=True)):
            extents[-1] *= extent
            for have, step in zip(strides, steps, strict=True):
                have[-1] = step
        else:
            extents.append(extent)
            for have, step in zip(strides, steps, strict=True):
                have.append(step)
    if not extents:
        return [1], [[1] for _ in tensors]
    return extents, strides


def _row_is_too_long(extents: list[int], strides: list[list[int]], tensors: Sequence[Tensor], limit: int) -> bool:
    """Whether one position of the first axis spans more of an operand than a binding may hold."""
    spans = (span_of(0, extents[1:], stride[1:]) for stride in strides)
    return any(
        (high - low) * ITEM_BYTES[tensor.dtype] + ALIGNMENT > limit
        for (low, high), tensor in zip(spans, tensors, strict=True)
    )


def fits_vec4(extents: list[int], strides: list[list[int]], tensors: Sequence[Tensor]) -> bool:
    """Whether every operand holds four elements of the innermost axis side by side and aligned, or one for them all."""
    if extents[-1] % 4 or strides[0][-1] != 1:
        return False
    return all(
        stride[-1] == 0 or (stride[-1] == 1 and tensor.offset % 4 == 0 and all(step % 4 == 0 for step in stride[:-1]))
        for stride, tensor in zip(strides, tensors, strict=True)
    )


def items_of(strides: list[int], vec: int) -> tuple[list[int], int]:
    """The strides counted in items of the operand's binding, and the elements of such an item."""
    if vec == 1 or strides[-1] == 0:
        return [*strides[:-1], strides[-1] * vec], 1
    return [stride // vec for stride in strides[:-1]] + [1], vec


def index_of(name: str, items: list[int]) -> str:
    """Where in its binding an operand of these strides has the element of this invocation."""
    terms = [f"params.base_{name}"]
    terms += [f"i{axis}" if stride == 1 else f"i{axis} * {stride}" for axis, stride in enumerate(items) if stride]
    return " + ".join(terms)


def _operand(name: str, tensor: Tensor, extents: list[int], items: list[int], width: int) -> Operand:
    steps = [stride * width for stride in items]
    span = affine_span(tensor, steps[0], [*extents[1:], width], [*steps[1:], 1])
    return Operand(name, tensor, span, width)
