"""The convolution with the numbers in its bias and weights equals it and Add or Mul in turn; and what is not folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.passes.fold_affine import BIAS, fold_affine
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import load_graph, model, node

TOLERANCE = {"rtol": 2e-6, "atol": 5e-6}
"""Measured on these shapes: 4.7e-7, of results up to 14."""

OUTPUTS = 3


def sums(
    constant: Any,
    *,
    op: str = "Conv",
    then: str = "Add",
    bias: bool = True,
    constant_first: bool = False,
    extra: list[onnx.NodeProto] | None = None,
    model_outputs: str = "y",
    inputs: dict[str, list[int]] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """x → convolution → c → Add or Mul of ``constant`` → y, of 3 channels of 4x4 pixels, or 6x6 of a ConvTranspose."""
    random = np.random.default_rng(2)
    names = dict.fromkeys(("Conv", "ConvTranspose"), "x w" + " b" * bias) | {"DeformConv": "x w offset" + " b" * bias}
    shapes = {"x": [1, 2, 5, 5], **({"offset": [1, 8, 4, 4]} if op == "DeformConv" else {}), **(inputs or {})}
    constants = {
        "w": random.standard_normal((2, OUTPUTS, 2, 2) if op == "ConvTranspose" else (OUTPUTS, 2, 2, 2)).astype(
            np.float32
        ),
        "added": np.asarray(constant, np.float32),
        **({"b": random.standard_normal(OUTPUTS).astype(np.float32)} if bias else {}),
    }
    for name in inputs or {}:
        constants.pop(name, None)
    nodes = [
        node(op, names[op], "c", **attributes),
        node(then, "added c" if constant_first else "c added", "y"),
        *(extra or []),
    ]
    return model(nodes, shapes, model_outputs, constants, opset=19)


BY_CHANNEL = np.linspace(-2, 3, OUTPUTS, dtype=np.float32).reshape(1, OUTPUTS, 1, 1)


@pytest.mark.parametrize("op", BIAS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("constant_first", [True, False])
@pytest.mark.parametrize(
    "constant",
    [BY_CHANNEL, BY_CHANNEL[0], np.zeros((1, OUTPUTS, 1, 1)), 0.5, np.full((1, 1, 1, 1), 0.5), [0.5]],
    ids=["by channel", "rank 3", "zeros", "scalar", "one of rank 4", "one of rank 1"],
)
def test_folds(op: str, bias: bool, constant_first: bool, constant: Any) -> None:
    for then in ("Add", "Mul"):
        proto = sums(constant, op=op, then=then, bias=bias, constant_first=constant_first)
        graph = rewrite(proto, fold_affine, 1, **TOLERANCE)
        (conv,) = graph.nodes
        assert conv.op == op
        assert conv.output is graph.outputs[0]
        if bias or then == "Add":
            assert conv.input(BIAS[op]).shape == (OUTPUTS,)


def test_channels_of_groups_have_factors_of_their_own() -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)
    random = np.random.default_rng(3)
    for op, shape in (("Conv", (6, 2, 2, 2)), ("ConvTranspose", (4, 3, 2, 2))):
        constants = {"w": random.standard_normal(shape).astype(np.float32), "k": numbers}
        nodes = [node(op, "x w", "c", group=2), node("Mul", "c k", "m"), node("Add", "m k", "y")]
        rewrite(model(nodes, {"x": [2, 4, 5, 5]}, "y", constants), fold_affine, 2, **TOLERANCE)


def test_a_mask_stays_behind_the_bias() -> None:
    proto = sums(BY_CHANNEL, op="DeformConv", bias=False, inputs={"mask": [1, 4, 4, 4]})
    proto.graph.node[0].input.extend(["", "mask"])
    (conv,) = rewrite(proto, fold_affine, 1, **TOLERANCE).nodes
    assert [value is not None and value.name for value in conv.inputs] == ["x", "w", "offset", "y:bias", "mask"]


def test_weights_may_come_at_run_time() -> None:
    rewrite(sums(BY_CHANNEL, inputs={"w": [OUTPUTS, 2, 2, 2]}), fold_affine, 1, **TOLERANCE)


def test_attributes_stay() -> None:
    proto = sums(BY_CHANNEL, strides=[2, 1], pads=[1, 0, 0, 1], dilations=[1, 2])
    (conv,) = rewrite(proto, fold_affine, 1, **TOLERANCE).nodes
    assert conv.attributes == {"strides": (2, 1), "pads": (1, 0, 0, 1), "dilations": (1, 2)}


def test_one_axis() -> None:
    constants = {"w": np.ones((OUTPUTS, 2, 3), np.float32), "added": BY_CHANNEL[:, :, :, 0]}
    proto = model([node("Conv", "x w", "c"), node("Add", "c added", "y")], {"x": [2, 2, 7]}, "y", constants)
    rewrite(proto, fold_affine, 1, **TOLERANCE)


def test_two_in_turn() -> None:
    graph = rewrite(
        sums(BY_CHANNEL, extra=[node("Add", "y added", "z")], model_outputs="z"), fold_affine, 2, **TOLERANCE
    )
    assert [node.op for node in graph.nodes] == ["Conv"]


def test_what_shares_a_bias_keeps_it() -> None:
    extra = [node("Conv", "x w b", "d"), node("Sub", "y d", "z")]
    graph = rewrite(sums(BY_CHANNEL, extra=extra, model_outputs="z"), fold_affine, 1, **TOLERANCE)
    assert sum(node.op == "Conv" for node in graph.nodes) == 2


@pytest.mark.parametrize(
    "proto",
    [
        sums(BY_CHANNEL, model_outputs="y c"),
        sums(BY_CHANNEL, extra=[node("Relu", "c", "z")], model_outputs="y z"),
        sums(np.ones((1, 1, 1, 4))),
        sums(np.ones(4)),
        sums(np.ones((1, 1, 4, 1))),
        sums(np.ones((1, OUTPUTS, 4, 4))),
        sums(np.ones((2, OUTPUTS, 1, 1))),
        sums(np.ones((1, 1, OUTPUTS, 1, 1))),
        sums(BY_CHANNEL, inputs={"added": [1, OUTPUTS, 1, 1]}),
        sums(BY_CHANNEL, inputs={"b": [OUTPUTS]}),
        sums(BY_CHANNEL, then="Mul", inputs={"w": [OUTPUTS, 2, 2, 2]}),
        model(
            [node("Conv", "x w", "c"), node("Add", "c c", "y")],
            {"x": [1, 2, 5, 5]},
            "y",
            {"w": np.ones((OUTPUTS, 2, 2, 2), np.float32)},
        ),
        model(
            [node("MatMul", "x w", "c"), node("Add", "c added", "y")],
            {"x": [1, 3, 4, 4]},
            "y",
            {"w": np.ones((4, 4), np.float32), "added": BY_CHANNEL},
        ),
    ],
    ids=[
        "graph output", "second reader", "columns", "columns of rank 1", "rows", "each element", "two images",
        "another axis", "at run time", "bias at run time",
        "factor of weights at run time", "sum of itself", "no convolution",
    ],
)  # fmt: skip
def test_does_not_fold(proto: onnx.ModelProto) -> None:
    rewrite(proto, fold_affine, 0)


def test_extreme_factors_stay_apart() -> None:
    assert fold_affine(load_graph(sums(BY_CHANNEL * 1e30, then="Mul"))) == 0
