"""Graphs that are no ONNX: refused at load, in one line, by both backends alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine import InputError, ModelError, ModelFile, Session
from tests.engine.models import model, node

F32 = np.float32


def conv(bias: Any, *, op: str = "Conv", channels: int = 4, kernel: int = 3) -> onnx.ModelProto:
    weights = np.ones((channels, 4, kernel, kernel), F32)
    return model([node(op, "x w b", "y")], {"x": [1, 4, 8, 8]}, "y", {"w": weights, "b": bias})


MALFORMED = {
    "bias of one element": conv(np.ones(1, F32)),
    "bias of too many": conv(np.ones(5, F32)),
    "bias of too few, 1x1": conv(np.ones(3, F32), channels=64, kernel=1),
    "bias of rank 2": conv(np.ones((4, 1), F32)),
    "bias of another dtype": conv(np.ones(4, np.float64)),
    "transposed, bias of one element": conv(np.ones(1, F32), op="ConvTranspose"),
    "transposed, bias of rank 2": conv(np.ones((2, 2), F32), op="ConvTranspose"),
    "weights of another dtype": model(
        [node("Conv", "x w", "y")], {"x": [1, 4, 8, 8]}, "y", {"w": np.ones((4, 4, 3, 3))}
    ),
    "Add of one": model([node("Add", "x", "y")], {"x": [2]}, "y"),
    "Relu of two": model([node("Relu", "x x", "y")], {"x": [2]}, "y"),
    "unknown Resize mode": model(
        [node("Resize", "x - s", "y", mode="foo")], {"x": [1, 1, 4, 4]}, "y", {"s": np.array([1, 1, 2, 2], F32)}
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_numpy_refuses_what_is_malformed_at_load(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        Session(MALFORMED[name].SerializeToString(), backend="numpy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in MALFORMED if "Resize" not in name])
def test_the_oracle_refuses_it_too(name: str) -> None:
    with pytest.raises(ModelError):
        Session(MALFORMED[name].SerializeToString(), backend="reference")


@pytest.mark.parametrize("count", [10**13, 10**14])
def test_a_constant_that_no_machine_can_hold(count: int) -> None:
    nodes = [node("ConstantOfShape", "s", "c"), node("Mul", "x c", "y")]
    proto = model(nodes, {"x": [1]}, "y", {"s": np.array([count])})
    with pytest.raises(ModelError, match=r"ConstantOfShape 'c': .*lacks the memory"):
        Session(proto.SerializeToString())


def test_activations_that_no_machine_can_hold() -> None:
    proto = model([node("Expand", "x s", "y")], {"x": [1]}, "y", {"s": np.array([10**14])})
    with pytest.raises(ModelError, match=r"activations take 400,000,000,000,\d+ bytes"):
        Session(proto.SerializeToString())


def test_a_dimension_of_minus_one_is_open() -> None:
    proto = model([node("Relu", "x", "y")], {"x": [2, 3]}, "y")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert ModelFile.read(proto.SerializeToString()).inputs == {"x": ("?", 3)}
    with Session(proto.SerializeToString(), input_shapes={"x": (5, 3)}) as session:
        assert session.inputs[0].shape == (5, 3)


@pytest.mark.parametrize("shape", [3, (1, "a"), (1.5, 2)])
def test_what_is_no_shape(shape: Any) -> None:
    proto = model([node("Relu", "x", "y")], {"x": [1, 2]}, "y")
    with pytest.raises(InputError, match="is no shape to bind it to"):
        Session(proto.SerializeToString(), input_shapes={"x": shape})


def test_what_is_no_path() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Session("a\0b.onnx")


def test_bytes_of_any_kind() -> None:
    data = model([node("Relu", "x", "y")], {"x": [1, 2]}, "y").SerializeToString()
    for given in (bytearray(data), memoryview(data)):
        with Session(given) as session:  # type: ignore[arg-type]
            assert session.inputs[0].shape == (1, 2)
