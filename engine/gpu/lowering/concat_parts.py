"""Where the parts of a Concat lie: in its output, which their producers write views of.

A dispatch cannot write into a buffer that it reads. So a part that the producer of another part reads is needed outside
of the output as well: its producer writes it twice, where it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.gpu.program.rules import RULES
from engine.gpu.program.tensor import Tensor, channels_last, new_tensor
from engine.graph.ir import Graph, Node, Value
from engine.ops.concat import concat_axis
from engine.ops.transpose import permutation

RELABELLINGS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose"}
"""Operators whose output is a view of all of their first input."""

ALIASES = {*RELABELLINGS, "Expand", "Slice", "Split"}
"""Operators whose outputs are views of their first input."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a Concat: the Concat's output, the axis that it joins, and the positions on it.

    ``relabellings`` are the nodes that make the part of the value that a kernel writes, the last one first.
    """

    output: Value
    axis: int
    start: int
    count: int
    relabellings: tuple[Node, ...] = ()

    def view(self, concat_output: Tensor) -> Tensor | None:
        """The place of the value in the Concat's output; None where no strides express it."""
        view: Tensor | None = concat_output.slice(self.axis, self.start, self.count)
        for node in self.relabellings:
            if view is None:
                return None
            if node.op == "Transpose":
                view = view.transpose(np.argsort(permutation(node, view.rank)).tolist())
            else:
                view = view.reshape(node.input(0).shape)
        return view


def concat_parts(graph: Graph) -> dict[Value, Part]:
    """The part that each value is that a Concat joins, as it is or relabelled: of the first one, where several do."""
    parts: dict[Value, Part] = {}
    producers = graph.producers()
    for node in graph.nodes:
        if node.op != "Concat" or node.domain:
            continue
        axis, start = concat_axis(node, len(node.output.shape)), 0
        for value in node.used_inputs():
            source, relabellings = value, []
            while source in producers and producers[source].op in RELABELLINGS and not producers[source].domain:
                relabellings.append(producers[source])
                source = relabellings[-1].input(0)
            if source not in parts and source in producers and source.type.size:
                parts[source] = Part(node.output, axis, start, value.shape[axis], tuple(relabellings))
            start += value.shape[axis]
    return parts


def read_by_siblings(graph: Graph, parts: dict[Value, Part]) -> set[Value]:
    """The parts that the dispatch which makes another part of the same output reads, itself or a view of it."""
    producers, readers = graph.producers(), graph.consumers()

    def outermost(value: Value) -> Value | None:
        part = parts.get(value)
        return None if part is None else outermost(part.output) or part.output

    def reads(node: Node, root: Value | None) -> set[Value]:
        """What the kernel of ``node`` may read: its inputs, those of element-wise nodes that may join it, and what
        these are views of."""
        result: set[Value] = set()
        for value in node.used_inputs():
            producer = producers.get(value)
            result.add(value)
            if producer is None or producer.domain or outermost(value) is root:
                continue
            is_joined = len(readers[value]) == 1 and (producer.op in RULES or node.op in RULES)
            if producer.op in ALIASES or is_joined:
                result |= reads(producer, root)
        return result

    result: set[Value] = set()
    for value in parts:
        node = producers[value]
        if node.op != "Concat" or node.domain:  # whose parts lie where it does
            root = outermost(value)
            result |= {other for other in reads(node, root) if outermost(other) is root}
    return result


class ConcatOutputs:
    """The outputs of the Concats of a graph, each of which exists from the lowering of its first part on.

    ``storage`` gives the storage type of a value.
    """

    def __init__(self, graph: Graph, storage: Callable[[Value], str]) -> None:
        self._storage = storage
        self._parts = concat_parts(graph)
        self._read_by_siblings = read_by_siblings(graph, self._parts)
        self._outputs: dict[Value, Tensor] = {}
        self._twins: set[Value] = set()

    def joins(self, value: Value) -> bool:
        """Whether a Concat joins ``value``, as it is or relabelled."""
        return value in self._parts

    def output(self, value: Value) -> Tensor:
        """The tensor of a Concat's output: channels last where it joins channels, else row-major."""
        if value not in self._outputs:
            rank = len(value.shape)
            joins_channels = rank >= 3 and any(part.output is value and part.axis == 1 for part in self._parts.values())
            order = channels_last(rank) if joins_channels else None
            tensor = self.view(value, order, ())
            self._outputs[value] = tensor or new_tensor(value.shape, self._storage(value), value.name, order=order)
        return self._outputs[value]

    def view(self, value: Value, order: Sequence[int] | None, reads: Sequence[Tensor]) -> Tensor | None:
        """The part of a Concat's output that is ``value``; None where no Concat joins it, or it cannot lie there.

        Its axes lie in ``order`` (default row-major), and in the slot of none of ``reads``.
        """
        part = self._parts.get(value)
        if part is None:
            return None
        output = self.output(part.output)
        if output.dtype != self._storage(value) or any(output.slot is tensor.slot for tensor in reads):
            return None
        view = part.view(output)
        in_order = view is not None and view.has_order(range(view.rank) if order is None else order)
        return view if in_order else None

    def twin(self, value: Value, order: Sequence[int], reads: Sequence[Tensor]) -> Tensor | None:
        """Where a kernel writes ``value`` a second time if it can: its place in the output of a Concat.

        None unless the kernel of another part reads the value, which then cannot lie there alone.
        """
        return self.view(value, order, reads) if value in self._read_by_siblings else None

    def add_twin(self, value: Value) -> None:
        """Note that a kernel writes the twin of ``value``."""
        self._twins.add(value)

    def has_twin(self, output: Value, start: int) -> bool:
        """Whether a kernel wrote the part of a Concat's output at ``start`` as a twin."""
        parts = (self._parts[value] for value in self._twins)
        return any(part.output is output and part.start == start for part in parts)
