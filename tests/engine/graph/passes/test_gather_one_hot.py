"""Gathered rows are those that a one-hot encoding picks, zeros outside of them; and what is no encoding stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.graph.passes.gather_one_hot import gather_one_hot
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import execute, interpret, load_graph, model, node

ROWS = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def product(
    x: Any = (np.int32, [2, 4, 1]),
    matrix: np.ndarray = ROWS,
    numbers: np.ndarray | None = None,
    *,
    numbers_first: bool = False,
    model_outputs: str = "y",
) -> onnx.ModelProto:
    """x → Equal to 0, 1, ... → Cast → MatMul with ``matrix`` → y."""
    numbers = np.arange(5).reshape(1, 1, 5) if numbers is None else numbers
    nodes = [
        node("Equal", "n x" if numbers_first else "x n", "e"),
        node("Cast", "e", "hot", to=TensorProto.FLOAT),
        node("MatMul", "hot m", "y"),
    ]
    return model(nodes, {"x": x}, model_outputs, {"n": numbers.astype(x[0]), "m": matrix})


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("numbers_first", [False, True])
def test_rows_are_gathered(dtype: Any, numbers_first: bool) -> None:
    proto = product((dtype, [2, 4, 1]), numbers_first=numbers_first)
    graph = rewrite(proto, gather_one_hot, 1)
    assert graph.nodes[-1].op == "Gather"
    limits = np.iinfo(dtype)
    x = np.array([0, 4, 3, 1, -1, 5, limits.min, limits.max], dtype).reshape(2, 4, 1)
    (expected,) = interpret(load_graph(proto), [x])
    for results in (interpret(graph, [x]), execute(graph, [x])):
        np.testing.assert_array_equal(results[0], expected)
    assert not expected[1].any()


@pytest.mark.parametrize(
    "proto",
    [
        product((np.float32, [2, 4, 1])),
        product(numbers=np.array([0, 1, 2, 4, 3])),
        product((np.int32, [2, 4, 5])),
        product(matrix=np.full((5, 3), np.inf, np.float32)),
        product(model_outputs="y hot"),
        product(numbers=np.arange(5).reshape(5, 1), x=(np.int32, [2, 1, 5])),
    ],
    ids=["floats", "another order", "no encoding", "infinities", "second reader", "another axis"],
)
def test_other_products_stay(proto: onnx.ModelProto) -> None:
    assert gather_one_hot(load_graph(proto)) == 0
