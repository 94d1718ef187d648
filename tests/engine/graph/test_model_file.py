"""Files that are no models, or models that the engine is too old or too new for; damaged files of every kind."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine import EngineError, ModelError, ModelFile, Session, UnsupportedError
from engine.graph.model_file import OLDEST_OPSET
from tests.engine.models import U2NETP, branch, model, node

RELU = model([node("Relu", "x", "y")], {"x": [2]}, "y")


def small_model() -> onnx.ModelProto:
    """A convolution, shape arithmetic, an If, a function and typed, raw and attribute tensors in under 1 KiB."""
    helper_function = helper.make_function(
        "test", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 17)]
    )
    proto = model(
        [
            node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
            node("Shape", "c", "shape"),
            node("Slice", "shape zero one", "batch"),
            node("Concat", "batch minus", "target", axis=0),
            node("Reshape", "c target", "flat"),
            node("Constant", "", "k", value=numpy_helper.from_array(np.ones(1, np.float32))),
            node(
                "If",
                "yes",
                "chosen",
                then_branch=branch([node("Mul", "flat k", "t")], "t"),
                else_branch=branch([node("Neg", "flat", "e")], "e"),
            ),
            node("Twice", "chosen", "y", domain="test"),
        ],
        {"x": ["N", 2, 4, 4]},
        "y",
        {
            "w": np.ones((3, 2, 3, 3), np.float32),
            "zero": np.array([0]),
            "one": np.array([1]),
            "minus": np.array([-1]),
            "yes": np.array(True),
        },
        domains={"test": 1},
        functions=[helper_function],
    )
    proto.graph.initializer.append(helper.make_tensor("b", TensorProto.FLOAT, [3], [1, 2, 3]))
    return proto


CONV = node("Conv", "x w", "c")


@pytest.mark.parametrize(
    ("nodes", "lacks"),
    [
        ([node("Conv", "x w", "y")], True),
        ([CONV, node("Sigmoid", "c", "y")], False),
        ([CONV, node("Sigmoid", "c", "s"), node("Resize", "s - - size", "y")], False),
        ([CONV, node("Resize", "c - - size", "r"), node("Cast", "r", "y", to=1)], True),
        ([CONV, node("Relu", "c", "y")], False),
        ([CONV, node("Clip", "c zero one", "y")], False),
        ([CONV, node("Add", "c one", "y")], True),
        ([CONV, node("Sigmoid", "c", "s"), node("Sub", "one s", "y")], False),
        ([CONV, node("Sigmoid", "c", "s"), node("Mul", "c s", "y")], False),
        ([CONV, node("ReduceMax", "c", "m"), node("Div", "c m", "y")], False),
        (
            [
                node("DynamicQuantizeLinear", "x", "q scale zp"),
                node("ConvInteger", "q w8 zp", "i"),
                node("Cast", "i", "f", to=1),
                node("Mul", "scale one", "scales"),
                node("Mul", "f scales", "m"),
                node("Add", "m one", "y"),
            ],
            True,
        ),
        (
            [
                CONV,
                node("Sigmoid", "c", "s"),
                node("QuantizeLinear", "s one", "q"),
                node("DequantizeLinear", "q one", "y"),
            ],
            False,
        ),
        ([node("Constant", "", "k", value_float=2.0), CONV, node("Div", "c k", "y")], True),
        ([node("Conv", "x w", "y", domain="com.example")], False),
        ([node("Identity", "x", "y")], False),
        ([node("Identity", "one", "y")], False),
        ([CONV], False),
    ],
)
def test_what_bounds_the_output(nodes: list[onnx.NodeProto], lacks: bool) -> None:
    constants = {"w": np.ones((1, 1, 1, 1), np.float32), "one": np.ones(1, np.float32)}
    proto = model(nodes, {"x": [1, 1, 2, 2]}, "y", constants, domains={"com.example": 1})
    assert ModelFile.read(proto.SerializeToString()).lacks_activation("y") is lacks


def test_the_real_network_bounds_its_output() -> None:
    assert not ModelFile.read(U2NETP).lacks_activation("1959")


@pytest.mark.parametrize("form", [str, Path, Path.read_bytes], ids=["str", "path", "bytes"])
def test_what_a_model_may_be(form: type, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(RELU, path)
    file = ModelFile.read(form(path))
    assert file.inputs == {"x": (2,)}
    assert file.outputs == ["y"]
    assert file.versions == {"": 17}
    assert file.folder == (None if form is Path.read_bytes else tmp_path)


def test_declared_dimensions() -> None:
    proto = model([node("Relu", "x", "y")], {"x": ["N", 3, None], "w": [2]}, "y", {"w": np.ones(2, np.float32)})
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    assert ModelFile.read(proto.SerializeToString()).inputs == {"x": ("N", 3, "?"), "z": ()}


def test_path_errors(tmp_path: Path) -> None:
    for path, message in [
        (tmp_path, f"model '{tmp_path}' is a folder; name the .onnx file in it"),
        (tmp_path / "none.onnx", f"model '{tmp_path / 'none.onnx'}' cannot be read: No such file or directory"),
        ("n" * 300, f"model '{'n' * 300}' cannot be read: File name too long"),
    ]:
        with pytest.raises(ModelError) as failure:
            Session(path)
        assert str(failure.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; fetch it again"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG image, not a model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "is not an ONNX file: it holds no graph with outputs"),
        (
            onnx.ModelProto(graph=model([node("Relu", "x", "y")], {"x": [2]}, "y").graph).SerializeToString(),
            "is not an ONNX file: it names no operator set",
        ),
    ],
    ids=["empty", "PNG", "no graph", "no operator set"],
)
def test_not_a_model(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    for source in (tmp_path / "m.onnx", content):
        with pytest.raises(ModelError) as failure:
            Session(source)
        assert message in str(failure.value)
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize("opset", range(OLDEST_OPSET, onnx.defs.onnx_opset_version() + 1))
def test_every_opset_loads(opset: int) -> None:
    proto = model([node("Relu", "x", "y")], {"x": [2]}, "y", opset=opset)
    with Session(proto.SerializeToString()) as session:
        np.testing.assert_array_equal(session.run({"x": np.array([-1, 1], np.float32)})["y"], [0, 1])


def test_versions_out_of_range() -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset, ir_version, message in [
        (OLDEST_OPSET - 1, 10, "operator set 6 is older than 7; lift the model with onnx.version_converter"),
        (newest + 1, 10, f"operator set {newest + 1} is newer than the installed onnx package knows"),
        (17, onnx.IR_VERSION + 1, f"ONNX IR version {onnx.IR_VERSION + 1} is newer"),
    ]:
        proto = model([node("Relu", "x", "y")], {"x": [2]}, "y", ir_version=ir_version)
        proto.opset_import[0].version = opset
        with pytest.raises(UnsupportedError, match=message):
            Session(proto.SerializeToString())


def test_functions_are_inlined() -> None:
    inner = helper.make_function("f", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 17)])
    outer = helper.make_function(
        "f",
        "Scaled",
        ["a"],
        ["c"],
        [
            node("Twice", "a", "b", domain="f"),
            helper.make_node("LeakyRelu", ["b"], ["c"]),
        ],
        [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)],
        attributes=["alpha"],
    )
    outer.node[1].attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="alpha")
    proto = model(
        [node("Scaled", "x", "m", domain="f", alpha=0.5), node("Scaled", "m", "y", domain="f", alpha=0.25)],
        {"x": [2]},
        "y",
        domains={"f": 1},
        functions=[inner, outer],
    )
    with Session(proto.SerializeToString()) as session:
        np.testing.assert_array_equal(session.run({"x": np.array([-8, 1], np.float32)})["y"], [-4, 4])


def test_the_small_model_runs() -> None:
    with Session(small_model().SerializeToString(), input_shapes={"x": (1, 2, 4, 4)}) as session:
        result = session.run({"x": np.ones((1, 2, 4, 4), np.float32)})["y"]
    assert result.shape == (1, 48)
    assert result[0, 5] == 2 * (18 + 1)


@pytest.mark.parametrize("seed", range(300))
def test_damaged_model_loads_or_says_why(seed: int) -> None:
    """Bytes flipped, cut out or doubled at random: a session that runs, or an error of the engine, nothing else."""
    dice = random.Random(seed)
    content = bytearray(small_model().SerializeToString())
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(content))
        kind = dice.choice(["flip", "set", "cut", "double"])
        if kind == "flip":
            content[place] ^= 1 << dice.randrange(8)
        elif kind == "set":
            content[place] = dice.randrange(256)
        elif kind == "cut":
            del content[place : place + dice.randint(1, 20)]
        else:
            content[place:place] = content[place : place + dice.randint(1, 20)]
    message = ""
    try:
        with Session(bytes(content), input_shapes={"x": (1, 2, 4, 4)}) as session:
            session.run({info.name: np.ones(info.shape, info.dtype) for info in session.inputs}, allow_nan=True)
    except EngineError as error:
        message = str(error)
    assert message.isprintable()


def test_names_that_are_not_text() -> None:
    content = RELU.SerializeToString()
    assert content.count(b"Relu") == 1
    with pytest.raises(ModelError, match="is damaged: it holds names that are not UTF-8; fetch it again"):
        Session(content.replace(b"Relu", b"Rel\xff"))


def test_messages_quote_control_characters_escaped() -> None:
    content = RELU.SerializeToString().replace(b"Relu", b"R\x1b\nu")
    with pytest.raises(UnsupportedError) as failure:
        Session(content)
    assert r"ai.onnx.R\x1b\nu version 17 (1 node)" in str(failure.value)


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.99, 0.99999])
def test_real_model_cut_short(part: float) -> None:
    content = U2NETP.read_bytes()
    with pytest.raises(ModelError, match="is not an ONNX file, or is cut short; fetch it again"):
        Session(content[: int(len(content) * part)])
