"""The composed convolution equals the two in turn, whatever the first one's window; and which pairs stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.graph.passes.compose_convolutions import compose_convolutions
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}
"""Measured on these shapes: 1.4e-6, of results up to 8."""


def two(
    *,
    channels: Sequence[int] = (4, 6, 3),
    biases: tuple[bool, bool] = (True, True),
    kernel: tuple[int, ...] = (3, 3),
    kernel2: tuple[int, ...] | None = None,
    first: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    between: Sequence[onnx.NodeProto] = (),
    second_input: str = "c",
    model_outputs: str = "y",
    extra: Sequence[onnx.NodeProto] = (),
    inputs: dict[str, list[int]] | None = None,
) -> onnx.ModelProto:
    """x → Conv (w, b) → c → Conv 1x1 (v, d) → y with ``channels`` at each of the three."""
    random = np.random.default_rng(channels[-1])
    into, middle, out = channels
    group, group2 = ((attributes or {}).get("group", 1) for attributes in (first, second))
    arrays = {
        "w": random.standard_normal((middle, into // group, *kernel)),
        "b": random.standard_normal(middle),
        "v": random.standard_normal((out, middle // group2, *(kernel2 or (1,) * len(kernel)))),
        "d": random.standard_normal(out),
    }
    constants = {
        name: (array / np.sqrt(array[0].size)).astype(np.float32)
        for name, array in arrays.items()
        if name not in (inputs or {})
    }
    nodes = [
        node("Conv", "x w b" if biases[0] else "x w", "c", **(first or {})),
        *between,
        node("Conv", f"{second_input} v d" if biases[1] else f"{second_input} v", "y", **(second or {})),
        *extra,
    ]
    return model(nodes, {"x": [2, into, *(7,) * len(kernel)], **(inputs or {})}, model_outputs, constants)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_composes(data: st.DataObject) -> None:
    kernel = data.draw(st.sampled_from([(3,), (1, 1), (3, 2), (1, 2, 2)]), "kernel")
    biases = data.draw(st.tuples(st.booleans(), st.booleans()), "biases")
    rank = len(kernel)
    first = {
        "strides": data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank), "strides"),
        "dilations": data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank), "dilations"),
        "pads": data.draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank), "pads"),
    }
    graph = rewrite(two(kernel=kernel, biases=biases, first=first), compose_convolutions, 1, **TOLERANCE)
    assert [len(node.inputs) for node in graph.nodes] == [2 + any(biases)]


def test_three_in_turn() -> None:
    proto = two(channels=(3, 8, 4), extra=[node("Conv", "y u", "z", auto_pad="SAME_UPPER")], model_outputs="z")
    u = np.random.default_rng(3).standard_normal((1, 4, 1, 1)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(u, "u"))
    graph = rewrite(proto, compose_convolutions, 2, **TOLERANCE)
    assert len(graph.nodes) == 1


@pytest.mark.parametrize(
    "proto",
    [
        two(between=[node("Relu", "c", "r")], second_input="r"),
        two(extra=[node("Relu", "c", "z")], model_outputs="y z"),
        two(model_outputs="y c"),
        two(channels=(4, 3, 3)),
        two(channels=(4, 6, 2), first={"group": 2}),
        two(channels=(4, 6, 2), second={"group": 2}),
        two(second={"strides": [2, 2]}),
        two(second={"pads": [0, 0, 1, 1]}),
        two(kernel2=(3, 1)),
        two(inputs={"w": [6, 4, 3, 3]}),
        two(inputs={"b": [6]}),
        two(inputs={"v": [3, 6, 1, 1]}),
        two(inputs={"d": [3]}),
    ],
    ids=[
        "activation", "other reader", "graph output", "as many outputs", "first in groups", "second in groups",
        "strides", "pads", "kernel", "weights at run time", "bias at run time", "second weights at run time",
        "second bias at run time",
    ],
)  # fmt: skip
def test_does_not_compose(proto: onnx.ModelProto) -> None:
    rewrite(proto, compose_convolutions, 0)
