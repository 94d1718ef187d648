"""Einsum: its terms as views, contracted two at a time from the left by the products of matmul.wgsl.

An axis that only one term of a pair has and that nothing needs afterwards is summed by letting the other repeat along
it; a single term whose axes are to be summed is multiplied by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from engine.gpu.kernels.elementwise import Tree, copy, emit
from engine.gpu.kernels.expressions import wrapped
from engine.gpu.kernels.product import multiply
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.einsum import Label, label_extents
from engine.ops.einsum import axis_labels as labelled


@dataclass(frozen=True, slots=True)
class Term:
    """A tensor and what its axes are called, each by another name."""

    labels: tuple[Label, ...]
    tensor: Tensor

    def arranged(self, labels: Sequence[Label], extents: dict[Label, int]) -> Tensor:
        """The view whose axes are ``labels``, which repeats along those that it does not have."""
        at = {label: axis for axis, label in enumerate(self.labels)}
        strides = [self.tensor.strides[at[label]] if label in at else 0 for label in labels]
        shape = tuple(extents[label] for label in labels)
        return Tensor(self.tensor.slot, self.tensor.dtype, shape, tuple(strides), self.tensor.offset)


@lowers("Einsum")
def lower_einsum(node: Node, low: Lowering) -> None:
    tensors = [low.input(node, index) for index in range(len(node.inputs))]
    labels, result = labelled(node.attr("equation", ""), [tensor.rank for tensor in tensors])
    extents = label_extents(labels, [tensor.shape for tensor in tensors])
    terms = [_term(own, tensor, extents) for own, tensor in zip(labels, tensors, strict=True)]
    if len(terms) == 1 and set(terms[0].labels) <= set(result):
        low.hand_on(node, terms[0].arranged(result, extents))
        return
    if len(terms) == 1:
        terms.append(Term((), low.constant(np.ones((), node.output.dtype), "one")))
    total, *rest = terms
    while rest:
        other = rest.pop(0)
        kept = {*result, *(label for term in rest for label in term.labels)}
        total = _Pair(node, total, other, kept, extents).contracted(low, None if rest else result)


def _term(labels: Sequence[Label], tensor: Tensor, extents: dict[Label, int]) -> Term:
    """The input as a term; of axes of one name only the diagonal, which one stride walks."""
    strides = dict.fromkeys(labels, 0)
    for label, extent, stride in zip(labels, tensor.shape, tensor.strides, strict=True):
        strides[label] += stride if extent > 1 else 0
    names = tuple(strides)
    shape = tuple(extents[label] for label in names)
    return Term(names, Tensor(tensor.slot, tensor.dtype, shape, tuple(strides.values()), tensor.offset))


class _Pair:
    """Two terms of ``node``, of whose axes those in ``kept`` are needed afterwards."""

    def __init__(self, node: Node, one: Term, other: Term, kept: Iterable[Label], extents: dict[Label, int]) -> None:
        self.node, self.one, self.other, self.extents = node, one, other, extents
        needed = set(kept)
        both = dict.fromkeys((*one.labels, *other.labels))
        self.summed = [label for label in both if label not in needed]
        self.batch = [label for label in one.labels if label in other.labels and label in needed]
        self.rows = [label for label in one.labels if label not in other.labels and label in needed]
        self.columns = [label for label in other.labels if label not in one.labels and label in needed]

    def contracted(self, low: Lowering, result: Sequence[Label] | None) -> Term:
        """The sum of products; with ``result``, the labels of the node's output, it is that output."""
        labels = (*self.batch, *self.rows, *self.columns)
        shape = self._shape(labels)
        if result is None:
            dtype = low.storage(self.node.output.dtype, prod(shape))
            y = low.scratch(shape, dtype, f"{self.node.output.name}:part")
            self._multiply(low, y)
            return Term(labels, y)
        order = [result.index(label) for label in labels]
        place = low.output(self.node, order=order, reads=[self.one.tensor, self.other.tensor])
        y = place.transpose(order)
        if y.reshape(self._matrices()) is None:
            y = low.scratch(shape, place.dtype, f"{self.node.output.name}:dense")
        self._multiply(low, y)
        if y.slot is not place.slot:
            copy(y, place.transpose(order), low)
        return Term(labels, y)

    def _shape(self, labels: Iterable[Label]) -> tuple[int, ...]:
        return tuple(self.extents[label] for label in labels)

    def _matrices(self) -> tuple[int, ...]:
        return (*self._shape(self.batch), prod(self._shape(self.rows)), prod(self._shape(self.columns)))

    def _multiply(self, low: Lowering, y: Tensor) -> None:
        batch, dtype = self._shape(self.batch), self.node.output.dtype
        if not self.summed:
            labels = [*self.batch, *self.rows, *self.columns]
            reads = [
                (name, term.arranged(labels, self.extents), dtype)
                for name, term in (("a0", self.one), ("a1", self.other))
            ]
            emit(Tree(result=wrapped("(a0 * a1)", dtype)), reads, y, dtype, low)
            return
        m, k, n = (prod(self._shape(labels)) for labels in (self.rows, self.summed, self.columns))
        a = self.one.arranged([*self.batch, *self.rows, *self.summed], self.extents)
        b = self.other.arranged([*self.batch, *self.summed, *self.columns], self.extents)
        target = y.reshape((*batch, m, n))
        assert target is not None
        multiply(low, low.reshaped(a, (*batch, m, k)), low.reshaped(b, (*batch, k, n)), target, dtype)
