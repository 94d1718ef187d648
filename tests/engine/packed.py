"""Models of one product with packed weights, as random as they come, for the tests of every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tests.engine.models import model, node

DOMAINS = {"com.microsoft": 1}


def in_bytes(integers: np.ndarray, bits: int) -> np.ndarray:
    """uint8 integers of 8 bits, or of 4 with two of the last axis in a byte, the lower half first."""
    if bits == 8:
        return integers
    even = np.pad(integers, [*[(0, 0)] * (integers.ndim - 1), (0, integers.shape[-1] % 2)])
    return even[..., 0::2] | even[..., 1::2] << 4


def nbits(
    shape: list[int],
    n: int,
    *,
    bits: int = 4,
    block: int = 16,
    zero: str = "",
    bias: bool = False,
    dtype: Any = np.float32,
    flat: bool = False,
    chain: tuple[onnx.NodeProto, ...] = (),
    inputs: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """a ``shape`` → MatMulNBits → p, and y by ``chain`` from it, or y at once.

    ``zero`` says how the zero points are given: "packed", "float" or not at all. ``inputs`` are those of the chain.
    """
    random, k = np.random.default_rng([shape[-1], n, bits]), shape[-1]
    blocks = -(-k // block)
    constants: dict[str, Any] = {
        "b": in_bytes(random.integers(0, 1 << bits, (n, blocks, block)).astype(np.uint8), bits),
        "scales": random.uniform(0.02, 0.1, (n, blocks)).astype(dtype),
    }
    points = random.integers(0, 1 << bits, (n, blocks)).astype(np.uint8)
    if zero:
        constants["zero"] = in_bytes(points, bits) if zero == "packed" else (points + 0.25).astype(dtype)
    if flat:
        constants = {name: array.reshape(-1) for name, array in constants.items() if name != "b"} | {
            "b": constants["b"]
        }
    if bias:
        constants["bias"] = random.standard_normal(n).astype(dtype)
    names = f"a b scales {'zero' if zero else '-'} - {'bias' if bias else '-'}"
    attributes = {"K": k, "N": n, "bits": bits, "block_size": block, "accuracy_level": 1}
    return _model(
        "MatMulNBits", names, constants, shape=shape, dtype=dtype, attributes=attributes, chain=chain, inputs=inputs
    )


def bnb4(
    shape: list[int],
    n: int,
    *,
    block: int = 16,
    kind: int = 1,
    dtype: Any = np.float32,
    chain: tuple[onnx.NodeProto, ...] = (),
    inputs: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """a ``shape`` → MatMulBnb4 → p, and y by ``chain`` from it, or y at once; ``kind`` is the quant_type."""
    random, k = np.random.default_rng([shape[-1], n, kind]), shape[-1]
    constants = {
        "b": random.integers(0, 256, -(-n * k // 2)).astype(np.uint8),
        "absmax": random.uniform(0.2, 1, -(-n * k // block)).astype(dtype),
    }
    attributes = {"K": k, "N": n, "block_size": block, "quant_type": kind}
    return _model(
        "MatMulBnb4",
        "a b absmax",
        constants,
        shape=shape,
        dtype=dtype,
        attributes=attributes,
        chain=chain,
        inputs=inputs,
    )


def _model(
    op: str,
    names: str,
    constants: dict[str, Any],
    shape: list[int],
    dtype: Any,
    attributes: dict[str, Any],
    chain: tuple[onnx.NodeProto, ...],
    inputs: dict[str, Any] | None,
) -> onnx.ModelProto:
    product = node(op, names, "p" if chain else "y", domain="com.microsoft", **attributes)
    input_specs = {"a": (dtype, shape), **(inputs or {})}
    return model([product, *chain], input_specs, "y", constants, domains=DOMAINS)
