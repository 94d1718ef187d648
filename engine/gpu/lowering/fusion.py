"""Fusion: element-wise nodes join the kernel that reads them, or the epilogue of the product that feeds them.

A node waits where only an element-wise node reads its result, which is then never written. The lowering of the last
node of such a chain finds the others waiting under it; a product at its root computes all of it in its epilogue. A tree
that would read more tensors than every adapter binds is split into several kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.gpu.lowering.lowering import KERNELS, Emit, Lowering, Waiting
from engine.gpu.program.chain import PLAIN, Tree
from engine.gpu.program.rules import RULES
from engine.graph.ir import Node, Value
from engine.ops.quantize import per_tensor

MAX_READS = 7
"""Tensors that one kernel reads at the most: a dispatch has eight storage buffers, and writes one."""

MAX_INPUTS = 4
"""Inputs of a node in a chain at the most, so that one in the epilogue of a product reads three tensors beside it."""

MAX_NODES = 32
"""Nodes of one kernel at the most: with more, a compiler takes long and gains nothing."""


def is_elementwise(node: Node) -> bool:
    """Whether one expression computes the node, whose outputs but the first are absent."""
    if node.domain or node.op not in RULES or any(node.outputs[1:]) or len(set(node.used_inputs())) > MAX_INPUTS:
        return False
    return node.op not in ("QuantizeLinear", "DequantizeLinear") or per_tensor(node)


def fusible(*ops: str, reads: int, domain: str = "") -> Callable[[Emit], Emit]:
    """Register a product with an epilogue for those operators.

    It reads at most ``reads`` tensors itself, and at most one beside its node's inputs.
    """

    def register(emit: Emit) -> Emit:
        def kernel(node: Node, lowering: Lowering) -> None:
            lower_product(node, lowering, emit, min(reads, len(list(node.used_inputs())) + 1))

        for op in ops:
            KERNELS[domain, op] = kernel
        return emit

    return register


def lower_product(node: Node, lowering: Lowering, emit: Emit, reads: int) -> None:
    """Defer ``node`` where an element-wise node alone reads it, else let ``emit`` lower it now, without a chain."""
    waiting = Waiting(node, lambda node, lowering: emit(node, lowering, PLAIN, node), emit, reads)
    if joins_reader(node, lowering):
        lowering.defer(waiting)
    else:
        waiting.lower(node, lowering)


def joins_reader(node: Node, lowering: Lowering) -> bool:
    """Whether the only reader of ``node`` is an element-wise node of its shape, which can compute both."""
    if not lowering.has_one_reader(node.output):
        return False
    (reader,) = lowering.consumers[node.output]
    return is_elementwise(reader) and reader.output.shape == node.output.shape


def build_tree(node: Node, lowering: Lowering, root: Value | None = None) -> Tree:
    """The tree of ``node`` and the waiting nodes under it.

    ``root`` is a value that the caller computes itself under the name ``root``; it is no leaf.
    """
    tree = Tree()
    names: dict[Value, str] = {}

    def visit(value: Value) -> str:
        if value is root:
            return "root"
        child = _waiting_chain(value, lowering)
        if child is None:
            return names.get(value) or tree.name(value)
        names[value] = tree.add(lowering.pop_waiting(value), [visit(value) if value else "" for value in child.inputs])
        return names[value]

    tree.result = tree.add(node, [visit(value) if value else "" for value in node.inputs])
    return tree


def limit_reads(node: Node, lowering: Lowering, root: Value | None, max_reads: int) -> bool:
    """Lower waiting nodes under ``node`` on their own until the tree reads at most ``max_reads`` values.

    Nodes that lead to ``root`` stay in the tree. Returns whether the tree has few enough reads and nodes.
    """

    def reads_below(value: Value) -> int:
        waiting = lowering.waiting(value)
        assert waiting is not None
        return len(_tree_size(waiting.node, lowering, root)[0])

    while True:
        leaves, nodes = _tree_size(node, lowering, root)
        if len(leaves) <= max_reads and nodes <= MAX_NODES:
            return True
        waiting_values = [
            value for value in node.used_inputs() if lowering.waiting(value) and not leads_to(value, lowering, root)
        ]
        if not waiting_values:
            return False
        lowering.tensor(max(waiting_values, key=reads_below))


def leads_to(value: Value, lowering: Lowering, root: Value | None) -> bool:
    """Whether ``value`` is ``root``, or a waiting node computes it from ``root``."""
    if value is root:
        return True
    child = _waiting_chain(value, lowering)
    return child is not None and any(leads_to(x, lowering, root) for x in child.used_inputs())


def _waiting_chain(value: Value, lowering: Lowering) -> Node | None:
    """The element-wise node that computes ``value`` where it waits, else None."""
    waiting = lowering.waiting(value)
    return None if waiting is None or waiting.emit is not None else waiting.node


def _tree_size(node: Node, lowering: Lowering, root: Value | None) -> tuple[set[Value], int]:
    """The values that the tree of ``node`` reads, and the number of its nodes."""
    leaves: set[Value] = set()
    nodes = 1
    for value in node.used_inputs():
        child = _waiting_chain(value, lowering)
        if value is root:
            continue
        if child is None:
            leaves.add(value)
        else:
            child_leaves, count = _tree_size(child, lowering, root)
            leaves |= child_leaves
            nodes += count
    return leaves, nodes


def fuse(node: Node, lowering: Lowering) -> bool:
    """Compute ``node`` in the epilogue of a waiting product under it. Returns whether there is one."""
    product = _product_below(node, lowering)
    if product is None:
        return False
    value, emit, reads = product
    if not limit_reads(node, lowering, value, MAX_READS - reads):
        # the chain is too long for one epilogue: its first part goes there, and the rest reads the result
        lowering.tensor(next(leaf for leaf in node.used_inputs() if leads_to(leaf, lowering, value)))
        return fuse(node, lowering)
    tree = build_tree(node, lowering, value)
    lowering.emit_product(value, emit, tree, node)
    return True


def _product_below(node: Node, lowering: Lowering) -> tuple[Value, Emit, int] | None:
    """The waiting product under ``node``, of several that of the last input: its output, and how it is lowered."""
    for value in reversed(list(node.used_inputs())):
        waiting = lowering.waiting(value)
        if waiting is None:
            continue
        if waiting.emit is not None:
            return value, waiting.emit, waiting.reads
        product = _product_below(waiting.node, lowering)
        if product is not None:
            return product
    return None
