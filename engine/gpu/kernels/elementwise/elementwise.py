"""Element-wise nodes: a tree of them becomes one generated kernel, with broadcasting."""

from __future__ import annotations

from engine.gpu.lowering.fusion import MAX_READS, build_tree, fuse, is_elementwise, joins_reader, limit_reads
from engine.gpu.lowering.lowering import Lowering, Waiting, lowers
from engine.gpu.program.chain import Tree
from engine.gpu.program.rules import RULES, expression
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, Value
from engine.ops.types import broadcast


@lowers(*RULES)
def lower_elementwise(node: Node, lowering: Lowering) -> None:
    if is_elementwise(node) and joins_reader(node, lowering):
        lowering.defer(Waiting(node, lower_now))
    elif len(set(node.used_inputs())) > MAX_READS:
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
            lowering.elementwise(Tree(result=expression(node, names)), operands, y, dtype=node.output.dtype)
            return
        shape = broadcast(*(tensor.shape for tensor, _ in part))
        y = lowering.scratch(shape, lowering.storage(node.output.dtype), f"{node.output.name}:part")
        lowering.elementwise(Tree(result=join(node, names)), operands, y, dtype=node.output.dtype)
        reads.insert(0, (y, node.output.dtype))


def lower_now(node: Node, lowering: Lowering) -> None:
    """Compute ``node`` and the waiting nodes under it in one dispatch, or in the epilogue of a product under it."""
    if fuse(node, lowering):
        return
    limit_reads(node, lowering, None, MAX_READS)
    tree = build_tree(node, lowering)
    reads = {value: lowering.tensor(value) for value in tree.leaves}
    y = lowering.output(node, order=_order(node.output, reads), reads=list(reads.values()))
    lowering.elementwise(
        tree, [(name, reads[value], value.dtype) for value, name in tree.leaves.items()], y, dtype=node.output.dtype
    )


def _order(value: Value, reads: dict[Value, Tensor]) -> tuple[int, ...]:
    """The order of the result's axes: that of the first operand with its shape."""
    for leaf, tensor in reads.items():
        if leaf.shape == value.shape and tensor.rank:
            return tensor.order()
    return tuple(range(len(value.shape)))
