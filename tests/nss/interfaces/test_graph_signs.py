"""What a graph says by itself: normalisation, layout, activation, and which network it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import engine
from nss.interfaces.graph_signs import TRUNKS, Signs
from tests.engine.models import U2NETP, node
from tests.nss.tiny_models import probability, save_model
from tools.make_birefnet import FORMS, SIZES, BiRefNet

PIXELS = {"scale": 1.0, "mean": (0.0,), "std": (1.0,)}
UNIT = {"scale": 1 / 255, "mean": (0.0,), "std": (1.0,)}
MEAN = np.float32([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = np.float32([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
CONSTANTS: dict[str, Any] = {
    "255": np.float32(255),
    "half": np.float32(127.5),
    "1": np.float32(1),
    "0.5": np.float32(0.5),
    "minus": np.float32(-1),
    "two": np.float32(2),
    "mean": MEAN,
    "std": STD,
    "mean255": MEAN * 255,
    "caffe": np.float32([104, 117, 123]).reshape(1, 3, 1, 1),
    "gain": 1 / STD.ravel(),
    "zeros": np.zeros(3, np.float32),
    "ones": np.ones(3, np.float32),
    "mean255s": 255 * MEAN.ravel(),
    "var255s": (255 * STD.ravel()) ** 2,
    "flip": np.array([2, 1, 0]),
}


def signs(path: Path) -> Signs:
    return Signs(engine.ModelFile.read(path))


@pytest.mark.parametrize(
    ("nodes", "answer"),
    [
        ([node("Div", "x 255", "a"), node("Sub", "a mean", "b"), node("Div", "b std", "n")], PIXELS),
        ([node("Div", "x half", "a"), node("Add", "minus a", "n")], PIXELS),
        ([node("Sub", "x mean255", "a"), node("Mul", "gain1 a", "n")], PIXELS),
        ([node("Div", "x 255", "a"), node("Sub", "1 a", "b"), node("Sub", "b 0.5", "n")], PIXELS),  # a negative
        ([node("Div", "x 255", "n")], PIXELS),
        ([node("Gather", "x flip", "a", axis=1), node("Sub", "a caffe", "n")], PIXELS),
        ([node("BatchNormalization", "x ones zeros mean255s var255s", "n")], PIXELS),
        ([node("Cast", "x", "c", to=1), node("Sub", "c mean", "b"), node("Div", "b std", "n")], UNIT),
        ([node("Mul", "x two", "a"), node("Add", "a minus", "n")], UNIT),
        ([node("BatchNormalization", "x ones zeros zeros ones", "n")], {}),  # learnt, of what is normalised already
        ([node("Mul", "x two", "n")], {}),
        ([node("Mul", "x x", "n")], {}),
        ([node("Relu", "x", "a"), node("Sub", "a mean255", "n")], {}),  # behind a layer
        ([node("Sub", "x mean255", "a"), node("Div", "a std", "b"), node("Add", "b x", "n")], {}),  # and as it is
    ],
)
def test_normalisation_behind_the_input_says_what_it_wants(
    nodes: list[onnx.NodeProto], answer: dict[str, Any], tmp_path: Path
) -> None:
    constants = {**CONSTANTS, "gain1": 1 / (255 * STD)}
    path = save_model(tmp_path / "m.onnx", [*nodes, *probability("n")], constants=constants)
    assert signs(path).normalisation("x") == answer


def test_constants_may_be_nodes_and_the_shape_may_be_read(tmp_path: Path) -> None:
    half = onnx.helper.make_node("Constant", [], ["half"], value_float=127.5)
    nodes = [half, node("Shape", "x", "s"), node("Sub", "x half", "a"), node("Div", "a half", "n"), *probability("n")]
    assert signs(save_model(tmp_path / "m.onnx", nodes)).normalisation("x") == PIXELS


def test_a_transpose_of_the_input_is_nhwc(tmp_path: Path) -> None:
    dims = {"x": ["n", "a", "b", "c"]}
    to_nchw = [node("Cast", "x", "f", to=1), node("Transpose", "f", "t", perm=[0, 3, 1, 2])]
    graph_signs = signs(save_model(tmp_path / "nhwc.onnx", [*to_nchw, *probability("t")], inputs=dims))
    assert (graph_signs.transposes("x"), graph_signs.channels("x")) == (True, 3)
    plain = signs(save_model(tmp_path / "nchw.onnx", probability(), inputs=dims))
    assert (plain.transposes("x"), plain.channels("x")) == (False, 3)


@pytest.mark.parametrize(
    ("nodes", "answer"),
    [
        ([node("Sigmoid", "l", "y")], {"activation": "none", "range": 1}),
        ([node("Sigmoid", "l", "a"), node("Resize", "a - two4", "y")], {"activation": "none", "range": 1}),
        ([node("Sigmoid", "l", "a"), node("Mul", "a 255", "y")], {"activation": "none", "range": 255}),
        ([node("Sigmoid", "l", "a"), node("Div", "a level", "y")], {"activation": "none", "range": 255}),
        ([node("Sigmoid", "l", "a"), node("Mul", "255 a", "y")], {"activation": "none", "range": 255}),
        ([node("Clip", "l zero 255", "a"), node("Cast", "a", "y", to=2)], {"activation": "none", "range": 255}),
        ([node("Clip", "l zero one1", "y")], {"activation": "none", "range": 1}),
        ([node("Softmax", "l", "y", axis=1)], {"activation": "none", "range": 1}),
        ([node("Sigmoid", "l", "a"), node("Conv", "a one", "y")], {}),
        ([node("Sigmoid", "l", "a"), node("Mul", "a two", "y")], {}),
        ([node("DepthToSpace", "l4", "y", blocksize=2)], {}),
        ([node("Tanh", "l", "y")], {}),
    ],
)
def test_the_end_of_the_graph_says_the_activation_where_it_bounds_the_output(
    nodes: list[onnx.NodeProto], answer: dict[str, Any], tmp_path: Path
) -> None:
    constants = {
        **CONSTANTS,
        "zero": np.float32(0),
        "one1": np.float32(1),
        "level": np.float32(1 / 255),
        "two4": np.float32([1, 1, 2, 2]),
        "w4": np.ones((4, 3, 1, 1), np.float32),
    }
    convolutions = [node("Conv", "x w", "l"), node("Conv", "x w4", "l4")]
    assert signs(save_model(tmp_path / "m.onnx", [*convolutions, *nodes], constants=constants)).ending("y") == answer


def test_a_map_of_classes_names_its_votes(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "l"),
        node("Conv", "l w3", "c"),
        node("ArgMax", "c", "a", axis=1),
        node("Cast", "a", "y", to=1),
    ]
    graph_signs = signs(save_model(tmp_path / "m.onnx", nodes))
    assert (graph_signs.votes("y"), graph_signs.votes("c")) == (("c", 1), None)


def test_u2netp_is_known_in_any_form(tmp_path: Path) -> None:
    assert signs(U2NETP).family() == "U²-Netp"
    proto = onnx.load(U2NETP)
    for number, step in enumerate(proto.graph.node):  # a layer fewer is another network
        if step.op_type == "Conv" and number > 50:
            step.op_type = "Elu"
            break
    onnx.save(proto, tmp_path / "other.onnx")
    assert signs(tmp_path / "other.onnx").family() is None


def test_the_networks_are_as_large_as_published() -> None:
    published = {"IS-Net": 176_153_355, "U²-Net": 175_997_641, "U²-Netp": 4_574_861}  # bytes of the ONNX files
    for name, trunk in TRUNKS.items():
        weights = 4 * sum(count * int(np.prod(shape)) for shape, count in trunk.items())
        assert 0.96 <= weights / published[name] < 1  # biases, heads and nodes are left
    assert TRUNKS["IS-Net"] - TRUNKS["U²-Net"] == Counter({(64, 64, 3, 3): 1})


@pytest.mark.parametrize("form", FORMS)
def test_birefnet_is_known_in_any_form(form: str, tmp_path: Path) -> None:
    onnx.save(BiRefNet(SIZES["tiny"], form).model(), tmp_path / "m.onnx")
    assert signs(tmp_path / "m.onnx").family() == "BiRefNet"


def test_others_are_not_taken_for_a_known_network(tmp_path: Path) -> None:
    assert signs(save_model(tmp_path / "m.onnx", probability())).family() is None
    one_pyramid = [node("Conv", "x offsets", "o"), node("Conv", "x modulators", "m"), *probability()]
    weights = {"offsets": np.ones((98, 3, 7, 7), np.float32), "modulators": np.ones((49, 3, 7, 7), np.float32)}
    assert signs(save_model(tmp_path / "m.onnx", one_pyramid, constants=weights)).family() is None


def test_nodes_may_stand_in_any_order(tmp_path: Path) -> None:
    proto = onnx.load(U2NETP)
    nodes = list(reversed(proto.graph.node))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.save(proto, tmp_path / "m.onnx")
    graph_signs = signs(tmp_path / "m.onnx")
    assert (graph_signs.family(), graph_signs.ending("1959")) == ("U²-Netp", {"activation": "none", "range": 1})


def test_a_graph_that_is_none_says_nothing(tmp_path: Path) -> None:
    circle = [node("Identity", "y", "a"), node("Identity", "a", "y")]
    short = [node("Conv", "x", "l"), node("BatchNormalization", "x gain", "n"), node("ArgMax", "", "z")]
    twice = [node("Identity", "x", "b"), node("Identity", "c", "x"), node("Identity", "b", "c")]
    mistyped = [node("Transpose", "x", "t", perm=3), node("ArgMax", "x", "m", axis=[1])]
    path = save_model(tmp_path / "m.onnx", [*circle, *short, *twice, *mistyped], constants=CONSTANTS)
    graph_signs = signs(path)
    assert graph_signs.normalisation("x") == graph_signs.ending("y") == graph_signs.ending("x") == {}
    assert (graph_signs.transposes("x"), graph_signs.channels("x"), graph_signs.family()) == (False, None, None)
    assert (graph_signs.votes("y"), graph_signs.votes("z"), graph_signs.votes("m")) == (None, None, ("x", 0))
