"""A table goes through what its rows would go through; and what is not the same for each taking of a row stays."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import pytest

from engine.errors import ModelError
from engine.graph.passes import optimize
from engine.graph.passes.fold_gathered import fold_gathered
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import execute, load_graph, model, node

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.standard_normal((3, 4)).astype(np.float32)
SQUARE = TABLE[:, :3]
ROW, COLUMN = (RANDOM.standard_normal(shape).astype(np.float32) for shape in ((4,), (3, 1)))


def gathered(
    *nodes: onnx.NodeProto,
    table: np.ndarray = TABLE,
    axis: int = 0,
    indices: Any = ((2, 0, 1, 1, 0), (0, 0, -1, 2, 1)),
    outputs: str = "y",
    **constants: Any,
) -> onnx.ModelProto:
    """i, which is ``indices`` plus 0 → g, what it takes of ``table`` → the nodes."""
    index = np.array(indices, np.int64)
    given = {"t": table, "n": index, **{name: np.asarray(data, np.float32) for name, data in constants.items()}}
    head = [node("Add", "z n", "i"), node("Gather", "t i", "g", axis=axis)]
    zeros = (np.int64, list(index.shape))
    read = {name for each in (*head, *nodes) for name in each.input}
    return model([*head, *nodes], {"z": zeros}, outputs, {name: data for name, data in given.items() if name in read})


@pytest.fixture(autouse=True)
def zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feed zeros, so that the indices are those of the model."""
    monkeypatch.setattr(
        "tests.engine.graph.passes.check.feeds",
        lambda graph: [np.zeros(value.shape, value.dtype) for value in graph.inputs],
    )


GELU = (
    node("Add", "g r", "a"),
    node("Mul", "a h", "b"),
    node("Mul", "a b", "c"),
    node("Tanh", "c", "d"),
    node("Mul", "a d", "y"),
)


@pytest.mark.parametrize(
    ("proto", "fires"),
    [
        (gathered(*GELU, r=ROW, h=0.5), 5),
        (gathered(node("Sub", "r g", "y"), r=ROW.reshape(1, 1, 4)), 1),
        (gathered(node("Clip", "g l u", "y"), l=-0.5, u=0.25), 1),
        (gathered(node("Clip", "g  u", "y"), u=0.25), 1),
        (gathered(node("PRelu", "g r", "y"), r=ROW), 1),
        (gathered(node("Div", "g r", "y"), axis=1, r=COLUMN.reshape(3, 1, 1)), 1),
        (gathered(node("Mul", "g r", "y"), axis=-1, r=COLUMN, indices=(1, 0, 3, 2, 1)), 1),
        (gathered(node("PRelu", "g g", "y")), 1),
        (gathered(node("Sub", "r g", "y"), table=ROW, r=[1], indices=(3, 0, 1, 2)), 1),
        (gathered(node("Mul", "g r", "y"), table=COLUMN[:1], r=[2], indices=0), 1),
        (gathered(node("Neg", "g", "y"), table=(TABLE * 1e6).astype(np.int64)), 1),
        # read by somebody else, too
        (gathered(node("Exp", "g", "y"), outputs="y g"), 1),
        (gathered(node("Relu", "g", "y"), node("ReduceSum", "g", "s", keepdims=0), outputs="y s"), 1),
        # the same rows of two tables
        (gathered(node("Gather", "r i", "o"), node("Max", "g o", "y"), r=TABLE[::-1]), 1),
    ],
)
def test_the_table_is_computed(proto: onnx.ModelProto, fires: int) -> None:
    graph = rewrite(proto, fold_gathered, fires)
    optimize(graph)
    assert {each.op for each in graph.nodes} <= {"Add", "Gather", "ReduceSum"}


@pytest.mark.parametrize(
    "proto",
    [
        gathered(node("Relu", "g", "y"), indices=(1, 0)),
        gathered(node("Add", "g r", "y"), r=RANDOM.standard_normal((5, 1))),
        gathered(node("Add", "g r", "y"), table=COLUMN, r=ROW),
        gathered(node("Log", "g", "y")),
        gathered(node("Mul", "g g", "y"), table=TABLE * 300),
        gathered(node("Gather", "t n", "o"), node("Add", "g o", "y")),
        gathered(node("Gather", "r i", "o"), node("Add", "g o", "y"), r=TABLE[:1]),
        gathered(
            node("Gather", "r i", "o", axis=1),
            node("Add", "g o", "y"),
            table=TABLE[:, :3],
            r=TABLE[:, :3],
            indices=(0, 2, 1),
        ),
        gathered(node("PRelu", "r g", "y"), table=ROW[:1], r=2, indices=0),
        gathered(node("Softmax", "g", "y")),
    ],
    ids=[
        *("more rows than are taken", "rows differ", "another shape", "not finite", "beyond float16", "other indices"),
        *("fewer rows", "other axis", "slope larger than x", "no"),
    ],
)
def test_what_differs_stays(proto: onnx.ModelProto) -> None:
    assert fold_gathered(load_graph(proto)) == 0


@pytest.mark.parametrize(("largest", "fires"), [(TABLE.nbytes, 1), (TABLE.nbytes - 1, 0)])
def test_a_large_table_stays(monkeypatch: pytest.MonkeyPatch, largest: int, fires: int) -> None:
    monkeypatch.setattr(sys.modules[fold_gathered.__module__], "LARGEST_TABLE", largest)
    assert fold_gathered(load_graph(gathered(node("Relu", "g", "y")))) == fires


def test_a_float16_table_is_rounded_after_each_operator() -> None:
    half = TABLE.astype(np.float16)
    proto = gathered(node("Exp", "g", "e"), node("Sin", "e", "y"), table=half)
    rewrite(proto, fold_gathered, 2)


def test_an_index_out_of_range_is_an_error_of_the_gather_in_the_model() -> None:
    graph = load_graph(gathered(node("Relu", "g", "y"), indices=(0, 1, 3)))
    assert fold_gathered(graph) == 1
    with pytest.raises(ModelError, match=r"^Gather 'g': .* index 3 is out of bounds"):
        execute(graph, [np.zeros(3, np.int64)])
