"""Float16 models made float32: nothing narrow is left, and the numbers are those of the float32 model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tools.fixtures import onnxruntime_session
from tools.widen import widen

RNG = np.random.default_rng(3)
WEIGHTS = RNG.standard_normal((4, 3, 3, 3)).astype(np.float16)
BIAS = RNG.standard_normal(4).astype(np.float16)
PHOTO = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)


def model(nodes: list[NodeProto], outputs: list[str], *tensors: TensorProto) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, PHOTO.shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, 8, 8]) for name in outputs],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(proto)
    return proto


def cast(source: str, to: int, target: str) -> NodeProto:
    return helper.make_node("Cast", [source], [target], to=to)


def network(half: bool) -> onnx.ModelProto:
    """A convolution and a scale made of integers: in float16 between Casts, or in float32 with the same weights."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    tensors = [numpy_helper.from_array(array.astype(dtype), name) for array, name in ((WEIGHTS, "w"), (BIAS, "b"))]
    scale = numpy_helper.from_array(np.array([0.25], dtype))
    body = [
        helper.make_node("Conv", ["h", "w", "b"], ["c"], pads=[1] * 4),
        helper.make_node("Constant", [], ["quarter"], value=scale),
        helper.make_node("Mul", ["c", "quarter"], ["q"]),
        helper.make_node("Size", ["q"], ["count"]),
        cast("count", kind, "size"),
        helper.make_node("Add", ["q", "size"], ["sums"]),
    ]
    if half:
        ends = [cast("x", kind, "h"), *body, cast("sums", TensorProto.FLOAT, "y")]
    else:
        body[0].input[0], body[-1].output[0] = "x", "y"
        ends = body
    return model([*ends, helper.make_node("Relu", ["y"], ["z"])], ["y", "z"], *tensors)


def outputs(proto: onnx.ModelProto) -> list[np.ndarray]:
    return list(onnxruntime_session(proto.SerializeToString(), threads=1).run(None, {"x": PHOTO}))


def test_the_numbers_are_those_of_the_float32_model() -> None:
    wide = widen(network(half=True))
    onnx.checker.check_model(wide, full_check=True)
    for ours, expected in zip(outputs(wide), outputs(network(half=False)), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_no_float16_and_no_cast_between_floats_is_left() -> None:
    half = network(half=True)
    before = half.SerializeToString()
    wide = widen(half)
    assert half.SerializeToString() == before
    assert "FLOAT16" not in str(wide)
    assert [node.op_type for node in wide.graph.node] == ["Conv", "Constant", "Mul", "Size", "Cast", "Add", "Relu"]
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in wide.graph.initializer)
    (cast,) = (node for node in wide.graph.node if node.op_type == "Cast")
    assert cast.attribute[0].i == TensorProto.FLOAT
    assert [output.name for output in wide.graph.output] == ["y", "z"]


def test_float16_inputs_and_outputs_become_float32() -> None:
    half = model([helper.make_node("Relu", ["x"], ["y"])], ["y"])
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    np.testing.assert_array_equal(outputs(widen(half))[0], np.maximum(PHOTO, 0))


def test_outputs_that_a_dropped_cast_made_keep_their_names() -> None:
    half = model(
        [
            cast("x", TensorProto.FLOAT16, "h"),
            cast("h", TensorProto.FLOAT, "same"),
            helper.make_node("Neg", ["h"], ["n"]),
            cast("n", TensorProto.FLOAT, "first"),
            cast("n", TensorProto.FLOAT, "second"),
            helper.make_node("Abs", ["first"], ["magnitude"]),
        ],
        ["same", "first", "second", "magnitude"],
    )
    wide = widen(half)
    onnx.checker.check_model(wide, full_check=True)
    same, first, second, magnitude = outputs(wide)
    np.testing.assert_array_equal(same, PHOTO)
    np.testing.assert_array_equal(first, -PHOTO)
    np.testing.assert_array_equal(second, -PHOTO)
    np.testing.assert_array_equal(magnitude, np.abs(PHOTO))


def test_a_subgraph_is_refused() -> None:
    branch = helper.make_graph([], "branch", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)])
    node = helper.make_node("If", ["x"], ["y"], "choice", then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "network", [], [])
    with pytest.raises(ValueError, match="If 'choice' holds a subgraph"):
        widen(helper.make_model(graph))
