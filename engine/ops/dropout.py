"""Dropout at inference: x itself (ONNX Dropout-7/10/12/13/22)."""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator


def _mask_dtype(node: Node) -> np.dtype[np.generic]:
    return np.dtype(np.bool_) if node.version >= 10 else node.input(0).dtype


@operator("Dropout", since=7, static=[1, 2])
class Dropout:
    """x, and a mask of ones: bool, in version 7 of the dtype of x.

    Training with a ratio other than 0, by the third input since version 12, is refused with UnsupportedError.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, ratio, training = node.input(0), node.constant(1), node.constant(2)
        if training is not None and training.any() and (ratio is None or ratio.any()):
            raise UnsupportedError(f"{node.label}: training is not supported; export the model for inference")
        return [x.type, TensorType(_mask_dtype(node), x.shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray, *_: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return x, np.ones(x.shape, _mask_dtype(node))
