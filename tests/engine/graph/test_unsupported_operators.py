"""One error names everything that cannot run, before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from engine import Session, UnsupportedError
from engine.graph import unsupported_operators
from tests.engine.models import branch, load_graph, model, node


def refusal(proto: onnx.ModelProto, **options: Any) -> str:
    """What loading the model is refused with."""
    with pytest.raises(UnsupportedError) as failure:
        Session(proto.SerializeToString(), **options)
    return str(failure.value)


def test_every_missing_operator_is_listed_with_domain_version_and_count() -> None:
    proto = model(
        [
            node("Det", "x", "a"),
            node("Relu", "x", "b"),
            node("Det", "x", "c"),
            node("Mystery", "a b", "d", domain="com.example"),
            node("NoSuchOp", "c d", "e"),
            node("Stray", "e", "y", domain="not.imported"),
        ],
        {"x": [2, 2]},
        "y",
        domains={"com.example": 3},
    )
    assert refusal(proto) == (
        "the model needs operators that the engine does not have: ai.onnx.Det version 11 (2 nodes); "
        "ai.onnx.NoSuchOp version 17 (1 node); com.example.Mystery version 3 (1 node); "
        "not.imported.Stray version unknown (domain not imported) (1 node)"
    )


def test_operators_that_passes_make_are_none_of_a_file() -> None:
    fused = node("FusedConv", "x w", "y", domain="engine")
    proto = model([fused], {"x": [1, 1, 4, 4], "w": [1, 1, 1, 1]}, "y", domains={"engine": 1})
    assert refusal(proto).endswith("does not have: engine.FusedConv version 1 (1 node)")


@pytest.mark.parametrize("op", sorted(unsupported_operators.CONTROL_FLOW))
def test_loops_are_refused_by_name(op: str) -> None:
    body = branch([], "x")
    proto = model([node(op, "x", "y", body=body, name="steps")], {"x": [2]}, "y")
    version = {"Loop": 16, "Scan": 16}[op]
    assert refusal(proto) == (
        "the model needs operators that the engine does not have: "
        f"ai.onnx.{op} version {version} (1 node, control flow has no static plan)"
    )


def test_what_no_wanted_output_needs_may_be_missing() -> None:
    proto = model([node("Relu", "x", "y"), node("NoSuchOp", "x", "z")], {"x": [2]}, "y z")
    with Session(proto.SerializeToString()) as session:
        assert [info.name for info in session.outputs] == ["y"]
    assert "NoSuchOp" in refusal(proto, outputs="all")


def test_both_spellings_of_the_default_domain() -> None:
    proto = model([node("Relu", "x", "y", domain="ai.onnx")], {"x": [2]}, "y")
    proto.opset_import[0].domain = "ai.onnx"
    assert [node.domain for node in load_graph(proto).nodes] == [""]


@pytest.mark.parametrize("condition", [True, False])
def test_only_the_branch_that_is_taken_counts(condition: bool) -> None:
    fine, missing = branch([node("Relu", "x", "t")], "t"), branch([node("NoSuchOp", "x", "e")], "e")
    proto = model(
        [node("If", "c", "y", then_branch=fine, else_branch=missing)], {"x": [2]}, "y", {"c": np.array(condition)}
    )
    if condition:
        assert "Relu" in load_graph(proto).histogram()
    else:
        assert "ai.onnx.NoSuchOp version 17 (1 node)" in refusal(proto)


def test_an_if_of_another_domain_is_an_operator() -> None:
    proto = model([node("If", "x", "y", domain="com.example")], {"x": [2]}, "y", domains={"com.example": 1})
    assert "com.example.If version 1 (1 node)" in refusal(proto)


def test_an_operator_older_than_its_introduction_is_missing() -> None:
    # Gelu came with operator set 20
    assert "ai.onnx.Gelu version 17 (1 node)" in refusal(model([node("Gelu", "x", "y")], {"x": [2]}, "y"))


def test_nothing_is_imported() -> None:
    proto = model([helper.make_node("If", ["x"], ["y"])], {"x": [2]}, "y")
    proto.opset_import[0].domain = "com.example"
    assert "ai.onnx.If version unknown (domain not imported)" in refusal(proto)
