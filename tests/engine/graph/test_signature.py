"""Nodes are held to the signatures of ONNX: types of inputs, above all of indices, and kinds of attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine import ModelError, Session, UnsupportedError
from engine.graph.signature import signature
from engine.ops import operators
from tests.engine.models import branch, model, node

F32, I32, I64, U32, U64 = np.float32, np.int32, np.int64, np.uint32, np.uint64
BACKENDS = ("numpy", "reference", "webgpu")


def indexing(op: str, dtype: type[np.generic]) -> onnx.ModelProto:
    """A node of ``op`` over indices of ``dtype`` that only a run knows."""
    x, updates, rois = (F32, [3, 3]), (F32, [2, 3]), (F32, [1, 4])
    spec: dict[str, tuple[dict[str, Any], str]] = {
        "Gather": ({"x": x, "i": (dtype, [2])}, "x i"),
        "GatherElements": ({"x": x, "i": (dtype, [2, 3])}, "x i"),
        "GatherND": ({"x": x, "i": (dtype, [2, 1])}, "x i"),
        "ScatterElements": ({"x": x, "i": (dtype, [2, 3]), "u": updates}, "x i u"),
        "ScatterND": ({"x": x, "i": (dtype, [2, 1]), "u": updates}, "x i u"),
        "MaxUnpool": ({"x": (F32, [1, 1, 2, 2]), "i": (dtype, [1, 1, 2, 2])}, "x i"),
        "ReverseSequence": ({"x": x, "i": (dtype, [3])}, "x i"),
        "RoiAlign": ({"x": (F32, [1, 1, 4, 4]), "r": rois, "i": (dtype, [1])}, "x r i"),
        "CumSum": ({"x": x, "i": (dtype, [])}, "x i"),
    }
    inputs, names = spec[op]
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]} if op == "MaxUnpool" else {}
    return model([node(op, names, "y", **attributes)], inputs, "y")


ANY_INDEX = ("Gather", "GatherElements", "ScatterElements", "CumSum")
"""Operators whose indices may be of 32 bits."""

ONLY_64 = ("GatherND", "ScatterND", "MaxUnpool", "ReverseSequence", "RoiAlign")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", ANY_INDEX + ONLY_64)
def test_unsigned_indices_are_refused_at_load(op: str, backend: str) -> None:
    for dtype in (U32, U64, np.uint8, np.int8, np.float32):
        with pytest.raises(ModelError, match=rf"^{op} 'y': its .* is {np.dtype(dtype).name}; ONNX allows int"):
            Session(indexing(op, dtype).SerializeToString(), backend=backend)


@pytest.mark.parametrize("op", ANY_INDEX + ONLY_64)
def test_signed_indices_run(op: str) -> None:
    for dtype in (I64, I32) if op in ANY_INDEX else (I64,):
        with Session(indexing(op, dtype).SerializeToString(), backend="numpy") as session:
            session.run({info.name: np.zeros(info.shape, info.dtype) for info in session.inputs})


def test_every_operator_that_takes_only_indices_is_known() -> None:
    """What ONNX gives no other type than int32 and int64 is an index, an axis, a count or a size."""
    index_dtypes = {np.dtype(I32), np.dtype(I64)}
    for entry in operators():
        schema = signature(entry.op, onnx.defs.onnx_opset_version(), entry.domain)
        for parameter in schema.parameters if schema else ():
            if "ind" in parameter.name.lower() and entry.op != "OneHot":  # which takes any number as an index
                assert parameter.dtypes <= index_dtypes, entry.op


def test_one_type_for_what_shares_a_variable() -> None:
    proto = model([node("Where", "c x z", "y")], {"c": (np.bool_, [2]), "x": [2], "z": (np.float64, [2])}, "y")
    with pytest.raises(ModelError, match=r"^Where 'y': its Y 'z' is float64 beside an input of float32"):
        Session(proto.SerializeToString(), backend="numpy")


def test_a_variadic_operator_takes_each_type_once() -> None:
    proto = model([node("Concat", "x z", "y", axis=0)], {"x": [2], "z": (I64, [2])}, "y")
    with pytest.raises(ModelError, match=r"is int64 beside an input of float32"):
        Session(proto.SerializeToString(), backend="numpy")


def test_attributes_of_another_kind() -> None:
    proto = model([node("Concat", "x x", "y", axis=0.5)], {"x": [2]}, "y")
    with pytest.raises(ModelError, match=r"^Concat 'y': attribute axis is of type FLOAT; ONNX has it as INT"):
        Session(proto.SerializeToString(), backend="numpy")


def test_arithmetic_takes_more_types_than_onnx_allows() -> None:
    """Relu of integers came with version 14, and means the same in each."""
    data = model([node("Relu", "x", "y")], {"x": (I32, [2])}, "y", opset=13).SerializeToString()
    with Session(data, backend="numpy") as session:
        np.testing.assert_array_equal(session.run({"x": np.array([-1, 2], I32)})["y"], [0, 2])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("op", "names", "inputs"),
    [
        ("Where", "x z z", {"x": [2], "z": [2]}),
        ("ConvInteger", "x w", {"x": [1, 1, 4, 4], "w": (np.uint8, [1, 1, 3, 3])}),
        ("MatMulInteger", "x w", {"x": (np.uint8, [2, 2]), "w": (np.int16, [2, 2])}),
        ("Softmax", "x", {"x": (I32, [2, 2])}),
        ("DequantizeLinear", "x s", {"x": (np.uint8, [2]), "s": (I64, [])}),
    ],
)
def test_conditions_bytes_and_floats_are_what_they_are(
    op: str, names: str, inputs: dict[str, Any], backend: str
) -> None:
    with pytest.raises(ModelError, match=rf"^{op} 'y': its .*; ONNX allows (bool|int8, uint8|float.*)$"):
        Session(model([node(op, names, "y")], inputs, "y").SerializeToString(), backend=backend)


def test_what_no_version_gives_integers_or_conditions_takes_none() -> None:
    condition = np.dtype(np.bool_)
    for entry in operators():
        newest = signature(entry.op, onnx.defs.onnx_opset_version(), entry.domain)
        for parameter in newest.parameters if newest else ():
            if all(dtype.kind == "f" for dtype in parameter.dtypes):
                assert parameter.refuses(np.dtype(I32)), (entry.op, parameter.name)
            assert parameter.refuses(condition) == (condition not in parameter.dtypes), (entry.op, parameter.name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("op", "names", "missing"), [("Sub", "x -", 1), ("Concat", "x - x", 1), ("Relu", "-", 0)])
def test_what_an_operator_needs_is_not_left_out(op: str, names: str, missing: int, backend: str) -> None:
    attributes = {"axis": 0} if op == "Concat" else {}
    with pytest.raises(ModelError, match=rf"^{op} 'y': required input {missing} is missing$"):
        Session(model([node(op, names, "y", **attributes)], {"x": [2]}, "y").SerializeToString(), backend=backend)


def test_what_newer_versions_let_out_may_be_left_out_before() -> None:
    """The regions of a Resize are optional since version 13, and exporters left them out in version 11."""
    scales = {"s": np.array([1, 1, 2, 2], F32)}
    proto = model([node("Resize", "x - s", "y")], {"x": [1, 1, 1, 1]}, "y", scales, opset=11)
    with Session(proto.SerializeToString(), backend="numpy") as session:
        assert session.run({"x": np.ones((1, 1, 1, 1), F32)})["y"].shape == (1, 1, 2, 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_with_a_graph_of_its_own(backend: str) -> None:
    body = branch([node("Neg", "x", "z")], "z")
    with pytest.raises(UnsupportedError, match=r"^attribute 'body' holds a type the engine does not read, GRAPH$"):
        Session(model([node("Relu", "x", "y", body=body)], {"x": [2]}, "y").SerializeToString(), backend=backend)
