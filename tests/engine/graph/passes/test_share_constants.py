"""Equal constants are one value, and only equal ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.graph.passes import optimize
from engine.graph.passes.share_constants import SAMPLE, share_constants
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import load_graph, model, node

F32 = np.float32
LONG = np.random.default_rng(0).random(4 * SAMPLE).astype(F32)


def with_another_middle() -> np.ndarray:
    other = LONG.copy()
    other[len(other) // 2] += 1
    return other


def adds(first: Any, second: Any, **options: Any) -> Any:
    return model(
        [node("Add", "x first", "a"), node("Mul", "a second", "y")],
        {"x": [first.size]},
        "y",
        {"first": first, "second": second},
        **options,
    )


@pytest.mark.parametrize(
    ("first", "second", "fires"),
    [
        (LONG, LONG.copy(), 1),
        (LONG, with_another_middle(), 0),
        (LONG[:3], LONG[:3].copy(), 1),
        (LONG[:1], LONG[:1].reshape(()), 0),
        (np.array([0], F32), np.array([-0.0], F32), 0),
        (np.array([np.nan], F32), np.array([np.nan], F32), 1),
    ],
    ids=["equal", "one element differs", "short", "other rank", "signed zero", "NaN"],
)
def test_equal_bytes_of_one_type(first: np.ndarray, second: np.ndarray, fires: int) -> None:
    rewrite(adds(first, second), share_constants, fires)


def test_one_array_is_left() -> None:
    graph = rewrite(adds(LONG, LONG.copy()), share_constants, 1)
    assert [value.name for value in graph.constants()] == ["first"]
    assert graph.nodes[0].input(1) is graph.nodes[1].input(1)


def test_types_of_equal_bytes_stay_apart() -> None:
    proto = model(
        [node("Add", "x f", "y"), node("Add", "n i", "m")],
        {"x": [1], "n": (np.int32, [1])},
        "y m",
        {"f": np.array([0], F32), "i": np.array([0], np.int32)},
    )
    rewrite(proto, share_constants, 0)


def test_constant_outputs_keep_their_names() -> None:
    proto = model(
        [node("Identity", "a", "y"), node("Identity", "b", "z"), node("Add", "x a", "w")],
        {"x": [len(LONG)]},
        "y z w",
        {"a": LONG, "b": LONG.copy()},
    )
    graph = rewrite(proto, share_constants, 0)
    assert [value.name for value in graph.outputs] == ["y", "z", "w"]


def test_a_mask_that_each_block_makes_for_itself() -> None:
    """As exporters write shifted windows: every block unsqueezes the same mask by axes of its own."""
    proto = model(
        [
            node("Unsqueeze", "mask one", "first"),
            node("Add", "x first", "a"),
            node("Unsqueeze", "mask uno", "second"),
            node("Add", "a second", "y"),
        ],
        {"x": [4, 1, SAMPLE]},
        "y",
        {"mask": LONG.reshape(4, SAMPLE), "one": np.array([1]), "uno": np.array([1])},
    )
    graph = load_graph(proto)
    assert len(graph.constants()) == 2
    assert optimize(graph)["share_constants"] == 1
    assert len(graph.constants()) == 1
