"""The sum over the parts equals the convolution of their concatenation, and no part waits for the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.split_concat_convolution import split_concat_convolution
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import feeds, interpret, load_graph, model, node

TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}
"""Measured on these shapes: 2e-6, of results up to 9."""

SIDES = [6, 5]

PARTS = [node("Relu", name, name.replace("x", "p")) for name in ("x0", "x1", "x2")]


def concat_conv(
    parts: Sequence[onnx.NodeProto] = PARTS,
    *,
    channels: Sequence[int] = (8, 6, 10),
    outputs: int = 4,
    shapes: dict[int, list[int]] | None = None,
    axis: int = 1,
    bias: bool = True,
    kernel: tuple[int, int] = (1, 1),
    model_outputs: str = "y",
    extra: Sequence[onnx.NodeProto] = (),
    constants: dict[str, Any] | None = None,
    inputs: dict[str, list[int]] | None = None,
    concat_inputs: str = "p0 p1 p2",
    **attributes: Any,
) -> onnx.ModelProto:
    """x0 → p0, x1 → p1, ... → Concat → c → Conv → y, ``channels`` of each x, ``shapes`` where it is another."""
    random = np.random.default_rng(outputs)
    total = sum(channels) if axis == 1 else channels[0]
    arrays = {
        "w": random.standard_normal((outputs, total // attributes.get("group", 1), *kernel)).astype(np.float32) / 4,
        "b": random.standard_normal(outputs).astype(np.float32),
        **(constants or {}),
    }
    input_shapes = {f"x{n}": [2, count, *SIDES] for n, count in enumerate(channels)}
    input_shapes |= {f"x{n}": shape for n, shape in (shapes or {}).items()}
    nodes = [
        *parts,
        node("Concat", concat_inputs, "c", axis=axis),
        node("Conv", "c w b" if bias else "c w", "y", **attributes),
        *extra,
    ]
    arrays = {name: array for name, array in arrays.items() if name not in (inputs or {})}
    return model(nodes, {**input_shapes, **(inputs or {})}, model_outputs, arrays)


@pytest.mark.parametrize("bias", [True, False])
def test_splits(bias: bool) -> None:
    graph = rewrite(concat_conv(bias=bias, outputs=3), split_concat_convolution, 1, **TOLERANCE)
    # each part is convolved and added before the next is made
    assert [node.op for node in graph.nodes] == ["Relu", "Conv", "Relu", "Conv", "Add", "Relu", "Conv", "Add"]
    assert [len(node.inputs) for node in graph.nodes if node.op == "Conv"] == [2 + bias, 2, 2]
    assert max(node.output.shape[1] for node in graph.nodes) == 10


def test_sums_in_the_order_in_which_parts_are_made() -> None:
    graph = rewrite(concat_conv(PARTS[::-1]), split_concat_convolution, 1, **TOLERANCE)
    assert [node.op for node in graph.nodes] == ["Relu", "Conv", "Relu", "Conv", "Add", "Relu", "Conv", "Add"]


def test_one_part_twice() -> None:
    proto = concat_conv(PARTS[:2], concat_inputs="p0 p1 p0", channels=(8, 8, 8), outputs=2)
    del proto.graph.input[2]
    rewrite(proto, split_concat_convolution, 1, **TOLERANCE)


@pytest.mark.parametrize("shape", [[2, 6, 1, 1], [1, 6, 1, 1], [2, 6, 6, 1]])
@pytest.mark.parametrize("other_reader", [True, False])
def test_convolves_before_an_expand(shape: list[int], other_reader: bool) -> None:
    parts = [node("Expand", "x1 s", "p1"), *PARTS[::2]]
    proto = concat_conv(
        parts,
        shapes={1: shape},
        constants={"s": np.array([2, 6, *SIDES])},
        extra=[node("Relu", "p1", "z")] if other_reader else [],
        model_outputs="y z" if other_reader else "y",
    )
    graph = rewrite(proto, split_concat_convolution, 1, **TOLERANCE)
    (small,) = (node for node in graph.nodes if node.op == "Conv" and node.input(0) is graph.inputs[1])
    assert small.output.shape == (shape[0], 4, *shape[2:])
    assert graph.histogram()["Expand"] == other_reader


@pytest.mark.parametrize("shape", [[2, 1, 1, 1], [6, *SIDES]])
def test_expand_of_other_channels(shape: list[int]) -> None:
    parts = [*PARTS[::2], node("Expand", "x1 s", "p1")]
    proto = concat_conv(parts, shapes={1: shape}, constants={"s": np.array([2, 6, *SIDES])})
    rewrite(proto, split_concat_convolution, 1, **TOLERANCE)


def test_concat_of_a_split_sum() -> None:
    # the second Concat reads the sum that the first one's convolution has become, and another of its parts
    extra = [
        node("Concat", "p0 y", "d", axis=1),
        node("Conv", "d v", "z"),
    ]
    v = np.random.default_rng(5).standard_normal((2, 12, 1, 1)).astype(np.float32)
    proto = concat_conv(extra=extra, model_outputs="z", constants={"v": v})
    graph = rewrite(proto, split_concat_convolution, 2, **TOLERANCE)
    assert "Concat" not in graph.histogram()
    ready = set(graph.inputs)
    for each in graph.nodes:
        assert all(value in ready or value.is_constant for value in each.used_inputs())
        ready.update(each.used_outputs())


def test_two_heads_of_one_part() -> None:
    extra = [node("Concat", "p2 p1", "d", axis=-3), node("Conv", "d v", "z")]
    v = np.random.default_rng(5).standard_normal((2, 16, 1, 1)).astype(np.float32)
    rewrite(concat_conv(extra=extra, model_outputs="z y", constants={"v": v}), split_concat_convolution, 2, **TOLERANCE)


def test_largest_tensor_goes() -> None:
    proto = concat_conv(channels=(64, 64, 64), outputs=8)
    graph = load_graph(proto)
    inputs, expected = feeds(graph), interpret(load_graph(proto), feeds(graph))
    assert (split_concat_convolution(graph), remove_dead_code(graph)) == (1, 0)
    np.testing.assert_allclose(interpret(graph, inputs)[0], expected[0], rtol=0, atol=1e-5)  # measured: 3e-6
    assert max(node.output.type.nbytes for node in graph.nodes) == 2 * 64 * 6 * 5 * 4


@pytest.mark.parametrize(
    "proto",
    [
        concat_conv(extra=[node("Relu", "c", "z")], model_outputs="y z"),
        concat_conv(model_outputs="y c"),
        concat_conv(channels=(8, 3, 13)),
        concat_conv(outputs=5),
        concat_conv(PARTS[:2], concat_inputs="p0 p1 x2"),
        concat_conv(
            PARTS[:2],
            concat_inputs="p0 p1 k",
            constants={"k": np.ones((2, 10, *SIDES), np.float32)},
        ),
        concat_conv(kernel=(3, 1)),
        concat_conv(kernel=(1, 1), strides=[2, 2]),
        concat_conv(kernel=(1, 1), pads=[0, 1, 0, 1]),
        concat_conv(group=2, outputs=2),
        concat_conv(channels=(24, 24, 24), axis=2),
        concat_conv(inputs={"w": [4, 24, 1, 1]}),
        concat_conv(inputs={"b": [4]}),
        concat_conv(
            [node("Expand", f"x{n} s", f"p{n}") for n in range(3)],
            channels=(8, 8, 8),
            shapes={n: [2, 8, 1, 1] for n in range(3)},
            constants={"s": np.array([2, 8, *SIDES])},
        ),
    ],
    ids=[
        "other reader", "graph output", "narrow part", "little saved", "graph input", "constant", "kernel", "strides",
        "pads", "groups", "another axis", "weights at run time", "bias at run time", "nothing but Expands",
    ],
)  # fmt: skip
def test_does_not_split(proto: onnx.ModelProto) -> None:
    rewrite(proto, split_concat_convolution, 0)
