"""A dynamically quantised convolution, as exporters write it, becomes one node that rounds as they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.gpu.plan.target import WebgpuTarget
from engine.graph.passes.fuse_dynamic_quantization import fuse_dynamic_quantization
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import load_graph, model, node

RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "w": RANDOM.integers(0, 256, (4, 3, 3, 3), np.uint8),
    "wz": np.array(117, np.uint8),
    "ws": np.array(0.037, np.float32),
    "b": np.linspace(-2, 2, 4, dtype=np.float32).reshape(1, 4, 1, 1),
}


def quantized_convolution(
    *tail: onnx.NodeProto, outputs: str = "y", scaled: str = "y", constants: dict[str, Any] | None = None
) -> onnx.ModelProto:
    """x → the nodes of a convolution, the last of which makes ``scaled``, then ``tail``."""
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("ConvInteger", "q w z wz", "i", pads=[1, 0, 1, 2], strides=[2, 1]),
        node("Cast", "i", "f", to=onnx.TensorProto.FLOAT),
        node("Mul", "s ws", "sw"),
        node("Mul", "f sw", scaled),
        *tail,
    ]
    return model(nodes, {"x": [2, 3, 6, 5]}, outputs, {**CONSTANTS, **(constants or {})})


@pytest.mark.parametrize(
    "proto",
    [
        quantized_convolution(),
        quantized_convolution(node("Add", "b p", "y"), scaled="p"),
        quantized_convolution(node("Add", "p b", "a"), node("Relu", "a", "y"), scaled="p"),
        quantized_convolution(node("LeakyRelu", "p", "y", alpha=0.2), scaled="p"),
        quantized_convolution(constants={"ws": np.float32([[[0.1]], [[0.2]], [[0.3]], [[0.4]]])}),
        quantized_convolution(constants={"wz": np.array([0, 255, 117, 3], np.uint8)}),
    ],
    ids=["plain", "bias", "bias and activation", "activation", "a scale for each output", "a zero point for each"],
)
def test_fires(proto: onnx.ModelProto) -> None:
    graph = rewrite(proto, fuse_dynamic_quantization, 1)
    assert [node.op for node in graph.nodes] == ["DynamicQuantizeConv"]


@pytest.mark.parametrize(
    "proto",
    [
        quantized_convolution(outputs="y q"),
        quantized_convolution(outputs="y s"),
        quantized_convolution(outputs="y i"),
        quantized_convolution(outputs="y f"),
        quantized_convolution(constants={"ws": np.full((1, 1, 5), 0.1, np.float32)}),
    ],
    ids=["quantised input", "scale", "sums", "cast sums", "a scale for each column"],
)
def test_leaves_what_others_need(proto: onnx.ModelProto) -> None:
    rewrite(proto, fuse_dynamic_quantization, 0)


def test_an_addend_for_each_column_stays() -> None:
    proto = quantized_convolution(node("Add", "p c", "y"), scaled="p", constants={"c": np.arange(5, dtype=np.float32)})
    graph = rewrite(proto, fuse_dynamic_quantization, 1)
    assert [node.op for node in graph.nodes] == ["DynamicQuantizeConv", "Add"]


def test_the_gpu_keeps_the_nodes_of_the_file() -> None:
    graph = load_graph(quantized_convolution())
    operators = [node.op for node in graph.nodes]
    assert fuse_dynamic_quantization(graph, WebgpuTarget()) == 0
    assert [node.op for node in graph.nodes] == operators
