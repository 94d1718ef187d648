"""The HardSwish equals the nodes that exporters write, in each order; and what differs from them stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.passes.fuse_hard_swish import fuse_hard_swish
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}

GATE = [node("Add", "x three", "plus"), node("Clip", "plus zero six", "gate")]
BEHIND = [*GATE, node("Mul", "x gate", "product")]
BEFORE = [*GATE, node("Div", "gate six", "unit"), node("Mul", "unit x", "y")]


def written(nodes: list[onnx.NodeProto], *, model_outputs: str = "y", **constants: Any) -> onnx.ModelProto:
    """x → ... → y; further names give constants."""
    values = {"three": 3, "zero": 0, "six": 6, "sixth": 1 / 6, **constants}
    arrays = {name: np.asarray(value, np.float32) for name, value in values.items()}
    return model(nodes, {"x": [2, 3, 40]}, model_outputs, arrays, opset=14)


@pytest.mark.parametrize(
    "nodes",
    [
        [*BEHIND, node("Div", "product six", "y")],
        [*BEHIND, node("Mul", "sixth product", "y")],
        BEFORE,
        [*GATE, node("Mul", "gate sixth", "unit"), node("Mul", "x unit", "y")],
        [node("HardSigmoid", "x", "unit", alpha=1 / 6, beta=0.5), node("Mul", "x unit", "y")],
    ],
    ids=["divided behind", "multiplied behind", "divided before", "multiplied before", "hard sigmoid"],
)
def test_fuses(nodes: list[onnx.NodeProto]) -> None:
    (fused,) = rewrite(written(nodes), fuse_hard_swish, 1, **TOLERANCE).nodes
    assert fused.op == "HardSwish"


def test_a_number_behind_it_is_its_factor_where_nothing_else_reads_it() -> None:
    for last in ("Add", "Relu"):
        tail = [node("Mul", "y k", "z"), node(last, "z y" if last == "Add" else "z", "end")]
        rewrite(written([*BEFORE, *tail], model_outputs="end", k=-1.7), fuse_hard_swish, 1, **TOLERANCE)


@pytest.mark.parametrize(
    "proto",
    [
        written(BEFORE, three=2.5),
        written(BEFORE, zero=-1),
        written([*BEHIND, node("Div", "product three", "y")]),
        written([*BEHIND, node("Div", "product six", "y")], model_outputs="y gate"),
        written([node("HardSigmoid", "x", "unit"), node("Mul", "x unit", "y")]),
        written([node("Relu", "x", "r"), *GATE, node("Mul", "r gate", "product"), node("Div", "product six", "y")]),
    ],
    ids=["another offset", "another limit", "another divisor", "second reader", "another slope", "another factor"],
)
def test_does_not_fuse(proto: onnx.ModelProto) -> None:
    rewrite(proto, fuse_hard_swish, 0)
