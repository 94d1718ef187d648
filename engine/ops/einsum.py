"""Einsum-12/28: a sum of products in Einstein's notation."""

from __future__ import annotations

from collections import Counter

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import round_to, widen
from engine.ops.registry import operator
from engine.ops.types import broadcast

Label = str | int
"""An axis of a term: its letter or, under the ellipsis, its place counted from the last of these axes."""


def axis_labels(equation: str, ranks: list[int]) -> tuple[list[tuple[Label, ...]], tuple[Label, ...]]:
    """The labels of the axes of each input and of the result; ValueError when the equation does not fit ``ranks``.

    Without an arrow the result has the ellipsis and then, by alphabet, every letter that stands once.
    """
    operands, arrow, result = equation.replace(" ", "").partition("->")
    terms = operands.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"equation '{equation}' has {len(terms)} terms for {len(ranks)} inputs")
    term_labels: list[tuple[Label, ...]] = []
    batch: tuple[Label, ...] = ()
    for term, rank in zip(terms, ranks, strict=True):
        head, dots, tail = term.partition("...")
        ellipsis_rank = rank - len(head + tail)
        if ellipsis_rank < 0 or (ellipsis_rank and not dots):
            raise ValueError(f"term '{term}' of equation '{equation}' does not fit {rank} axes")
        for letter in head + tail:
            if not letter.isalpha():
                raise ValueError(f"'{letter}' in equation '{equation}' is no letter")
        term_labels.append((*head, *reversed(range(ellipsis_rank)), *tail))
        batch = max(batch, tuple(reversed(range(ellipsis_rank))), key=len)
    if not arrow:
        letters = Counter(letter for letter in operands if letter.isalpha())
        result = "..." * ("..." in operands) + "".join(
            sorted(letter for letter, count in letters.items() if count == 1)
        )
    head, dots, tail = result.partition("...")
    unknown = set(head + tail) - {label for labels in term_labels for label in labels}
    if unknown:
        raise ValueError(f"result '{result}' of equation '{equation}' names {', '.join(sorted(unknown))}")
    return term_labels, (*head, *(batch if dots else ()), *tail)


def label_extents(terms: list[tuple[Label, ...]], shapes: list[tuple[int, ...]]) -> dict[Label, int]:
    """The extent of each label, to which axes of extent 1 broadcast; ValueError where axes do not fit each other."""
    extents: dict[Label, int] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        for label, extent in zip(labels, shape, strict=True):
            (extents[label],) = broadcast((extents.get(label, 1),), (extent,))
    return extents


def result_shape(equation: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of the result; ValueError when the equation does not fit ``shapes``."""
    terms, result = axis_labels(equation, [len(shape) for shape in shapes])
    extents = label_extents(terms, shapes)
    return tuple(extents[label] for label in result)


@operator("Einsum", since=12)
class Einsum:
    """numpy.einsum of the attribute ``equation``, float16 in float32."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        values = list(node.used_inputs())
        if any(value.dtype != node.input(0).dtype for value in values):
            raise ValueError("the inputs must have one dtype")
        shape = result_shape(node.attr("equation", ""), [value.shape for value in values])
        return [TensorType(node.input(0).dtype, shape)]

    @staticmethod
    def reference(node: Node, *arrays: np.ndarray) -> np.ndarray:
        y = np.einsum(node.attr("equation", ""), *map(widen, arrays), optimize=len(arrays) > 1)
        return round_to(y, arrays[0].dtype)
