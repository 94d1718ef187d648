"""Element-wise chains: a tree of nodes becomes one generated kernel, with broadcasting.

A node waits where only another element-wise node, or a kernel with an epilogue, reads its result, which is then never
written. A tree that would read more tensors than every adapter binds is split into several kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from engine.compiled.model import ALIGNMENT
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, affine_span, linear_grid
from engine.gpu.program.expressions import functions_in, kind_of
from engine.gpu.program.rules import RULES, expression
from engine.gpu.program.tensor import ITEM_BYTES, Shape, Tensor, span_of
from engine.graph.ir import Node, Value
from engine.ops.quantize import per_tensor
from engine.ops.types import broadcast

MAX_READS = 7
"""Tensors that one kernel reads at the most: a dispatch has eight storage buffers, and writes one."""

MAX_INPUTS = 4
"""Inputs of a node in a chain at the most, so that one in the epilogue of a product reads three tensors beside it."""

MAX_NODES = 32
"""Nodes of one kernel at the most: with more, a compiler takes long and gains nothing."""


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


def is_elementwise(node: Node) -> bool:
    """Whether one expression computes the node, whose outputs but the first are absent."""
    if node.domain or node.op not in RULES or any(node.outputs[1:]) or len(set(node.used_inputs())) > MAX_INPUTS:
        return False
    return node.op not in ("QuantizeLinear", "DequantizeLinear") or per_tensor(node)


@lowers(*RULES)
def lower_elementwise(node: Node, lowering: Lowering) -> None:
    if is_elementwise(node) and lowering.has_one_reader(node.output):
        (reader,) = lowering.consumers[node.output]
        if is_elementwise(reader) and reader.output.shape == node.output.shape:
            lowering.defer(node)
            return
    if len(set(node.used_inputs())) > MAX_READS:
        _lower_in_parts(node, lowering)
    else:
        lower_now(node, lowering)


def _lower_in_parts(node: Node, lowering: Lowering) -> None:
    """Compute a Max, Min, Sum or Mean of more inputs than one dispatch reads, MAX_READS inputs at a time."""
    reads = [(lowering.tensor(value), value.dtype) for value in node.used_inputs()]
    join = RULES["Sum" if node.op == "Mean" else node.op]
    while True:
        part, reads = reads[:MAX_READS], reads[MAX_READS:]
        names = [f"a{index}" for index in range(len(part))]
        operands = [(name, tensor, dtype) for name, (tensor, dtype) in zip(names, part, strict=True)]
        if not reads:
            y = lowering.output(node, order=part[0][0].order(), reads=[tensor for tensor, _ in part])
            emit(Tree(result=expression(node, names)), operands, y, dtype=node.output.dtype, lowering=lowering)
            return
        shape = broadcast(*(tensor.shape for tensor, _ in part))
        y = lowering.scratch(shape, lowering.storage(node.output.dtype, prod(shape)), f"{node.output.name}:part")
        emit(Tree(result=join(node, names)), operands, y, dtype=node.output.dtype, lowering=lowering)
        reads.insert(0, (y, node.output.dtype))


def lower_now(node: Node, lowering: Lowering) -> None:
    """Compute ``node`` and the waiting nodes under it in one dispatch, or in the epilogue of a product under it."""
    from engine.gpu.lowering.epilogue import fuse

    if fuse(node, lowering):
        return
    limit_reads(node, lowering, None, MAX_READS)
    tree = build_tree(node, lowering)
    reads = {value: lowering.tensor(value) for value in tree.leaves}
    y = lowering.output(node, order=_order(node.output, reads), reads=list(reads.values()))
    emit(
        tree,
        [(name, reads[value], value.dtype) for value, name in tree.leaves.items()],
        y,
        dtype=node.output.dtype,
        lowering=lowering,
    )


def build_tree(node: Node, lowering: Lowering, root: Value | None = None) -> Tree:
    """The tree of ``node`` and the waiting nodes under it.

    ``root`` is a value that the caller computes itself under the name ``root``; it is no leaf.
    """
    tree = Tree()
    names: dict[Value, str] = {}

    def visit(value: Value) -> str:
        if value is root:
            return "root"
        child = lowering.waiting_node(value)
        if child is None or not is_elementwise(child):
            return names.get(value) or tree.name(value)
        names[value] = tree.add(lowering.pop_waiting(value), [visit(value) if value else "" for value in child.inputs])
        return names[value]

    tree.result = tree.add(node, [visit(value) if value else "" for value in node.inputs])
    return tree


def limit_reads(node: Node, lowering: Lowering, root: Value | None, max_reads: int) -> bool:
    """Lower waiting nodes under ``node`` on their own until the tree reads at most ``max_reads`` values.

    Nodes that lead to ``root`` stay in the tree. Returns whether the tree has few enough reads and nodes.
    """
    while True:
        leaves, nodes = _tree_size(node, lowering, root)
        if len(leaves) <= max_reads and nodes <= MAX_NODES:
            return True
        waiting_values = [
            value
            for value in node.used_inputs()
            if lowering.waiting_node(value) and not leads_to(value, lowering, root)
        ]
        if not waiting_values:
            return False
        lowering.tensor(
            max(waiting_values, key=lambda value: len(_tree_size(_waiting_node(lowering, value), lowering, root)[0]))
        )


def leads_to(value: Value, lowering: Lowering, root: Value | None) -> bool:
    """Whether ``value`` is ``root``, or a waiting node computes it from ``root``."""
    if value is root:
        return True
    child = lowering.waiting_node(value)
    return child is not None and is_elementwise(child) and any(leads_to(x, lowering, root) for x in child.used_inputs())


def _waiting_node(lowering: Lowering, value: Value) -> Node:
    node = lowering.waiting_node(value)
    assert node is not None
    return node


def _tree_size(node: Node, lowering: Lowering, root: Value | None) -> tuple[set[Value], int]:
    """The values that the tree of ``node`` reads, and the number of its nodes."""
    leaves: set[Value] = set()
    nodes = 1
    for value in node.used_inputs():
        child = lowering.waiting_node(value)
        if value is root:
            continue
        if child is None or not is_elementwise(child):
            leaves.add(value)
        else:
            child_leaves, count = _tree_size(child, lowering, root)
            leaves |= child_leaves
            nodes += count
    return leaves, nodes


def _order(value: Value, reads: dict[Value, Tensor]) -> tuple[int, ...]:
    """The order of the result's axes: that of the first operand with its shape."""
    for leaf, tensor in reads.items():
        if leaf.shape == value.shape and tensor.rank:
            return tensor.order()
    return tuple(range(len(value.shape)))


