"""Smaller forms of a model: what they hold, that ONNX Runtime runs them, and that the engine gives the same numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.engine.models import execute, load_graph, model, node
from tests.project import ROOT
from tools.fixtures import onnxruntime_session
from tools.quantize_model import FORMS, quantize

RNG = np.random.default_rng(5)
PHOTO = RNG.standard_normal((1, 8, 12, 12)).astype(np.float32)

NEAR = {"int8": 1e-6, "uint8": 1e-6, "q4": 1e-6, "q4f16": 2e-3, "q4qdq": 1e-6, "bnb4": 1e-6, "f16": 2e-3}
"""The largest difference from ONNX Runtime, of the largest output; measured were 2e-7 and, in float16, 6e-4."""

TRUE = {"int8": 0.05, "uint8": 0.05, "q4": 0.3, "q4f16": 0.3, "q4qdq": 0.3, "bnb4": 0.3, "f16": 5e-3}
"""The same from the float32 model; measured were 0.013 for 8 bits, 0.14 for 4 bits and 9e-4 for float16."""


def network() -> onnx.ModelProto:
    """A convolution, a product with a stored matrix, two of activations, and a Resize, with an output on the way."""
    nodes = [
        node("Conv", "x w wb", "c", pads=[1] * 4, name="conv"),
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]),
        node("MatMul", "t m", "p", name="product"),
        node("Add", "p mb", "s"),
        node("MatMul", "s turned", "square", name="attention"),
        node("Transpose", "s", "turned", perm=[0, 1, 3, 2]),
        node("Sigmoid", "square", "gate"),
        node("MatMul", "gate s", "mixed", name="mixed"),
        node("Resize", "mixed - factors", "large", mode="linear"),
        node("Constant", "", "half", value=numpy_helper.from_array(np.array(0.5, np.float32))),
        node("Mul", "large half", "y"),
        node("Relu", "y", "z"),
    ]
    nodes.insert(4, nodes.pop(5))
    constants = {
        "w": RNG.standard_normal((48, 8, 3, 3)) / 8,
        "wb": RNG.standard_normal(48),
        "m": RNG.standard_normal((48, 24)) / 7,
        "mb": RNG.standard_normal(24),
        "factors": np.array([1, 2, 2, 1]),
    }
    constants = {name: array.astype(np.float32) for name, array in constants.items()}
    proto = model(nodes, {"x": list(PHOTO.shape)}, "y z", constants)
    for output in proto.graph.output:
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None))
    return proto


NETWORK = network()


def outputs(proto: onnx.ModelProto) -> list[np.ndarray]:
    return list(onnxruntime_session(proto.SerializeToString(), threads=1).run(None, {"x": PHOTO}))


@pytest.mark.parametrize("form", FORMS)
def test_the_engine_computes_what_onnx_runtime_does(form: str) -> None:
    small = quantize(NETWORK, form)
    assert [entry.name for entry in small.graph.output] == ["y", "z"]
    theirs, truth = outputs(small), outputs(NETWORK)
    for ours, reference, true in zip(execute(load_graph(small), [PHOTO]), theirs, truth, strict=True):
        assert (ours.dtype, ours.shape) == (reference.dtype, reference.shape)
        size = np.abs(true).max()
        assert np.abs(ours - reference).max() < NEAR[form] * size
        assert 1e-4 * size < np.abs(ours - true).max() < TRUE[form] * size


@pytest.mark.parametrize(
    ("form", "present", "absent"),
    [
        ("int8", {"ConvInteger": 1, "MatMulInteger": 1, "MatMul": 2}, "Conv"),
        ("uint8", {"ConvInteger": 1, "MatMulInteger": 1, "MatMul": 2}, "Conv"),
        ("q4", {"Conv": 1, "MatMulNBits": 1, "MatMul": 2}, "Cast"),
        ("q4f16", {"Conv": 1, "MatMulNBits": 1, "MatMul": 2, "Cast": 5}, "ConvInteger"),
        ("q4qdq", {"Conv": 1, "DequantizeLinear": 1, "MatMul": 3}, "MatMulNBits"),
        ("bnb4", {"Conv": 1, "MatMulBnb4": 1, "MatMul": 2}, "Cast"),
        ("f16", {"Conv": 1, "MatMul": 3, "Cast": 5}, "MatMulNBits"),
    ],
)
def test_what_the_forms_hold(form: str, present: dict[str, int], absent: str) -> None:
    small = quantize(NETWORK, form)
    ops = [entry.op_type for entry in small.graph.node]
    assert {op: ops.count(op) for op in present} == present
    assert absent not in ops
    assert "m" not in [tensor.name for tensor in small.graph.initializer] or form == "f16"


def test_float16_keeps_inputs_outputs_and_resize_wide() -> None:
    half = quantize(NETWORK, "f16").graph
    kinds = {tensor.name: tensor.data_type for tensor in half.initializer}
    assert kinds.pop("factors:f32") == TensorProto.FLOAT
    assert set(kinds.values()) == {TensorProto.FLOAT16}
    ends = [entry.type.tensor_type.elem_type for entry in (*half.input, *half.output)]
    assert ends == [TensorProto.FLOAT] * 3
    casts = {entry.output[0]: entry.attribute[0].i for entry in half.node if entry.op_type == "Cast"}
    assert casts == {
        "x:f16": TensorProto.FLOAT16,
        "mixed:f32": TensorProto.FLOAT,
        "large": TensorProto.FLOAT16,
        "y": TensorProto.FLOAT,
        "z": TensorProto.FLOAT,
    }


def test_weights_read_twice_are_packed_once() -> None:
    nodes = [node("MatMul", "x m", "a"), node("MatMul", "a m", "y")]
    twice = model(nodes, {"x": [3, 32]}, "y", {"m": RNG.standard_normal((32, 32)).astype(np.float32)})
    assert sorted(tensor.name for tensor in quantize(twice, "q4").graph.initializer) == ["m_Q4", "m_scales"]
    dequantized = quantize(twice, "q4qdq").graph
    assert sorted(tensor.name for tensor in dequantized.initializer) == ["m_Q4", "m_scales"]
    assert [entry.op_type for entry in dequantized.node] == ["DequantizeLinear", "MatMul", "MatMul"]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'q5' is no form of a model"):
        quantize(NETWORK, "q5")


def test_the_command(tmp_path: Path) -> None:
    wide, small = tmp_path / "wide.onnx", tmp_path / "small.onnx"
    onnx.save(NETWORK, wide)
    command = [sys.executable, str(ROOT / "tools" / "quantize_model.py"), str(wide), str(small), "--form", "q4"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == f"{small}: {small.stat().st_size:,} of {wide.stat().st_size:,} bytes\n"
    assert small.stat().st_size < wide.stat().st_size
