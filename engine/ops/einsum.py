"""Einsum-12/28: a sum of products in Einstein's notation."""

from __future__ import annotations

from collections import Counter

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import rounded, widened
from engine.ops.registry import operator
from engine.ops.types import broadcast


def result_shape(equation: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of the result; ValueError when the equation does not fit ``shapes``.

    Without an arrow the result has the ellipsis and then, by alphabet, every letter that stands once.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"equation '{equation}' has {len(terms)} terms for {len(shapes)} inputs")
    extents: dict[str, int] = {}
    batch: tuple[int, ...] = ()
    for term, shape in zip(terms, shapes, strict=True):
        head, dots, tail = term.partition("...")
        spare = len(shape) - len(head + tail)
        if spare < 0 or (spare and not dots):
            raise ValueError(f"term '{term}' of equation '{equation}' does not fit shape {list(shape)}")
        batch = broadcast(batch, shape[len(head) : len(head) + spare])
        for letter, extent in zip(head + tail, shape[: len(head)] + shape[len(head) + spare :], strict=True):
            if not letter.isalpha():
                raise ValueError(f"'{letter}' in equation '{equation}' is no letter")
            (extents[letter],) = broadcast((extents.get(letter, 1),), (extent,))
    if not arrow:
        count = Counter(left)
        right = "..." * ("..." in left) + "".join(sorted(letter for letter in extents if count[letter] == 1))
    head, dots, tail = right.partition("...")
    unknown = set(head + tail) - set(extents)
    if unknown:
        raise ValueError(f"result '{right}' of equation '{equation}' names {', '.join(sorted(unknown))}")
    return (*(extents[letter] for letter in head), *(batch if dots else ()), *(extents[letter] for letter in tail))


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
        y = np.einsum(node.attr("equation", ""), *map(widened, arrays), optimize=len(arrays) > 1)
        return rounded(y, arrays[0].dtype)
