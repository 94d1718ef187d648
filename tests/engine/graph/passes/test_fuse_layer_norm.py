"""The fused normalisation equals the nodes that exporters write; and what is not quite that expansion stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.passes.fuse_layer_norm import fuse_layer_norm
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}
"""Measured on these shapes: 1.2e-6, of results up to 6."""

SHAPE = [2, 5, 8]


def expansion(
    *,
    shape: list[int] = SHAPE,
    replacements: dict[str, onnx.NodeProto | None] | None = None,
    model_outputs: str = "y",
    before: Sequence[onnx.NodeProto] = (),
    extra: Sequence[onnx.NodeProto] = (),
    constants: dict[str, Any] | None = None,
    inputs: dict[str, list[int]] | None = None,
    opset: int = 14,
) -> onnx.ModelProto:
    """x → ... → y; ``replacements`` gives the node that makes a name instead, None for none."""
    random = np.random.default_rng(len(shape))
    axes: dict[str, Any] = {} if opset >= 18 else {"axes": [-1]}
    last = " last" if opset >= 18 else ""
    nodes = {
        "mean": node("ReduceMean", "x" + last, "mean", **axes),
        "d": node("Sub", "x mean", "d"),
        "dd": node("Pow", "d two", "dd"),
        "variance": node("ReduceMean", "dd" + last, "variance", keepdims=1, **axes),
        "above": node("Add", "variance epsilon", "above"),
        "root": node("Sqrt", "above", "root"),
        "unit": node("Div", "d root", "unit"),
        "scaled": node("Mul", "unit scale", "scaled"),
        "y": node("Add", "scaled shift", "y"),
        **(replacements or {}),
    }
    remaining_nodes = [node for node in nodes.values() if node is not None]
    arrays = {
        "two": np.float32(2),
        "epsilon": np.float32(1e-3),
        "last": np.array([-1]),
        "scale": random.standard_normal(shape[-1]).astype(np.float32),
        "shift": random.standard_normal(shape[-1]).astype(np.float32),
        **(constants or {}),
    }
    for name in inputs or {}:
        del arrays[name]
    return model(
        [*before, *remaining_nodes, *extra], {"x": shape, **(inputs or {})}, model_outputs, arrays, opset=opset
    )


@pytest.mark.parametrize(
    "proto",
    [
        expansion(),
        expansion(opset=18),
        expansion(opset=20, shape=[3, 8]),
        expansion(replacements={"mean": node("ReduceMean", "x", "mean", axes=[2])}),
        expansion(replacements={"dd": node("Mul", "d d", "dd")}),
        expansion(
            replacements={
                "above": node("Add", "epsilon variance", "above"),
                "scaled": node("Mul", "scale unit", "scaled"),
                "y": node("Add", "shift scaled", "y"),
            }
        ),
        expansion(constants={"scale": np.linspace(1, 2, 8, dtype=np.float32).reshape(1, 1, 8)}),
        expansion(extra=[node("Relu", "x", "z")], model_outputs="z y"),
        expansion(extra=[node("Relu", "y", "z")], model_outputs="z y"),
    ],
    ids=[
        "attribute", "input", "rank 2", "axis from the front", "square by Mul", "other order", "rank of scale",
        "x read", "y read",
    ],
)  # fmt: skip
def test_fuses(proto: onnx.ModelProto) -> None:
    graph = rewrite(proto, fuse_layer_norm, 1, **TOLERANCE)
    (norm,) = (node for node in graph.nodes if node.op != "Relu")
    assert (norm.op, len(norm.inputs), norm.version) == ("LayerNormalization", 3, 17)
    assert norm.attributes == {"axis": -1, "epsilon": pytest.approx(1e-3)}


@pytest.mark.parametrize(
    "proto",
    [
        expansion(replacements={"y": None}, model_outputs="scaled"),
        expansion(replacements={"y": node("Relu", "scaled", "y")}),
        expansion(model_outputs="y scaled"),
        expansion(extra=[node("Relu", "scaled", "z")], model_outputs="y z"),
        expansion(inputs={"shift": [8]}),
        expansion(constants={"shift": np.ones((5, 1), np.float32)}),
        expansion(constants={"shift": np.ones((1, 1, 1, 8), np.float32)}),
    ],
    ids=[
        "none", "other reader", "scaled is an output", "scaled read", "shift at run time", "shift of another axis",
        "shift adds an axis",
    ],
)  # fmt: skip
def test_fuses_all_but_the_shift(proto: onnx.ModelProto) -> None:
    graph = rewrite(proto, fuse_layer_norm, 1, **TOLERANCE)
    assert [len(node.inputs) for node in graph.nodes if node.op == "LayerNormalization"] == [2]


def test_two_in_turn() -> None:
    # the second reads what the first makes, under names of its own
    first = expansion().graph
    nodes = [*first.node]
    for graph_node in expansion().graph.node:
        again = onnx.NodeProto()
        again.CopyFrom(graph_node)
        names = {"x": "y", "two": "two", "epsilon": "epsilon", "scale": "scale", "shift": "shift"}
        again.input[:] = [names.get(name, f"{name}2") for name in graph_node.input]
        again.output[:] = [f"{name}2" for name in graph_node.output]
        nodes.append(again)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in first.initializer}
    graph = rewrite(model(nodes, {"x": SHAPE}, "y2", constants, opset=14), fuse_layer_norm, 2, **TOLERANCE)
    assert len(graph.nodes) == 2


@pytest.mark.parametrize("name", ["mean", "d", "dd", "variance", "above", "root", "unit"])
@pytest.mark.parametrize("as_output", [True, False])
def test_does_not_fuse_where_a_step_is_needed(name: str, as_output: bool) -> None:
    if as_output:
        rewrite(expansion(model_outputs=f"y {name}"), fuse_layer_norm, 0)
    else:
        rewrite(expansion(extra=[node("Relu", name, "z")], model_outputs="y z"), fuse_layer_norm, 0)


@pytest.mark.parametrize(
    "proto",
    [
        expansion(replacements={"mean": node("ReduceMean", "x", "mean", axes=[1])}),
        expansion(replacements={"variance": node("ReduceMean", "dd", "variance", axes=[1])}),
        expansion(replacements={"mean": node("ReduceMean", "x", "mean", axes=[-2, -1])}),
        expansion(replacements={"mean": node("ReduceMean", "x", "mean")}),
        expansion(shape=[8, 8], replacements={"mean": node("ReduceMean", "x", "mean", axes=[-1], keepdims=0)}),
        expansion(replacements={"mean": node("ReduceMean", "y0", "mean", axes=[-1])}, before=[node("Relu", "x", "y0")]),
        expansion(replacements={"mean": node("ReduceMax", "x", "mean", axes=[-1])}),
        expansion(constants={"two": np.float32(3)}),
        expansion(constants={"two": np.full(8, 2, np.float32)}),
        expansion(replacements={"dd": node("Mul", "d x", "dd")}),
        expansion(replacements={"unit": node("Div", "root d", "unit")}),
        expansion(replacements={"d": node("Sub", "mean x", "d")}),
        expansion(inputs={"epsilon": []}),
        expansion(constants={"epsilon": np.linspace(1, 2, 5, dtype=np.float32).reshape(5, 1)}),
        expansion(inputs={"scale": [8]}),
        expansion(constants={"scale": np.float32(2)}),
        expansion(constants={"scale": np.ones((5, 1), np.float32)}),
        expansion(shape=[2, 8, 8], constants={"scale": np.ones((8, 1), np.float32)}),
        expansion(constants={"scale": np.ones((5, 8), np.float32)}),
        expansion(constants={"scale": np.ones((1, 1, 1, 8), np.float32)}),
    ],
    ids=[
        "mean of another axis", "variance of another axis", "two axes", "all axes", "axis dropped", "mean of another",
        "no mean", "cubed", "powers", "not squared", "turned over", "mean less x", "epsilon at run time", "epsilons",
        "scale at run time", "one scale", "scale of another axis",
        "scale of another axis as long", "scale of each element", "scale adds an axis",
    ],
)  # fmt: skip
def test_does_not_fuse(proto: onnx.ModelProto) -> None:
    rewrite(proto, fuse_layer_norm, 0)
