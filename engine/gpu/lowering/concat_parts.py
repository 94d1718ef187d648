"""Where the parts of a Concat lie: in its output, which their producers write views of.

A dispatch cannot write into a buffer that it reads. So a part that the producer of another part reads is needed outside
of the output as well: its producer writes it twice, where it can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.gpu.program.rules import RULES
from engine.gpu.program.tensor import Tensor, channels_last
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


def output_order(value: Value, parts: dict[Value, Part]) -> tuple[int, ...] | None:
    """The order of the axes of a Concat's output: channels last where it joins channels, else None, row-major."""
    rank = len(value.shape)
    joins_channels = rank >= 3 and any(part.output is value and part.axis == 1 for part in parts.values())
    return channels_last(rank) if joins_channels else None
