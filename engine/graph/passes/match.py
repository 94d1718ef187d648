"""What passes share that look for patterns: the neighbours of each value, what constants and nodes are, new nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isclose
from typing import Any

from engine.graph.ir import Graph, Node, Value
from engine.graph.target import ANY, Target
from engine.ops import infer
from engine.ops.registry import MISFITS, misfit
from engine.ops.resize import AxisTaps, taps_of

SCALAR_TOLERANCE = 2**-11
"""Relative: what rounding to float16 changes at most."""


class Matcher:
    """The producer and the readers of each value of a graph, kept up to date while nodes are replaced.

    A pass makes one, walks ``nodes()``, calls ``replace`` for each match and ``finish`` at the end.
    All of it costs as much as the nodes concerned, where listing producers and readers anew costs the whole graph.
    """

    def __init__(self, graph: Graph, target: Target = ANY) -> None:
        self.graph, self.target = graph, target
        self.producers = graph.producers()
        self.readers = {value: dict.fromkeys(nodes) for value, nodes in graph.consumers().items()}
        self.outputs = set(graph.outputs)
        self._replacements: dict[Node, list[Node]] = {}
        self._insertions: dict[Node, list[Node]] = {}

    def nodes(self) -> Iterator[Node]:
        """The graph's nodes in running order, without replaced ones and without new ones."""
        return (node for node in self.graph.nodes if node not in self._replacements)

    def producer(self, value: Value | None, *ops: str) -> Node | None:
        """The ONNX node that makes ``value`` and nothing else, if its operator is one of ``ops``."""
        node = None if value is None else self.producers.get(value)
        if node is None or node.domain or node.op not in ops or any(node.outputs[1:]):
            return None
        return node

    def private(self, value: Value | None, *ops: str) -> Node | None:
        """The producer, as above, if one node alone reads ``value`` and it is no output of the graph."""
        return self.producer(value, *ops) if value is not None and self.is_private(value) else None

    def reader(self, value: Value, *ops: str) -> Node | None:
        """The ONNX node that alone reads ``value``, no output of the graph, if its operator is one of ``ops``."""
        if not self.is_private(value):
            return None
        (node,) = self.readers[value]
        return node if not node.domain and node.op in ops else None

    def is_private(self, value: Value) -> bool:
        """Whether exactly one node reads ``value`` and it is no output of the graph."""
        return len(self.readers.get(value, ())) == 1 and value not in self.outputs

    def replace(self, node: Node, nodes: list[Node], others: Iterable[Node] = ()) -> bool:
        """Put new ``nodes`` where ``node`` stood, and drop ``others`` as well; nothing where the target refuses one.

        The new nodes produce the values of the old ones that are still read, and read only values produced before them.
        Returns whether they stand there.
        """
        if not all(self.target.supports(new) for new in nodes):
            return False
        for old in {node, *others}:
            self._replacements[old] = []
            for value in set(old.used_inputs()):
                self.readers[value].pop(old)
            for value in old.used_outputs():
                self.producers.pop(value)
        self._replacements[node] = nodes
        self._register(nodes)
        return True

    def insert_after(self, node: Node, nodes: list[Node]) -> None:
        """Put new ``nodes`` behind ``node`` and what was put there before."""
        self._insertions.setdefault(node, []).extend(nodes)
        self._register(nodes)

    def finish(self) -> None:
        """Write the nodes back to the graph, in running order."""

        def with_replacements(nodes: Iterable[Node]) -> Iterator[Node]:
            for node in nodes:
                if node in self._replacements:
                    yield from with_replacements(self._replacements[node])
                else:
                    yield node
                yield from with_replacements(self._insertions.get(node, ()))

        self.graph.nodes = list(with_replacements(self.graph.nodes))

    def _register(self, nodes: list[Node]) -> None:
        for node in nodes:
            for value in node.used_inputs():
                self.readers.setdefault(value, {})[node] = None
            self.producers.update((value, node) for value in node.used_outputs())


def new_node(
    op: str,
    inputs: Sequence[Value | None],
    name: str,
    *,
    attributes: dict[str, Any] | None = None,
    version: int,
    domain: str = "",
    output: Value | None = None,
) -> Node:
    """A new node of one output: ``output``, whose type must be what the inputs give, or a new value called ``name``."""
    node = Node(op, list(inputs), [output], attributes or {}, domain=domain, version=version, name=name)
    kind = infer(node)[0]
    if output is None:
        node.outputs = [Value(name, kind)]
    else:
        assert output.type == kind, f"{node.label} gives {kind}, not {output.type}"
    return node


def scalar(value: Value | None) -> float | None:
    """The number that a constant of one element holds, whatever its rank; None for any other value."""
    return None if value is None or value.data is None or value.data.size != 1 else float(value.data.item())


def is_close(value: Value | None, number: float) -> bool:
    """Whether ``value`` is a constant of one element that equals ``number`` but for rounding."""
    element = scalar(value)
    return element is not None and isclose(element, number, rel_tol=SCALAR_TOLERANCE)


def with_scalar(node: Node | None, number: float) -> Value | None:
    """What an Add or Mul combines with the constant ``number``, in either order, where the shape stays; or None."""
    if node is None or len(node.inputs) != 2:
        return None
    for value, constant in (node.inputs, node.inputs[::-1]):
        if value is not None and is_close(constant, number) and value.shape == node.output.shape:
            return value
    return None


def other_operand(node: Node, value: Value) -> Value:
    """The other operand of a node of two that reads ``value``; ``value`` itself where it reads that twice."""
    return node.input(1) if node.input(0) is value else node.input(0)


def is_dense(node: Node | None) -> bool:
    """Whether the node is a convolution that mixes all channels, with constant parameters."""
    if node is None or node.op != "Conv" or node.domain or node.attr("group", 1) != 1:
        return False
    return all(value is None or value.is_constant for value in node.inputs[1:])


def is_pointwise(node: Node | None) -> bool:
    """Whether the node is such a convolution of each position alone, without strides or padding."""
    return (
        node is not None
        and is_dense(node)
        and set(node.input(1).shape[2:]) == {1}
        and set(node.attr("strides", (1,))) == {1}
        and not any(node.attr("pads", ()))
    )


def resampling(node: Node) -> list[tuple[int, AxisTaps]]:
    """(axis, table) for each axis that a Resize or Upsample changes; ModelError where its attributes do not fit."""
    try:
        return taps_of(node)
    except MISFITS as error:
        raise misfit(node, error) from error
