"""Products with packed weights against ONNX Runtime, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.errors import ModelError, UnsupportedError
from tests.engine.models import feeds, interpret, load_graph
from tests.engine.ops.oracle import run_onnxruntime
from tests.engine.packed import bnb4, nbits

CLOSE, HALF_CLOSE = 5e-6, 1e-3
"""Of the largest sum, in float32 and float16; measured were 5e-7 and 1e-4."""


def agree(proto: onnx.ModelProto, tolerance: float = CLOSE) -> None:
    graph = load_graph(proto)
    inputs = feeds(graph)
    (ours,) = interpret(graph, inputs)
    (theirs,) = run_onnxruntime(proto, {"a": inputs[0]})
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    difference = np.abs(ours.astype(np.float64) - theirs)
    assert difference.max() < tolerance * np.abs(theirs).max()


# ONNX Runtime has no float zero points for 8 bits
@pytest.mark.parametrize(("bits", "zero"), [(4, ""), (4, "packed"), (4, "float"), (8, ""), (8, "packed")])
@pytest.mark.parametrize(("shape", "n", "block"), [([3, 64], 8, 16), ([2, 5, 200], 7, 32), ([1, 33], 1, 128)])
def test_nbits(shape: list[int], n: int, block: int, bits: int, zero: str) -> None:
    agree(nbits(shape, n, bits=bits, block=block, zero=zero))
    agree(nbits(shape, n, bits=bits, block=block, zero=zero, bias=True, flat=True))


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    ("shape", "n", "block"), [([3, 64], 8, 64), ([2, 5, 200], 7, 64), ([15], 3, 16), ([4, 24], 5, 32)]
)
def test_bnb4(shape: list[int], n: int, block: int, kind: int) -> None:
    agree(bnb4(shape, n, block=block, kind=kind))


def test_half() -> None:
    agree(nbits([3, 200], 7, zero="packed", bias=True, dtype=np.float16), HALF_CLOSE)
    agree(bnb4([3, 200], 7, dtype=np.float16), HALF_CLOSE)


def with_attributes(proto: onnx.ModelProto, **attributes: int) -> onnx.ModelProto:
    """``proto`` with attributes of its node replaced or added."""
    (product,) = proto.graph.node
    others = [entry for entry in product.attribute if entry.name not in attributes]
    del product.attribute[:]
    product.attribute.extend([*others, *(onnx.helper.make_attribute(*entry) for entry in attributes.items())])
    return proto


@pytest.mark.parametrize(
    ("make", "attributes", "error", "message"),
    [
        (nbits, {"bits": 2}, UnsupportedError, "weights of 2 bits"),
        (nbits, {"weight_prepacked": 1}, UnsupportedError, "weight_prepacked"),
        (nbits, {"block_size": 24}, ModelError, "block_size is 24"),
        (nbits, {"N": 9}, ModelError, r"input 1 uint8\[8,4,8\] has not 288 elements"),
        (nbits, {"K": 65}, ModelError, "does not end in K = 65"),
        (bnb4, {"quant_type": 2}, UnsupportedError, "quant_type 2"),
        (bnb4, {"transB": 0}, UnsupportedError, "transB 0"),
        (bnb4, {"block_size": 32}, ModelError, "input 2"),
    ],
)
def test_refusals(make: Any, attributes: dict[str, int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_graph(with_attributes(make([3, 64], 8), **attributes))


def test_an_order_of_the_weights_is_refused() -> None:
    proto = nbits([3, 64], 8)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(64, np.int32), "groups"))
    proto.graph.node[0].input[4] = "groups"
    with pytest.raises(UnsupportedError, match="g_idx"):
        load_graph(proto)


def test_bytes_are_no_bias() -> None:
    proto = nbits([3, 64], 8, bias=True)
    (bias,) = (tensor for tensor in proto.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.ones(8, np.uint8), "bias"))
    with pytest.raises(ModelError, match="bias must have the dtype of A"):
        load_graph(proto)
