"""EyeLike (ONNX versions 9, 22) and Trilu (14): matrices by their diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.graph.dtypes import dtype_of
from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator


def _eye_dtype(node: Node, dtype: np.dtype[Any]) -> np.dtype[Any]:
    element_type = node.attr("dtype")
    return dtype if element_type is None else dtype_of(element_type, node.label)


@operator("EyeLike", since=9)
class EyeLike:
    """A matrix of the shape of x with ones on the diagonal ``k``, in ``dtype`` or that of x."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        if len(x.shape) != 2:
            raise ValueError(f"rank {len(x.shape)} is not a matrix")
        return [TensorType(_eye_dtype(node, x.dtype), x.shape)]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        rows, columns = x.shape
        return np.eye(rows, columns, k=node.attr("k", 0), dtype=_eye_dtype(node, x.dtype))


@operator("Trilu", since=14)
class Trilu:
    """The upper (default) or lower triangle of the last two axes from the diagonal ``k`` on, zero elsewhere."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        if len(x.shape) < 2:
            raise ValueError(f"rank {len(x.shape)} holds no matrices")
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray, k: np.ndarray | None = None) -> np.ndarray:
        # k may be anything an int64 holds; beyond the corners of the matrix nothing changes any more.
        diagonal = 0 if k is None else int(np.clip(k.item(), -x.shape[-2] - 1, x.shape[-1] + 1))
        return np.triu(x, diagonal) if node.attr("upper", 1) else np.tril(x, diagonal)
