"""Elements that float16 holds exactly, moved in float16 storage: nothing may change them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.engine.gpu.gpu import run, test_adapter
from tests.engine.models import interpret, load_graph, model, node

MOVED = {
    "Pad": (node("Pad", "x pads", "y", mode="reflect"), {"pads": [1, 2, 1, 2]}),
    "Pad constant": (node("Pad", "x pads", "y"), {"pads": [1, 2, 1, 2]}),
    "Gather": (node("Gather", "x rows", "y"), {"rows": [3, 0, 0, -1] * 9}),
    "Tile": (node("Tile", "x twice", "y"), {"twice": [1, 2]}),
    "Trilu": (node("Trilu", "x", "y"), {}),
    "ScatterND": (
        node("ScatterND", "x places rows", "y"),
        {"places": [[1], [4]], "rows": np.ones((2, 40), np.float32)},
    ),
    "ScatterND add": (
        node("ScatterND", "x places rows", "y", reduction="add"),
        {"places": [[1], [1]], "rows": np.ones((2, 40), np.float32)},
    ),
    "TopK": (node("TopK", "x k", "y i"), {"k": [35]}),
    "ArgMax": (node("ArgMax", "x", "y", axis=1), {}),
    "Hardmax": (node("Hardmax", "x", "y", axis=0), {}),
    "CumSum": (node("CumSum", "x axis", "y"), {"axis": 0}),
    "Concat": (node("Concat", "x x few", "y", axis=0), {"few": np.ones((2, 40), np.float32)}),
}


@pytest.mark.parametrize("case", MOVED)
def test_in_half_storage(case: str) -> None:
    adapter = test_adapter()
    if adapter is not None and not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    operator, constants = MOVED[case]
    tensors: dict[str, Any] = {name: np.array(value) for name, value in constants.items()}
    proto = model([operator], {"x": [30, 40]}, operator.output[0], constants=tensors, opset=18)
    x = np.random.default_rng(0).integers(-30, 30, (30, 40)).astype(np.float32)
    (expected,) = interpret(load_graph(proto), [x])
    (result,), _ = run(load_graph(proto), [x], half=True)
    np.testing.assert_array_equal(result, expected)
