"""Shape arithmetic as the exporters write it: all of it is gone after loading, and the numbers hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from engine import ModelError, Session
from engine.ops.unpack import UNPACK
from tests.engine.four_bits import KINDS, OPSET, four_bit_tensor
from tests.engine.models import load_graph, model, node
from tests.engine.ops.oracle import run_onnxruntime

I = np.array  # noqa: E741 (constants below read better short)

CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], dict[str, int]]] = {
    # torch.onnx (TorchScript): x.view(x.size(0), -1)
    "Shape-Gather-Unsqueeze-Concat-Reshape": (
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n", axis=0),
            node("Unsqueeze", "n axes", "n1"),
            node("Concat", "n1 minus", "target", axis=0),
            node("Reshape", "x target", "y"),
        ],
        {"zero": I(0), "axes": I([0]), "minus": I([-1])},
        {"Reshape": 1},
    ),
    # torch.onnx: F.interpolate(x, size=other.shape[2:])
    "Shape-Slice-Concat-Resize": (
        [
            node("MaxPool", "x", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
            node("Shape", "pooled", "ps"),
            node("Slice", "ps zero two zero", "nc"),
            node("Shape", "x", "xs"),
            node("Slice", "xs two four zero", "hw"),
            node("Cast", "hw", "hw64", to=TensorProto.INT64),
            node("Concat", "nc hw64", "sizes", axis=0),
            node("Resize", "pooled - - sizes", "y", mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
        ],
        {"zero": I([0]), "two": I([2]), "four": I([4])},
        {"MaxPool": 1, "Resize": 1},
    ),
    # opset 9 and 10 style: scales computed in floats
    "Shape-Cast-Div-Concat-Resize": (
        [
            node("Shape", "x", "s"),
            node("Slice", "s two four zero", "hw"),
            node("Mul", "hw two", "doubled"),
            node("Cast", "doubled", "a", to=TensorProto.FLOAT),
            node("Cast", "hw", "b", to=TensorProto.FLOAT),
            node("Div", "a b", "ratio"),
            node("Concat", "ones ratio", "scales", axis=0),
            node("Resize", "x - scales", "y", mode="nearest"),
        ],
        {"zero": I([0]), "two": I([2]), "four": I([4]), "ones": np.ones(2, np.float32)},
        {"Resize": 1},
    ),
    "ConstantOfShape-Add": (
        [
            node("Shape", "x", "s"),
            node("ConstantOfShape", "s", "zeros"),
            node("Exp", "zeros", "ones"),
            node("Add", "x ones", "y"),
        ],
        {},
        {"Add": 1},
    ),
    # torch.onnx: tensor.expand(-1, ...), with its Where on -1
    "ConstantOfShape-Mul-Equal-Where-Expand": (
        [
            node("Shape", "wanted", "rank"),
            node("ConstantOfShape", "rank", "zeros"),
            node("Cast", "zeros", "zeros64", to=TensorProto.INT64),
            node("Sub", "zeros64 one", "minus"),
            node("Equal", "wanted minus", "keep"),
            node("Shape", "x", "s"),
            node("Where", "keep s wanted", "target"),
            node("ReduceMean", "x", "mean", axes=[1]),
            node("Expand", "mean target", "y"),
        ],
        {"wanted": I([-1, 3, -1, -1]), "one": I(1)},
        {"ReduceMean": 1, "Expand": 1},
    ),
    # positions of an attention layer
    "Shape-Gather-Range-Unsqueeze-Add": (
        [
            node("Shape", "x", "s"),
            node("Gather", "s three", "w", axis=0),
            node("Range", "zero w one", "positions"),
            node("Cast", "positions", "p", to=TensorProto.FLOAT),
            node("Unsqueeze", "p axes", "row"),
            node("Add", "x row", "y"),
        ],
        {"three": I(3), "zero": I(0), "one": I(1), "axes": I([0, 1, 2])},
        {"Add": 1},
    ),
    # window partition of Swin: integer division, view with six dimensions, permute
    "Shape-Gather-Div-Concat-Reshape-Transpose": (
        [
            node("Shape", "x", "s"),
            node("Gather", "s two", "h", axis=0),
            node("Div", "h two", "half"),
            node("Gather", "s one", "c", axis=0),
            node("Unsqueeze", "half axes", "half1"),
            node("Unsqueeze", "c axes", "c1"),
            node("Concat", "minus c1 half1 twos half1 twos", "target", axis=0),
            node("Reshape", "x target", "windows"),
            node("Transpose", "windows", "y", perm=[0, 2, 4, 3, 5, 1]),
        ],
        {"one": I(1), "two": I(2), "zero": I(0), "axes": I([0]), "minus": I([-1]), "twos": I([2])},
        {"Reshape": 1, "Transpose": 1},
    ),
    # tf2onnx: StridedSlice of the shape, Squeeze, Pack
    "Shape-Slice-Squeeze-Unsqueeze-Concat-Tile": (
        [
            node("Shape", "x", "s"),
            node("Slice", "s one two zero", "c1"),
            node("Squeeze", "c1 zero", "c"),
            node("Unsqueeze", "c zero", "c2"),
            node("Concat", "one c2 one one", "repeats", axis=0),
            node("Tile", "x repeats", "y"),
        ],
        {"zero": I([0]), "one": I([1]), "two": I([2])},
        {"Tile": 1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_folds_and_holds(name: str) -> None:
    nodes, constants, remaining = CASES[name]
    proto = model(nodes, {"x": ["N", "C", "H", "W"]}, "y", constants)
    shape = (2, 3, 4, 4)
    assert dict(load_graph(proto, input_shapes={"x": shape}).histogram()) == remaining

    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    content = proto.SerializeToString()
    (expected,) = ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    for backend in ("reference", "numpy"):
        with Session(content, backend=backend, input_shapes={"x": shape}) as session:
            result = session.run({"x": x})["y"]
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


FOUR_BITS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Cast": ([node("Cast", "q", "t", to=TensorProto.INT64), node("Reshape", "x t", "y")], {}),
    "DequantizeLinear": (
        [
            node("DequantizeLinear", "q two", "d"),
            *[node("Cast", "d", "t", to=TensorProto.INT64), node("Expand", "x1 t", "e"), node("Mul", "e two", "y")],
        ],
        {"two": np.float32(2), "x1": np.ones(1, np.float32)},
    ),
}


@pytest.mark.parametrize("kind", KINDS, ids=TensorProto.DataType.Name)
@pytest.mark.parametrize("name", FOUR_BITS)
def test_shapes_of_four_bit_constants(name: str, kind: int) -> None:
    """They stay packed until the passes have seen them; what decides a shape is needed before."""
    nodes, constants = FOUR_BITS[name]
    q = four_bit_tensor("q", kind, I([2, 3]))
    nodes = [*nodes, node("Cast", "q", "rest", to=TensorProto.FLOAT)]
    proto = model(nodes, {"x": [6]}, "y rest", constants, opset=OPSET)
    proto.graph.initializer.append(q)
    assert UNPACK not in load_graph(proto).histogram()
    x = np.arange(6, dtype=np.float32)
    expected = run_onnxruntime(proto, {"x": x})
    for backend in ("reference", "numpy"):
        with Session(proto.SerializeToString(), backend=backend, outputs="all") as session:
            for result, array in zip(session.run({"x": x}).values(), expected, strict=True):
                np.testing.assert_array_equal(result, array)


def test_a_shape_of_a_large_sum() -> None:
    """One that waits for the passes otherwise."""
    rows, columns = np.arange(1024)[:, None], np.arange(1024)
    nodes = [
        *[node("Add", "rows columns", "sum"), node("ReduceMax", "sum", "most", keepdims=0)],
        *[node("Sub", "most start", "n"), node("Reshape", "n one", "n1"), node("Reshape", "x n1", "y")],
    ]
    constants = {"rows": rows, "columns": columns, "start": I(2 * 1023 - 6), "one": I([1])}
    graph = load_graph(model(nodes, {"x": [2, 3]}, "y", constants))
    assert (graph.histogram(), graph.outputs[0].shape) == ({"Reshape": 1}, (6,))


def test_a_branch_by_a_four_bit_constant() -> None:
    graphs = [
        onnx.helper.make_graph([node(op, "x", "b")], op, [], [onnx.helper.make_empty_tensor_value_info("b")])
        for op in ("Neg", "Exp")
    ]
    nodes = [
        node("Cast", "q", "c", to=TensorProto.BOOL),
        node("If", "c", "y", then_branch=graphs[0], else_branch=graphs[1]),
    ]
    proto = model(nodes, {"x": [2]}, "y", opset=OPSET)
    proto.graph.initializer.append(four_bit_tensor("q", TensorProto.INT4, I([-1])))
    assert load_graph(proto).histogram() == {"Neg": 1, "Identity": 1}


def test_what_a_run_quantises_to_four_bits_decides_no_shape() -> None:
    nodes = [
        node("Cast", "x", "q", to=TensorProto.INT4),
        *[node("Cast", "q", "t", to=TensorProto.INT64), node("Expand", "one t", "y")],
    ]
    proto = model(nodes, {"x": [2]}, "y", {"one": np.ones(1, np.float32)}, opset=OPSET)
    with pytest.raises(ModelError, match=r"^Expand 'y': input 1 \('t'\) decides a shape and depends on the data"):
        load_graph(proto)
