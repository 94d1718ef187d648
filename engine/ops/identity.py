"""Identity (ONNX versions 1, 13, 14): x itself."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator


@operator("Identity")
class Identity:
    """y = x."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        return [node.input(0).type]

    @staticmethod
    def reference(_: Node, x: np.ndarray) -> np.ndarray:
        return x
