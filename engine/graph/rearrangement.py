"""Where the elements of a value come from, through any number of nodes that only move them.

Exporters write one rearrangement in many ways: a roll as slices and a concatenation, a cut into patches as a web of a
thousand nodes. Passes that look for a rearrangement therefore run its nodes on the numbers of the elements, and compare
what comes out with what they expect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.graph.ir import Node, Value
from engine.ops.registry import apply_reference

RELABELLINGS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
"""Operators that keep the order of the elements."""

REARRANGEMENTS = {*RELABELLINGS, "Transpose", "Slice", "Split", "Concat", "Gather", "Pad"}
"""Operators that only move elements where all their inputs but the data are constants."""


class Rearrangements:
    """The rearrangements of one graph.

    Two values have the same ``signature`` where the same nodes, on the same constants, lead to them from sources of the
    same shape; then the same elements come to the same places, and what holds for one holds for the other.
    """

    def __init__(self, producers: Mapping[Value, Node]) -> None:
        self._producers = producers
        self._sources: dict[Value, Value | None] = {}
        self._signatures: dict[Value, int] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._verdicts: dict[tuple[Any, ...], bool] = {}
        self._counting = np.empty(0, np.int32)

    def numbers(self, count: int) -> np.ndarray:
        """The numbers from 1 to ``count``, int32, not to be written to; one array serves all that ask."""
        if self._counting.size < count:
            self._counting = np.arange(1, count + 1, dtype=np.int32)
        return self._counting[:count]

    def moves(self, value: Value) -> bool:
        """Whether the producer of ``value`` only moves elements."""
        node = self._producers.get(value)
        return node is not None and is_rearrangement(node)

    def source(self, value: Value) -> Value | None:
        """The one value that all elements come from, but for zeros of a Pad; None where there are several."""
        pending = [value]
        while pending:
            current = pending[-1]
            if current in self._sources:
                pending.pop()
                continue
            if not self.moves(current):
                self._sources[current] = current
                continue
            inputs = _data_inputs(self._producers[current])
            missing = [item for item in inputs if item not in self._sources]
            pending += missing
            if not missing:
                sources = {self._sources[item] for item in inputs}
                self._sources[current] = sources.pop() if len(sources) == 1 else None
        return self._sources[value]

    def signature(self, value: Value) -> int:
        """A number for how ``value`` follows from its source."""
        pending = [value]
        while pending:
            current = pending[-1]
            if current in self._signatures:
                pending.pop()
                continue
            if not self.moves(current):
                self._signatures[current] = self._number((current.shape, current.dtype.name))
                continue
            node = self._producers[current]
            missing = [item for item in _data_inputs(node) if item not in self._signatures]
            pending += missing
            if not missing:
                self._signatures[current] = self._number(self._key(node, current))
        return self._signatures[value]

    def _key(self, node: Node, value: Value) -> tuple[Any, ...]:
        inputs: list[Any] = []
        for item in node.inputs:
            if item is None or item.data is None:
                inputs.append(None if item is None else self._signatures[item])
            else:
                # bytes alone are not enough: an index of rank 1 keeps the axis that one of rank 0 drops
                inputs.append((item.data.tobytes(), item.dtype.str, item.shape))
        attributes = tuple(sorted((name, str(item)) for name, item in node.attributes.items()))
        return node.op, node.version, attributes, node.outputs.index(value), *inputs

    def _number(self, key: tuple[Any, ...]) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def elements(self, value: Value) -> np.ndarray:
        """For each element of ``value`` the number of the element of its source, counted from 1; 0 for padding.

        An int32 array of the value's shape; the source has fewer than 2³¹ elements.
        """
        source = self.source(value)
        assert source is not None
        arrays = {source: self.numbers(source.type.size).reshape(source.shape)}
        pending = [value]
        while pending:
            current = pending[-1]
            node = self._producers.get(current)
            if current in arrays or node is None:
                pending.pop()
                continue
            missing = [item for item in _data_inputs(node) if item not in arrays]
            pending += missing
            if not missing:
                inputs = [None if item is None else arrays.get(item, item.data) for item in node.inputs]
                for output, array in zip(node.outputs, apply_reference(node, inputs), strict=False):
                    if output is not None:
                        arrays[output] = array
        return arrays[value]

    def matches(self, value: Value, pattern: tuple[Any, ...], expected: Callable[[], np.ndarray]) -> bool:
        """Whether the elements of ``value`` are those of ``expected``, whatever the shape.

        ``pattern`` names what ``expected`` computes: the answer is memoised by it and the signature of ``value``.
        """
        key = (self.signature(value), *pattern)
        if key not in self._verdicts:
            elements, array = self.elements(value), expected()
            # in the shape of the value, in which both are views of a few numbers far more often than in one axis
            self._verdicts[key] = elements.size == array.size and bool((elements == array.reshape(value.shape)).all())
        return self._verdicts[key]


def is_rearrangement(node: Node) -> bool:
    """Whether the node only moves the elements of inputs that are not constant, zeros aside."""
    if node.op not in REARRANGEMENTS or node.domain or not _data_inputs(node):
        return False
    if node.op == "Concat":
        return all(value is not None and not value.is_constant for value in node.inputs)
    rest = node.inputs[1:]
    if node.input(0).is_constant or any(value is not None and not value.is_constant for value in rest):
        return False
    return node.op != "Pad" or _pads_zeros(node)


def _data_inputs(node: Node) -> list[Value]:
    """The inputs whose elements are moved."""
    return [value for value in node.used_inputs() if not value.is_constant]


def _pads_zeros(node: Node) -> bool:
    fill = node.constant(2)
    return node.attr("mode", "constant") == "constant" and (
        not node.attr("value", 0.0) if fill is None else not fill.any()
    )
