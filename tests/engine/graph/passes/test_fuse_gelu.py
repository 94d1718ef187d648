"""The fused Gelu equals the five nodes that exporters write, in each order; and what differs from them stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.passes.fuse_gelu import fuse_gelu
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
"""Measured: 2e-7."""

DIVISION = node("Div", "x root", "s")
HALF_LAST = (node("Mul", "x plus", "product"), node("Mul", "product half", "y"))
HALF_FIRST = (node("Mul", "x half", "h"), node("Mul", "h plus", "y"))


def expansion(
    scaling: onnx.NodeProto = DIVISION,
    products: Sequence[onnx.NodeProto] = HALF_LAST,
    *,
    plus: onnx.NodeProto | None = None,
    model_outputs: str = "y",
    extra: Sequence[onnx.NodeProto] = (),
    inputs: dict[str, list[int]] | None = None,
    **constants: Any,
) -> onnx.ModelProto:
    """x → ... → y; further names give constants."""
    values = {"root": 2**0.5, "inverse": 0.5**0.5, "one": 1, "half": 0.5, **constants}
    arrays = {name: np.asarray(value, np.float32) for name, value in values.items() if name not in (inputs or {})}
    nodes = [scaling, node("Erf", "s", "e"), plus or node("Add", "e one", "plus"), *products, *extra]
    return model(nodes, {"x": [3, 40], **(inputs or {})}, model_outputs, arrays, opset=14)


@pytest.mark.parametrize(
    "proto",
    [
        expansion(),
        expansion(products=HALF_FIRST),
        expansion(products=[node("Mul", "plus half", "h"), node("Mul", "h x", "y")]),
        expansion(products=[node("Mul", "half plus", "h"), node("Mul", "x h", "y")]),
        expansion(products=[node("Mul", "plus x", "product"), node("Mul", "half product", "y")]),
        expansion(products=[node("Mul", "half x", "h"), node("Mul", "plus h", "y")]),
        expansion(node("Mul", "x inverse", "s")),
        expansion(node("Mul", "inverse x", "s"), HALF_FIRST),
        expansion(plus=node("Add", "one e", "plus")),
        expansion(half=[0.5], one=[[1]]),
        expansion(extra=[node("Relu", "x", "z")], model_outputs="z y"),
    ],
)
def test_fuses(proto: onnx.ModelProto) -> None:
    graph = rewrite(proto, fuse_gelu, 1, **TOLERANCE)
    (gelu,) = (node for node in graph.nodes if node.op != "Relu")
    assert (gelu.op, gelu.attributes, gelu.version) == ("Gelu", {}, 20)


def test_constants_of_a_float16_file() -> None:
    # the file's root of two is 1e-4 off; measured in the result: 3e-5
    rewrite(expansion(root=np.float16(2**0.5)), fuse_gelu, 1, rtol=0, atol=6e-5)
    rewrite(expansion(node("Mul", "x inverse", "s"), inverse=np.float16(0.5**0.5)), fuse_gelu, 1, rtol=0, atol=6e-5)


@pytest.mark.parametrize("name", ["s", "e", "plus", "product"])
@pytest.mark.parametrize("as_output", [True, False])
def test_does_not_fuse_where_a_step_is_needed(name: str, as_output: bool) -> None:
    extra = [] if as_output else [node("Relu", name, "z")]
    rewrite(expansion(extra=extra, model_outputs=f"y {name if as_output else 'z'}"), fuse_gelu, 0)


@pytest.mark.parametrize(
    "proto",
    [
        expansion(root=1.41),
        expansion(one=1.01),
        expansion(half=0.51),
        expansion(products=HALF_FIRST, half=0.51),
        expansion(products=HALF_FIRST, extra=[node("Relu", "h", "z")], model_outputs="y z"),
        expansion(node("Div", "root x", "s")),
        expansion(node("Mul", "x x", "s")),
        expansion(products=[node("Mul", "o plus", "product"), node("Mul", "product half", "y")], inputs={"o": [3, 40]}),
        expansion(products=[node("Mul", "o half", "h"), node("Mul", "h plus", "y")], inputs={"o": [3, 40]}),
        expansion(products=[node("Mul", "plus half", "h"), node("Mul", "h o", "y")], inputs={"o": [3, 40]}),
        expansion(products=[node("Mul", "x plus", "product"), node("Mul", "product product", "y")]),
        expansion(products=[node("Mul", "x plus", "y")]),
        expansion(plus=node("Sub", "e one", "plus")),
        expansion(inputs={"half": []}),
        expansion(half=[[[0.5]]]),
        expansion(root=[[[2**0.5]]]),
    ],
    ids=[
        "root", "one", "half", "half first", "half read", "turned over", "no constant", "another x", "another half x",
        "x in the end", "squared", "no half", "less one", "half at run time", "half adds an axis", "root adds an axis",
    ],
)  # fmt: skip
def test_does_not_fuse(proto: onnx.ModelProto) -> None:
    rewrite(proto, fuse_gelu, 0)
