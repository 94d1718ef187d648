"""A LayerNormalization that the product behind it computes.

y = (x · v - mean · Σ v) · inverse + b · w, where v = scale · w and ``inverse`` is 1 over the deviation. The normalised
row is never written: ``scale`` goes into the weights, and ``b`` times the weights is added to the sums. The kernel that
writes x has written moments of its rows (row_moments.py), or this one takes the statistics of a row while it loads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.gpu.lowering.lowering import Kernel, Lowering, RowMoments, Waiting
from engine.graph.ir import Node, Value
from engine.ops.normalization import EPSILON, trailing

LEAVES_BESIDE_MOMENTS = 3
"""Tensors that an epilogue reads at the most beside moments, x, weights and their factors, of eight that are bound."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """A LayerNormalization over the last axis, whose ``scale`` and ``b`` are constant; ``moments`` of its rows, where
    they are at hand."""

    node: Node
    moments: RowMoments | None = None

    @property
    def x(self) -> Value:
        """What it normalises."""
        return self.node.input(0)

    @property
    def epsilon(self) -> float:
        """What is added to the variance."""
        return self.node.attr("epsilon", EPSILON)

    @property
    def key(self) -> str:
        """What tells weights with this scale and ``b`` from others."""
        return f"normalized by {' '.join(value.name for value in list(self.node.used_inputs())[1:])}"

    def scaled(self, weights: np.ndarray) -> np.ndarray:
        """``weights`` ``[C, N]``, times the scale of each channel."""
        scale = self.node.constant(1)
        assert scale is not None
        return (weights.astype(np.float32) * scale.astype(np.float32)[:, None]).astype(np.float32)

    def shift(self, weights: np.ndarray) -> np.ndarray:
        """What ``b`` adds to each column of ``weights`` ``[C, N]``: float32 ``[N]``."""
        b = self.node.constant(2)
        if b is None:
            return np.zeros(weights.shape[1], np.float32)
        return (b.astype(np.float64) @ weights.astype(np.float64)).astype(np.float32)


def waiting_normalization(value: Value, lowering: Lowering, leaves: int) -> Normalization | None:
    """The LayerNormalization that computes ``value`` where it waits for its reader, else None.

    It has moments where the reader, whose epilogue reads ``leaves`` tensors, has a binding for them.
    """
    waiting = lowering.waiting(value)
    if waiting is None or waiting.node.op != "LayerNormalization":
        return None
    moments = lowering.row_moments.get(waiting.node.input(0)) if leaves <= LEAVES_BESIDE_MOMENTS else None
    return Normalization(waiting.node, moments)


def product_behind(node: Node, lowering: Lowering) -> Node | None:
    """The product that may compute the LayerNormalization ``node``: it alone reads it, times a constant matrix."""
    parameters = list(node.used_inputs())[1:]
    if (
        lowering.caps.matrix_units is None
        or not lowering.has_one_reader(node.output)
        or any(lowering.is_read(node, index) for index in (1, 2))
        or len(trailing(node, node.input(0).shape)) != 1
        or not all(value.is_constant and len(value.shape) == 1 for value in parameters)
    ):
        return None
    (reader,) = lowering.consumers[node.output]
    multiplies = reader.op == "MatMul" and not reader.domain and reader.input(0) is node.output
    return reader if multiplies and reader.input(1).is_constant else None


def wait_for_product(node: Node, lowering: Lowering, lower: Kernel) -> bool:
    """Defer a LayerNormalization that a product on matrix units alone reads, and may compute; ``lower`` is its own
    kernel. Returns whether it waits."""
    waits = product_behind(node, lowering) is not None
    if waits:
        lowering.defer(Waiting(node, lower))
    return waits
