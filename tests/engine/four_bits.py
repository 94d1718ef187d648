"""Models with ONNX's own 4-bit tensors, as random as they come, for the tests of every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from tests.engine.models import Spec, model, node
from tests.engine.packed import in_bytes

OPSET = 21
"""The first that has 4-bit tensors."""

KINDS = (TensorProto.INT4, TensorProto.UINT4)


def four_bit_tensor(name: str, kind: int, integers: np.ndarray) -> TensorProto:
    """An initializer of integers within four bits; its raw data are what onnx's own helpers would store."""
    packed = in_bytes((integers.reshape(-1) & 15).astype(np.uint8), 4)
    return helper.make_tensor(name, kind, integers.shape, packed.tobytes(), raw=True)


def parameter_shape(shape: Sequence[int], per: str, axis: int, block: int) -> list[int]:
    """The shape of scales and zero points per "tensor", per "axis" or per "block"."""
    if per == "tensor":
        return []
    if per == "axis":
        return [shape[axis]]
    return [*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :]]


def dequantized(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Spec],
    shape: Sequence[int],
    *,
    kind: int = TensorProto.INT4,
    per: str = "block",
    axis: int = 0,
    block: int = 32,
    zero: bool = False,
    dtype: Any = np.float32,
    constants: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """y by ``nodes`` from ``inputs`` and w, a tensor of ``shape`` that a DequantizeLinear makes of 4-bit integers."""
    random = np.random.default_rng([*shape, block])
    low, high = (-8, 8) if kind == TensorProto.INT4 else (0, 16)
    scales = parameter_shape(shape, per, axis, block)
    attributes = {"tensor": {}, "axis": {"axis": axis}, "block": {"axis": axis, "block_size": block}}[per]
    first = node("DequantizeLinear", f"q s {'z' if zero else ''}", "w", **attributes)
    stored = {"s": np.asarray(random.uniform(0.02, 0.1, scales)).astype(dtype), **(constants or {})}
    proto = model([first, *nodes], inputs, "y", stored, opset=OPSET)
    proto.graph.initializer.append(four_bit_tensor("q", kind, random.integers(low, high, shape)))
    if zero:
        proto.graph.initializer.append(four_bit_tensor("z", kind, np.asarray(random.integers(low, high, scales))))
    return proto


def product(
    k: int, n: int, *, rows: Sequence[int] = (3,), transposed: bool = False, gemm: bool = False, **options: Any
) -> onnx.ModelProto:
    """a ``[*rows, k]`` times w ``[k, n]``, blocks along k: a MatMul, or a Gemm with a bias.

    ``transposed`` says that w is ``[n, k]``, which a Gemm's transB or a Transpose turns. Other options are those of
    ``dequantized``; per "axis" has one scale for each of n.
    """
    shape, along = ([n, k], 1) if transposed else ([k, n], 0)
    nodes, constants = [node("MatMul", "a w", "y")], None
    if gemm:
        nodes = [node("Gemm", "a w c", "y", transB=int(transposed))]
        constants = {"c": np.random.default_rng(n).standard_normal(n).astype(np.float32)}
    elif transposed:
        nodes = [node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "a t", "y")]
    axis = 1 - along if options.get("per") == "axis" else along
    return dequantized(nodes, {"a": [*rows, k]}, shape, **{"axis": axis, "constants": constants, **options})


def convolution(per: str, kind: int = TensorProto.INT4, *, zero: bool = False) -> onnx.ModelProto:
    """A convolution of 24 channels to 32, whose blocks are along its input channels."""
    nodes = [node("Conv", "a w", "y", pads=[1, 1, 1, 1])]
    axis = 1 if per == "block" else 0
    return dequantized(nodes, {"a": [1, 24, 9, 9]}, [32, 24, 3, 3], kind=kind, per=per, axis=axis, block=8, zero=zero)