ChainInput = tuple[str, Tensor, np.dtype]
"""An operand of a chain: its name, its tensor, and its dtype in the graph."""


def emit(tree: Tree, reads: Sequence[ChainInput], y: Tensor, dtype: np.dtype, lowering: Lowering) -> None:
    """Add the dispatch that evaluates ``tree`` over all of ``y``."""
    if not y.size:
        return
    views = [_broadcast(tensor, y.shape) for _, tensor, _ in reads]
    extents, strides = collapse_axes(y, views)
    if len(extents) > 1 and _row_exceeds_binding(extents, strides, [y, *views], lowering.binding_limit):
        # two layouts, such as channels first and channels last, so that any row spans much: a dispatch a position
        axis = max(
            range(y.rank), key=lambda axis: y.shape[axis] > 1 and max(abs(tensor.strides[axis]) for tensor in views)
        )
        for position in range(y.shape[axis]):
            parts = [
                (name, part.slice(axis, position, 1), kind) for (name, _, kind), part in zip(reads, views, strict=True)
            ]
            emit(tree, parts, y.slice(axis, position, 1), dtype=dtype, lowering=lowering)
        return
    vec = 4 if fits_vec4(extents, strides, [y, *views]) else 1
    extents[-1] //= vec
    operands, lines = [], []
    for (name, tensor, kind), stride in zip(reads, strides[1:], strict=True):
        items, width = item_strides(stride, vec)
        # the statements use the leaf's name for the loaded element, so the operand has another
        operand = f"x_{name}"
        operands.append(_operand(operand, tensor, extents=extents, items=items, width=width))
        item = f"{operand}[{index_of(operand, items)}]"
        lines.append(f"let {name} = {load_expression(item, storage=tensor.dtype, dtype=kind, width=width, vec=vec)};")
    items, width = item_strides(strides[0], vec)
    operands.append(_operand("y", y, extents=extents, items=items, width=width))
    value = store_expression(tree.result, y.dtype, dtype, vec)
    lowering.dispatch(
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


def _broadcast(tensor: Tensor, shape: Shape) -> Tensor:
    """``tensor`` broadcast to ``shape``; a tensor of one element may have more axes than that, of extent 1."""
    scalar = tensor.reshape(()) if tensor.rank > len(shape) else tensor
    assert scalar is not None
    return scalar.broadcast_to(shape)


def copy(x: Tensor, y: Tensor, lowering: Lowering) -> None:
    """Add a dispatch that copies ``x`` into ``y``, which has its shape; float types convert."""
    dtype = np.dtype({"f32": np.float32, "f16": np.float32, "i32": np.int32, "u32": np.uint32}[x.dtype])
    emit(Tree(result="a0"), [("a0", x, dtype)], y, dtype=dtype, lowering=lowering)


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


def index_of(name: str, items: list[int]) -> str:
    """The index, as WGSL, of this invocation's item in the binding of an operand of these strides in items."""
    terms = [f"params.base_{name}"]
    terms += [f"i{axis}" if stride == 1 else f"i{axis} * {stride}" for axis, stride in enumerate(items) if stride]
    return " + ".join(terms)


def _operand(name: str, tensor: Tensor, extents: list[int], items: list[int], width: int) -> Operand:
    steps = [stride * width for stride in items]
    span = affine_span(tensor, steps[0], [*extents[1:], width], [*steps[1:], 1])
    return Operand(name, tensor, span, width)
