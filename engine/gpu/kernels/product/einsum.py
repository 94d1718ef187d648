"""Einsum: its terms as views, contracted in pairs from the left by the products of matmul.wgsl.

An axis that only one term of a pair has, and that no later term and no output has, is summed: the other term repeats
along it. A single term with axes to sum is multiplied by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from engine.gpu.kernels.product.product import multiply
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.chain import Tree
from engine.gpu.program.expressions import wrap
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.einsum import Label, axis_labels, label_extents


@dataclass(frozen=True, slots=True)
class Term:
    """A tensor and the labels of its axes, all different."""

    labels: tuple[Label, ...]
    tensor: Tensor

    def view(self, labels: Sequence[Label], extents: dict[Label, int]) -> Tensor:
        """The view whose axes are ``labels``, with stride 0 along those that the term does not have."""
        axis_of = {label: axis for axis, label in enumerate(self.labels)}
        strides = [self.tensor.strides[axis_of[label]] if label in axis_of else 0 for label in labels]
        shape = tuple(extents[label] for label in labels)
        return Tensor(self.tensor.slot, self.tensor.dtype, shape, strides=tuple(strides), offset=self.tensor.offset)


@lowers("Einsum")
def lower_einsum(node: Node, lowering: Lowering) -> None:
    tensors = [lowering.factor(node, index) for index in range(len(node.inputs))]
    labels, result = axis_labels(node.attr("equation", ""), [tensor.rank for tensor in tensors])
    extents = label_extents(labels, [tensor.shape for tensor in tensors])
    terms = [_term(term_labels, tensor, extents) for term_labels, tensor in zip(labels, tensors, strict=True)]
    if len(terms) == 1 and set(terms[0].labels) <= set(result):
        lowering.alias(node, terms[0].view(result, extents))
        return
    if len(terms) == 1:
        terms.append(Term((), lowering.constant(np.ones((), node.output.dtype), "one")))
    total, *rest = terms
    while rest:
        operand = rest.pop(0)
        needed_labels = {*result, *(label for term in rest for label in term.labels)}
        pair = _Pair(node, total, operand, needed_labels=needed_labels, extents=extents)
        total = pair.contract(lowering, None if rest else result)


def _term(labels: Sequence[Label], tensor: Tensor, extents: dict[Label, int]) -> Term:
    """The input as a term. Axes of one label become one axis along their diagonal, the sum of their strides."""
    strides = dict.fromkeys(labels, 0)
    for label, extent, stride in zip(labels, tensor.shape, tensor.strides, strict=True):
        strides[label] += stride if extent > 1 else 0
    names = tuple(strides)
    shape = tuple(extents[label] for label in names)
    return Term(names, Tensor(tensor.slot, tensor.dtype, shape, strides=tuple(strides.values()), offset=tensor.offset))


class _Pair:
    """Two terms of ``node``; later terms or the output have the labels ``needed_labels``."""

    def __init__(
        self, node: Node, first: Term, second: Term, needed_labels: Iterable[Label], extents: dict[Label, int]
    ) -> None:
        self.node, self.first, self.second, self.extents = node, first, second, extents
        needed = set(needed_labels)
        all_labels = dict.fromkeys((*first.labels, *second.labels))
        self.inner = [label for label in all_labels if label not in needed]
        self.batch = [label for label in first.labels if label in second.labels and label in needed]
        self.rows = [label for label in first.labels if label not in second.labels and label in needed]
        self.columns = [label for label in second.labels if label not in first.labels and label in needed]

    def contract(self, lowering: Lowering, result: Sequence[Label] | None) -> Term:
        """The contraction of both terms. With ``result``, the labels of the node's output, it is written there."""
        labels = (*self.batch, *self.rows, *self.columns)
        shape = self._shape(labels)
        if result is None:
            dtype = lowering.storage(self.node.output.dtype)
            y = lowering.scratch(shape, dtype, f"{self.node.output.name}:part")
            self._multiply(lowering, y)
            return Term(labels, y)
        order = [result.index(label) for label in labels]
        output = lowering.output(self.node, order=order, reads=[self.first.tensor, self.second.tensor])
        y = output.transpose(order)
        if y.reshape(self._matrices()) is None:
            y = lowering.scratch(shape, output.dtype, f"{self.node.output.name}:dense")
        self._multiply(lowering, y)
        if y.slot is not output.slot:
            lowering.copy(y, output.transpose(order))
        return Term(labels, y)

    def _shape(self, labels: Iterable[Label]) -> tuple[int, ...]:
        return tuple(self.extents[label] for label in labels)

    def _matrices(self) -> tuple[int, ...]:
        return (*self._shape(self.batch), prod(self._shape(self.rows)), prod(self._shape(self.columns)))

    def _multiply(self, lowering: Lowering, y: Tensor) -> None:
        batch, dtype = self._shape(self.batch), self.node.output.dtype
        if not self.inner:
            labels = [*self.batch, *self.rows, *self.columns]
            reads = [
                (name, term.view(labels, self.extents), dtype)
                for name, term in (("a0", self.first), ("a1", self.second))
            ]
            lowering.elementwise(Tree(result=wrap("(a0 * a1)", dtype)), reads, y, dtype=dtype)
            return
        m, k, n = (prod(self._shape(labels)) for labels in (self.rows, self.inner, self.columns))
        a = self.first.view([*self.batch, *self.rows, *self.inner], self.extents)
        b = self.second.view([*self.batch, *self.inner, *self.columns], self.extents)
        target = y.view((*batch, m, n))
        a, b = lowering.reshape(a, (*batch, m, k)), lowering.reshape(b, (*batch, k, n))
        multiply(lowering, a, b, target, dtype=dtype)
