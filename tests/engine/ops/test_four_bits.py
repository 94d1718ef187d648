"""4-bit integers of ONNX: what quantises, dequantises, casts and moves them, against ONNX Runtime and onnx itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from engine import InputError, ModelError, Session
from tests.engine.four_bits import KINDS, OPSET, dequantized, four_bit_tensor
from tests.engine.models import feeds, interpret, load_graph, model, need_opset, node
from tests.engine.ops.oracle import run_onnxruntime
from tools.node_test_exclusions import ONNX

FLOATS = np.array(
    [-1000, -20, -9, -8, -7.4, -1, -0.4, 0, 0.4, 1, 2.4, 7, 7.4, 8, 9, 15, 15.4, 16, 20, 1000], np.float32
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("shape", "per", "axis", "block"),
    [
        ([5], "tensor", 0, 0),
        ([3, 5, 7], "axis", 1, 0),
        ([3, 5], "axis", -1, 0),
        ([37, 3], "block", 0, 16),
        ([3, 5, 7], "block", -1, 3),
    ],
)
def test_dequantize(shape: list[int], per: str, axis: int, block: int, dtype: Any, zero: bool, kind: int) -> None:
    """Equal to the last bit, odd numbers of elements among them."""
    nodes = [node("Mul", "w a", "y")]
    axis %= len(shape)
    options: dict[str, Any] = {"kind": kind, "per": per, "axis": axis, "block": block, "zero": zero, "dtype": dtype}
    proto = dequantized(nodes, {"a": (dtype, [1])}, shape, **options)
    one = np.ones(1, dtype)
    (ours,) = interpret(load_graph(proto), [one])
    for theirs in (run_onnxruntime(proto, {"a": one})[0], ReferenceEvaluator(proto).run(None, {"a": one})[0]):
        assert ours.dtype == theirs.dtype == dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zero", [False, True])
def test_quantize(kind: int, zero: bool) -> None:
    """Rounded to even, moved and saturated; dequantised again, since ONNX Runtime's Python hands out no 4-bit array."""
    names, attributes = ("x s z", {}) if zero else ("x s -", {"output_dtype": kind})
    nodes = [node("QuantizeLinear", names, "q", **attributes), node("DequantizeLinear", "q one", "y")]
    proto = model(nodes, {"x": [60]}, "y", {"s": np.float32(0.5), "one": np.float32(1)}, opset=OPSET)
    if zero:
        proto.graph.initializer.append(four_bit_tensor("z", kind, np.array(3)))
    x = np.linspace(-8, 8, 60, dtype=np.float32)
    (ours,) = interpret(load_graph(proto), [x])
    (theirs,) = run_onnxruntime(proto, {"x": x})
    np.testing.assert_array_equal(ours, theirs)
    assert len(np.unique(ours)) == 16


