"""Convolutions that make offsets and masks of one tensor become one, whose result is split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from engine.graph.ir import Graph
from engine.graph.passes.fuse_activation import fuse_activation
from engine.graph.passes.merge_offset_convolutions import merge_offset_convolutions
from engine.graph.target import ANY, Target
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import execute, feeds, interpret, load_graph, model, node

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
"""Measured: 4e-6, of results up to 6; the difference is that between the NumPy executor and the references."""


def with_activations(graph: Graph, target: Target = ANY) -> int:
    """The pass behind the one that fuses the activations of the masks."""
    fuse_activation(graph, target)
    return merge_offset_convolutions(graph, target)


def branches(
    *kernels: int,
    activation: str = "Sigmoid",
    bias: bool = True,
    outputs: str = "",
    extra: Sequence[onnx.NodeProto] = (),
) -> onnx.ModelProto:
    """A modulated deformable convolution of x [2, 8, 6, 7] for each kernel; y0, y1, … are the results."""
    random = np.random.default_rng(len(kernels))
    nodes, arrays = [], {}
    for index, kernel in enumerate(kernels):
        taps, pads = kernel * kernel, [kernel // 2] * 4
        for name, channels in (("o", 2 * taps), ("m", taps)):
            w = random.standard_normal((channels, 8, kernel, kernel)) / (4 * kernel)
            arrays[f"{name}w{index}"] = w.astype(np.float32)
            arrays[f"{name}b{index}"] = random.standard_normal(channels).astype(np.float32)
        arrays[f"w{index}"] = random.standard_normal((4, 8, kernel, kernel)).astype(np.float32) / kernel
        biases = [f" {name}b{index}" if bias else "" for name in "om"]
        nodes += [
            node("Conv", f"x ow{index}{biases[0]}", f"o{index}", pads=pads),
            node("Conv", f"x mw{index}{biases[1]}", f"s{index}", pads=pads),
            node(activation, f"s{index}", f"m{index}"),
            node("DeformConv", f"x w{index} o{index} - m{index}", f"y{index}", pads=pads),
        ]
    names = outputs or " ".join(f"y{index}" for index in range(len(kernels)))
    return model([*nodes, *extra], {"x": [2, 8, 6, 7]}, names, arrays, opset=19)


@pytest.mark.parametrize("activation", ["Sigmoid", "HardSwish"])
@pytest.mark.parametrize("bias", [True, False])
def test_offset_and_mask_are_merged(bias: bool, activation: str) -> None:
    graph = rewrite(branches(3, bias=bias, activation=activation), with_activations, 1, **TOLERANCE)
    assert [each.op for each in graph.nodes] == ["FusedConv", "Split", "DeformConv"]
    assert graph.nodes[0].output.shape == (2, 27, 6, 7)
    assert graph.nodes[0].attributes["activated_from"] == 18


def test_branches_of_one_window_are_merged() -> None:
    graph = rewrite(branches(1, 3, 1, 5), with_activations, 3 + 1 + 1, **TOLERANCE)
    assert sorted(each.output.shape[1] for each in graph.nodes if each.op == "FusedConv") == [6, 27, 75]


def test_without_an_activation() -> None:
    graph = rewrite(branches(3, activation="Neg"), with_activations, 0, **TOLERANCE)
    assert "Split" not in graph.histogram()


def test_a_bias_on_one_side() -> None:
    proto = branches(3)
    mask = next(each for each in proto.graph.node if each.output[0] == "s0")
    mask.input.pop()
    rewrite(proto, with_activations, 1, **TOLERANCE)


def test_what_others_read_stays() -> None:
    rewrite(branches(3, outputs="y0 o0"), with_activations, 0, **TOLERANCE)
    rewrite(branches(3, extra=[node("Relu", "o0", "z")], outputs="y0 z"), with_activations, 0, **TOLERANCE)


def test_the_numpy_kernels_activate_a_part_of_the_channels() -> None:
    random = np.random.default_rng(5)
    for channels, kernel, side in ((8, 1, 6), (64, 3, 40), (96, 3, 20), (16, 3, 9)):
        w = random.standard_normal((48, channels, kernel, kernel)).astype(np.float32) / np.float32(channels)
        conv = node("Conv", "x w", "c", pads=[kernel // 2] * 4)
        proto = model([conv, node("Relu", "c", "y")], {"x": [1, channels, side, side]}, "y", {"w": w})
        graph = load_graph(proto)
        fuse_activation(graph)
        graph.nodes[0].attributes["activated_from"] = 18
        (expected,), (result,) = interpret(graph, feeds(graph)), execute(graph, feeds(graph))
        assert (expected[:, :18] < 0).any()
        assert (expected[:, 18:] >= 0).all()
        np.testing.assert_allclose(result, expected, 1e-5, 1e-5)
