"""A convolution and the activation that alone reads it become one node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.ir import INTERNAL_DOMAIN
from engine.graph.passes.fuse_activation import ACTIVATIONS, fuse_activation
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import execute, interpret, load_graph, model, node

WEIGHTS = {
    "w": np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32),
    "b": np.linspace(-2, 2, 4, dtype=np.float32),
}
LOW, HIGH = np.array(-0.5, np.float32), np.array(1.5, np.float32)


def conv_then(*nodes: onnx.NodeProto, model_outputs: str = "y", **options: Any) -> onnx.ModelProto:
    """x → Conv → c, then ``nodes``."""
    constants = {**WEIGHTS, **options.pop("constants", {})}
    inputs = {"x": [2, 3, 6, 5], **options.pop("inputs", {})}
    return model([node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), *nodes], inputs, model_outputs, constants, **options)


CASES = [
    (node("Relu", "c", "y"), {}),
    (node("LeakyRelu", "c", "y", alpha=0.2), {}),
    (node("Elu", "c", "y", alpha=0.7), {}),
    (node("Sigmoid", "c", "y"), {}),
    (node("HardSigmoid", "c", "y", alpha=0.3), {}),
    (node("HardSwish", "c", "y"), {}),
    (node("Tanh", "c", "y"), {}),
    (node("Clip", "c", "y"), {}),
    (node("Clip", "c low", "y"), {"low": LOW}),
    (node("Clip", "c - high", "y"), {"high": HIGH}),
    (node("Clip", "c low high", "y"), {"low": LOW, "high": HIGH}),
]


@pytest.mark.parametrize(("activation", "constants"), CASES)
def test_fires(activation: onnx.NodeProto, constants: dict[str, Any]) -> None:
    graph = rewrite(conv_then(activation, constants=constants), fuse_activation, 1)
    (fused_conv,) = graph.nodes
    assert (fused_conv.op, fused_conv.domain) == ("FusedConv", INTERNAL_DOMAIN)


def test_every_activation_has_a_case() -> None:
    assert {activation.op_type for activation, _ in CASES} == ACTIVATIONS


def test_clip_with_attributes() -> None:
    rewrite(conv_then(node("Clip", "c", "y", min=-0.5, max=1.5), opset=10), fuse_activation, 1)


def test_a_limit_that_is_left_out_is_none() -> None:
    graph = load_graph(
        conv_then(node("Clip", "c low", "y"), constants={"low": LOW, "w": np.ones((4, 3, 3, 3), np.float32)})
    )
    assert fuse_activation(graph) == 1
    x = [np.full((2, 3, 6, 5), 3e38, np.float32)]
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isposinf(interpret(graph, x)[0]).all()
        assert np.isposinf(execute(graph, x)[0]).all()


def test_only_the_first_of_two_activations() -> None:
    graph = rewrite(conv_then(node("Relu", "c", "r"), node("Tanh", "r", "y")), fuse_activation, 1)
    assert [node.op for node in graph.nodes] == ["FusedConv", "Tanh"]


def test_grouped_and_float64_convolutions() -> None:
    w = np.random.default_rng(0).standard_normal((6, 1, 3, 3))
    grouped_conv = model(
        [node("Conv", "x w", "c", group=3), node("Relu", "c", "y")],
        {"x": [1, 3, 5, 5]},
        "y",
        {"w": w.astype(np.float32)},
    )
    rewrite(grouped_conv, fuse_activation, 1)
    wide_conv = model(
        [node("Conv", "x w", "c", group=3), node("Relu", "c", "y")], {"x": (np.float64, [1, 3, 5, 5])}, "y", {"w": w}
    )
    rewrite(wide_conv, fuse_activation, 1)


@pytest.mark.parametrize(
    "proto",
    [
        conv_then(node("Relu", "c", "r"), node("Add", "c r", "y")),
        conv_then(node("Relu", "c", "y"), model_outputs="y c"),
        conv_then(node("Clip", "c low", "y"), inputs={"low": []}),
        conv_then(node("Softmax", "c", "y")),
        conv_then(node("PRelu", "c s", "y"), constants={"s": LOW}),
        conv_then(node("Neg", "c", "n"), node("Relu", "n", "y")),
        model(
            [node("ConvTranspose", "x w", "c"), node("Relu", "c", "y")],
            {"x": [1, 4, 3, 3]},
            "y",
            {"w": WEIGHTS["w"]},
        ),
    ],
    ids=["second reader", "graph output", "limit at run time", "Softmax", "PRelu", "not direct", "ConvTranspose"],
)
def test_does_not_fire(proto: onnx.ModelProto) -> None:
    rewrite(proto, fuse_activation, 0)
