"""Local functions: put in place, or refused before onnx's inliner overruns the stack or the memory."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from engine import ModelError, Session
from tests.engine.models import branch, model, node


def calling(callees: list[str], times: int = 1, *, reverse: bool = False) -> onnx.ModelProto:
    """Functions F0, F1, …, or the last one first: each applies its callee, another one or Relu, so many times."""
    functions = []
    for number, callee in enumerate(callees):
        names = ["a", *(f"t{step}" for step in range(1, times)), "b"]
        domain = "" if callee == "Relu" else "f"
        nodes = [node(callee, names[step], names[step + 1], domain=domain) for step in range(times)]
        imports = [helper.make_opsetid("f", 1), helper.make_opsetid("", 17)]
        functions.append(helper.make_function("f", f"F{number}", ["a"], ["b"], nodes, imports))
    nodes = [node("F0", "x", "y", domain="f")]
    return model(nodes, {"x": [2]}, "y", domains={"f": 1}, functions=functions[::-1] if reverse else functions)


@pytest.mark.parametrize("reverse", [False, True])
def test_functions_within_functions(reverse: bool) -> None:
    proto = calling([*(f"F{number}" for number in range(1, 60)), "Relu"], reverse=reverse)
    with Session(proto.SerializeToString()) as session:
        np.testing.assert_array_equal(session.run({"x": np.array([-8, 1], np.float32)})["y"], [0, 1])


@pytest.mark.parametrize(
    ("callees", "times", "message"),
    [
        (["F0"], 1, "they call themselves, or each other more than 100 deep"),
        (["F1", "F0"], 1, "they call themselves, or each other"),
        ([*(f"F{number}" for number in range(1, 2000)), "Relu"], 1, "they call themselves, or each other"),
        ([*(f"F{number}" for number in range(1, 40)), "Relu"], 2, "they come to more than 1,000,000 nodes"),
    ],
    ids=["itself", "each other", "too deep", "too many"],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_functions_that_cannot_be_inlined(callees: list[str], times: int, message: str, reverse: bool) -> None:
    proto = calling(callees, times, reverse=reverse)
    with pytest.raises(ModelError, match=f"has functions that cannot be inlined: {message}"):
        Session(proto.SerializeToString())


def test_functions_that_call_each_other_in_a_branch() -> None:
    then = branch([node("A", "x", "t", domain="f")], "t")
    body = [node("Relu", "a", "c"), node("If", "a", "b", then_branch=then, else_branch=then)]
    function = helper.make_function("f", "A", ["a"], ["b"], body, [helper.make_opsetid("f", 1)])
    proto = model([node("A", "x", "y", domain="f")], {"x": [2]}, "y", domains={"f": 1}, functions=[function])
    with pytest.raises(ModelError, match="they call themselves"):
        Session(proto.SerializeToString())
