"""ScatterElements and ScatterND (ONNX versions 11, 13, 16, 18) and Scatter (9): elements replaced by index.

Negative indices count from the back. Where an index stands twice and there is no reduction, the last one stays, which
the specification leaves open.
"""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.gather import element_positions
from engine.ops.registry import operator
from engine.ops.types import normalize_axis

REDUCTIONS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
"""How an update meets what stands there: add and mul since version 16, max and min since version 18."""


def _update(node: Node, x: np.ndarray, positions: tuple[np.ndarray, ...], updates: np.ndarray) -> np.ndarray:
    y = x.copy()
    reduction = node.attr("reduction", "none")
    if reduction == "none":
        y[positions] = updates
    elif reduction in REDUCTIONS:
        REDUCTIONS[reduction].at(y, positions, updates)
    else:
        raise ValueError(f"reduction '{reduction}' is not one of none, {', '.join(REDUCTIONS)}")
    return y


@operator("Scatter", since=9, until=10)
@operator("ScatterElements", since=11)
class ScatterElements:
    """y = x, then y[indices[i, j], j] = updates[i, j] for axis 0."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, indices, updates = node.input(0), node.input(1), node.input(2)
        normalize_axis(node.attr("axis", 0), len(x.shape))
        if indices.shape != updates.shape or len(indices.shape) != len(x.shape):
            raise ValueError("indices and updates differ in shape, or in rank from the data")
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        return _update(node, x, element_positions(indices, node.attr("axis", 0)), updates)


@operator("ScatterND", since=11)
class ScatterND:
    """y = x, then y[indices[..., :]] = updates[...]: the last axis of the indices is a position in x."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, indices, updates = node.input(0), node.input(1), node.input(2)
        if updates.shape != indices.shape[:-1] + x.shape[indices.shape[-1] :]:
            raise ValueError(f"updates of shape {list(updates.shape)} for indices {list(indices.shape)}")
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        return _update(node, x, tuple(np.moveaxis(indices, -1, 0)), updates)
