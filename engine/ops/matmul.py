"""MatMul-1/9/13 and Gemm-7/9/11/13."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.elementwise import round_to, widen
from engine.ops.registry import operator
from engine.ops.types import broadcast


def product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of numpy.matmul of ``a`` and ``b``, vectors and batches included; ValueError when they do not fit."""
    if not a or not b:
        raise ValueError("a scalar has no matrix product")
    rows = a if len(a) > 1 else (1, *a)
    columns = b if len(b) > 1 else (*b, 1)
    if rows[-1] != columns[-2]:
        raise ValueError(f"{rows[-1]} columns against {columns[-2]} rows")
    height = (rows[-2],) if len(a) > 1 else ()
    width = (columns[-1],) if len(b) > 1 else ()
    return (*broadcast(rows[:-2], columns[:-2]), *height, *width)


@operator("MatMul")
class MatMul:
    """numpy.matmul, float16 in float32."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        a, b = node.input(0), node.input(1)
        if a.dtype != b.dtype:
            raise ValueError("the inputs must have one dtype")
        return [TensorType(a.dtype, product_shape(a.shape, b.shape))]

    @staticmethod
    def reference(_: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return round_to(np.matmul(widen(a), widen(b)), a.dtype)


@operator("Gemm", since=7)
class Gemm:
    """alpha A' B' + beta C: A' is A or, with ``transA``, its transpose; C broadcasts; optional from 11 on."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        a, b, c = node.input(0), node.input(1), node.optional_input(2)
        if len(a.shape) != 2 or len(b.shape) != 2:
            raise ValueError("A and B must be matrices")
        shape = product_shape(
            a.shape[::-1] if node.attr("transA", 0) else a.shape, b.shape[::-1] if node.attr("transB", 0) else b.shape
        )
        if c is None and node.version < 11:
            node.input(2)
        if any(other.dtype != a.dtype for other in node.used_inputs()):
            raise ValueError("the inputs must have one dtype")
        if c is not None and broadcast(c.shape, shape) != shape:
            raise ValueError(f"C does not broadcast to {list(shape)}")
        return [TensorType(a.dtype, shape)]

    @staticmethod
    def reference(node: Node, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None) -> np.ndarray:
        left, right = (a.T if node.attr("transA", 0) else a), (b.T if node.attr("transB", 0) else b)
        alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
        with np.errstate(all="ignore"):
            y = np.matmul(widen(left), widen(right))
            # a factor of 1 must not turn integers into floats, which hold 64 bits only in part
            y = y if alpha == 1 else alpha * y
            if c is not None:
                y = y + (widen(c) if beta == 1 else beta * widen(c))
            return round_to(y, a.dtype)