@pytest.mark.parametrize("kind", KINDS)
def test_casts(kind: int) -> None:
    """Floats truncate, and all keep their lower four bits. ONNX Runtime rounds floats; onnx does as the node tests."""
    if ONNX < (1, 19):
        pytest.skip(f"onnx {onnx.__version__} saturates floats, which wrap since 1.19")
    for dtype, theirs_of in ((np.float32, ReferenceEvaluator), (np.int32, None), (np.uint8, None)):
        nodes = [node("Cast", "x", "q", to=kind), node("Cast", "q", "y", to=TensorProto.FLOAT)]
        proto = model(nodes, {"x": (dtype, [20])}, "y", opset=OPSET)
        x = FLOATS.astype(dtype) if dtype != np.uint8 else np.arange(20, dtype=np.uint8) * 13
        (ours,) = interpret(load_graph(proto), [x])
        (theirs,) = theirs_of(proto).run(None, {"x": x}) if theirs_of else run_onnxruntime(proto, {"x": x})
        np.testing.assert_array_equal(ours, theirs, str(dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["reference", "numpy"])
def test_tensors_move_and_leave_as_bytes(kind: int, backend: Any) -> None:
    """What is reshaped stays 4-bit for the operator behind it; inputs and outputs are int8 or uint8."""
    integers = np.arange(15).reshape(3, 5) - (8 if kind == TensorProto.INT4 else 0)
    nodes = [
        node("Constant", "", "c", value=four_bit_tensor("", kind, integers)),
        node("Transpose", "c", "t"),
        node("Reshape", "t shape", "r"),
        node("CastLike", "x r", "y"),
        node("Identity", "i", "z"),
        node("Identity", "r", "w"),
    ]
    proto = model(nodes, {"x": [3, 5]}, "y z w", {"shape": np.array([3, 5])}, opset=OPSET)
    proto.graph.input.append(helper.make_tensor_value_info("i", kind, [3, 5]))
    held = np.int8 if kind == TensorProto.INT4 else np.uint8
    with Session(proto.SerializeToString(), backend=backend, outputs="all") as session:
        assert [info.dtype for info in session.inputs] == [np.float32, held]
        results = session.run({"x": integers.astype(np.float32), "i": integers.astype(held)})
        with pytest.raises(InputError, match=r"'i' takes u?int8"):
            session.run({"x": integers.astype(np.float32), "i": integers})
    for name, expected in {"y": integers, "z": integers, "w": integers.T.reshape(3, 5)}.items():
        assert results[name].dtype == held
        np.testing.assert_array_equal(results[name], expected)
    graph = load_graph(proto)
    assert [value.name for value in graph.outputs] == ["y", "z", "w"]
    names = [value.name for value in (*graph.inputs, *graph.constants(), *graph.producers())]
    assert len(set(names)) == len(names)
    bound = load_graph(proto, input_values={"i": integers.astype(held)})
    np.testing.assert_array_equal(interpret(bound, feeds(bound))[1], integers)


@pytest.mark.parametrize("backend", ["reference", "numpy"])
def test_what_a_run_makes_is_padded(backend: Any) -> None:
    """With zeros, where the node names no value, and with one."""
    nodes = [node("Cast", "x", "q", to=TensorProto.INT4), node("Pad", "q pads", "y"), node("Pad", "q pads v", "z")]
    proto = model(nodes, {"x": [2, 3]}, "y z", {"pads": np.array([1, 0, 0, 2])}, opset=OPSET)
    proto.graph.initializer.append(four_bit_tensor("v", TensorProto.INT4, np.array(-5)))
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    with Session(proto.SerializeToString(), backend=backend, outputs="all") as session:
        results = session.run({"x": x})
    for name, value in {"y": 0, "z": -5}.items():
        np.testing.assert_array_equal(results[name], np.pad(x, ((1, 0), (0, 2)), constant_values=value))


@pytest.mark.parametrize("op", ["Add", "Relu", "Conv", "MatMulInteger", "Gather"])
def test_no_operator_computes_with_four_bits(op: str) -> None:
    """Nor do those move them to which ONNX gives no such type. One line says what has which type, at load."""
    names = {"Relu": "q", "Gather": "q i"}.get(op, "q q")
    proto = model([node(op, names, "y")], {}, "y", {"i": np.array([0])}, opset=OPSET)
    proto.graph.initializer.append(four_bit_tensor("q", TensorProto.INT4, np.zeros((1, 1, 4, 4), int)))
    with pytest.raises(ModelError, match=r"'q' is int4; ONNX allows (?!.*int4)") as failure:
        load_graph(proto)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT8E4M3FN, TensorProto.BFLOAT16, 25])
def test_other_narrow_types_are_refused_in_a_line(kind: int) -> None:
    need_opset(OPSET)
    if kind not in TensorProto.DataType.values():
        pytest.skip(f"onnx {onnx.__version__} has no tensor type {kind}")
    proto = dequantized([node("MatMul", "a w", "y")], {"a": [2, 32]}, [32, 4])
    weights = next(tensor for tensor in proto.graph.initializer if tensor.name == "q")
    weights.data_type = kind
    with pytest.raises(Exception, match=r"^tensor 'q' has tensor type \w+, which the engine does not hold$"):
        load_graph(proto)
