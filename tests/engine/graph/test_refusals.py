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
    with pytest.raises(ModelError) as failure:
        Session(MALFORMED[name].SerializeToString(), backend="numpy")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", [name for name in MALFORMED if "Resize" not in name])
def test_the_oracle_refuses_it_too(name: str) -> None:
    with pytest.raises(ModelError):
        Session(MALFORMED[name].SerializeToString(), backend="reference")


def test_another_size_than_the_file_was_exported_with() -> None:
    """Height and width are symbolic, and yet a Split has the sizes of one height."""
    proto = model(
        [node("Split", "x sizes", "top bottom", axis=2, name="/decoder/Split_64"), node("Add", "top bottom", "y")],
        {"x": [1, 3, "height", "width"]},
        "y",
        {"sizes": np.array([512, 512])},
    )
    with Session(proto.SerializeToString(), input_shapes={"x": (1, 3, 1024, 8)}) as session:
        assert session.outputs[0].shape == (1, 3, 512, 8)
    with pytest.raises(ModelError) as failure:
        Session(proto.SerializeToString(), input_shapes={"x": (1, 3, 512, 8)})
    assert str(failure.value) == (
        "input 'x' bound to [1, 3, 512, 8]: Split '/decoder/Split_64': inputs (float32[1,3,512,8], int64[2]) do not "
        "fit the operator: 2 parts of 1024 in all do not make up extent 512 of axis 2; the file may hold sizes of the "
        "shape that it was exported with: bind that one"
    )


def test_a_size_that_folded_arithmetic_does_not_take() -> None:
    nodes = [node("Shape", "x", "s"), node("Gather", "table s", "picked"), node("Reshape", "x picked", "y")]
    proto = model(nodes, {"x": ["n"]}, "y", {"table": np.arange(4)})
    with pytest.raises(ModelError, match=r"^input 'x' bound to \[9\]: Gather 'picked': .*; the file may hold sizes"):
        Session(proto.SerializeToString(), input_shapes={"x": (9,)})


def test_a_file_of_one_size_is_not_said_to_have_been_bound() -> None:
    proto = model([node("Split", "x sizes", "y z")], {"x": [8]}, "y", {"sizes": np.array([2, -2])})
    with pytest.raises(ModelError) as failure:
        Session(proto.SerializeToString(), input_shapes={"x": (8,)})
    assert str(failure.value) == (
        "Split 'y': inputs (float32[8], int64[2]) do not fit the operator: a part of -2 along axis 0"
    )


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
    for source in (bytearray(data), memoryview(data)):
        with Session(source) as session:  # type: ignore[arg-type]
            assert session.inputs[0].shape == (1, 2)
