"""LayerNormalizations that the products behind them compute, on emulated matrix units."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.convolution import matrix
from engine.gpu.lowering.lowering import Lowering
from engine.tuning.cases import cases_of
from tests.engine.gpu.normalized import BY_FRAGMENT, WEIGHTS_IN_WORKGROUP, exact, on_units
from tests.engine.gpu.plans import EMULATED, ROOM, ROOMY, SIZES, assert_bindings_are_right, plan_case
from tests.engine.models import load_graph, model, node

CHANNELS = 128


@pytest.fixture(autouse=True)
def _any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have layers be normalised by their products however small they are."""
    monkeypatch.setattr(matrix, "LONG_ROW", 0)
    monkeypatch.setattr(matrix, "MANY_ELEMENTS", 0)


def network(random: np.random.Generator, rows: int, outputs: int, **attributes: Any) -> onnx.ModelProto:
    """A residual x + 0, normalised, times weights, with a bias; scales and offsets of every size."""
    weights = {
        "g": (random.standard_normal(CHANNELS) * np.exp2(random.integers(-8, 4, CHANNELS))).astype(np.float32),
        "b": random.standard_normal(CHANNELS).astype(np.float32),
        "w": (random.standard_normal((CHANNELS, outputs)) / 16).astype(np.float32),
        "c": random.standard_normal(outputs).astype(np.float32),
    }
    nodes = [
        node("Add", "x r", "z"),
        node("LayerNormalization", "z g b", "n", **attributes),
        node("MatMul", "n w", "p"),
        node("Add", "p c", "s"),
        node("Neg", "s", "y"),
    ]
    return model(nodes, {"x": [1, rows, CHANNELS], "r": [1]}, "y", weights)


def residuals(random: np.random.Generator, rows: int) -> np.ndarray:
    """Rows of many means and deviations, some channels of which are far from the others, as in a transformer."""
    x = random.standard_normal((1, rows, CHANNELS)) + random.standard_normal((1, rows, 1)) * 3
    x[:, :, 5] += 60
    x[:, :, 77] -= 25
    return (x * np.exp2(random.integers(-6, 7, (1, rows, 1)))).astype(np.float32)


@pytest.mark.parametrize(
    ("tile", "half"), [(WEIGHTS_IN_WORKGROUP, True), (WEIGHTS_IN_WORKGROUP, False), (BY_FRAGMENT, True)]
)
def test_it_is_as_good_as_one_behind_the_other(tile: str, half: bool) -> None:
    random = np.random.default_rng(3)
    proto, x = network(random, 37, 40), residuals(random, 37)
    x = x.astype(np.float16).astype(np.float32) if half else x
    y, kernels = on_units(proto, [x, np.zeros(1, np.float32)], tile, half=half)
    assert kernels.count("conv_matrix") == 1
    assert "row_reduction" not in kernels
    expected = exact(proto, x, 1e-5)
    # measured: 1.5e-4 and 7e-7; one behind the other 2.3e-4 and 2.5e-7
    assert np.abs(y - expected).max() < (5e-4 if half else 2e-6) * np.abs(expected).max()


def test_rows_far_from_zero_and_with_nan() -> None:
    random = np.random.default_rng(4)
    proto, x = network(random, 6, 36, epsilon=1e-3), random.standard_normal((1, 6, CHANNELS)).astype(np.float32)
    x[0, 1] += 1000
    # beyond what an activation that is not normalised may be
    x[0, 2, 9] = 60000
    x[0, 3] = 7
    x[0, 4, 100] = np.nan
    y, _ = on_units(proto, [x, np.zeros(1, np.float32)], WEIGHTS_IN_WORKGROUP, half=False)
    assert np.isnan(y[0, 4]).all()
    expected = exact(proto, x, 1e-3)
    error = np.abs(y - expected).max((0, 2)) / np.nanmax(np.abs(expected))
    np.testing.assert_array_less(np.delete(error, 4), [1e-6, 1e-3, 1e-6, 1e-4, 1e-6])


def small(outputs: str = "y", chain: int = 0, **attributes: Any) -> onnx.ModelProto:
    """A product of a normalised input, with a sum of ``chain`` further inputs behind it."""
    nodes = [node("LayerNormalization", "x g b", "n", **attributes), node("MatMul", "n w", "s0"), node("Neg", "n", "u")]
    nodes += [node("Add", f"s{index} r{index}", f"s{index + 1}") for index in range(chain)]
    nodes = [each for each in nodes if "u" in outputs or each.output[0] != "u"]
    shapes = {f"r{index}": [1, 32, 64] for index in range(chain)}
    normalized = [64] if attributes.get("axis", -1) == -1 else [32, 64]
    weights = {name: np.ones(normalized, np.float32) for name in "gb"} | {"w": np.eye(64, dtype=np.float32)}
    nodes.append(node("Neg", f"s{chain}", "y"))
    return model(nodes, {"x": [1, 32, 64], **shapes}, outputs, weights)


@pytest.mark.parametrize(
    ("proto", "units", "joins"),
    [
        (small(), EMULATED, True),
        (small(chain=4), EMULATED, True),
        (small(chain=5), EMULATED, True),
        (small("y u"), EMULATED, False),
        (small("y n"), EMULATED, False),
        (small(axis=1), EMULATED, False),
        (small(), None, False),
    ],
)
def test_which_are_joined(proto: onnx.ModelProto, units: MatrixUnits | None, joins: bool) -> None:
    plan = plan_case(load_graph(proto), half=True, matrix_units=units, outside=(), **ROOMY)
    assert ("row_reduction" not in plan.kernels) == joins
    assert_bindings_are_right(plan)


def test_a_row_without_matrix_units_leaves_it() -> None:
    lowering = Lowering(
        load_graph(small()), Caps(SIZES, matrix_units=EMULATED), choices={"convolution": "tiled-middle"}
    )
    lowering.run()
    assert [dispatch.kernel for dispatch in lowering.dispatches][:2] == ["row_reduction", "conv"]


def test_the_product_is_a_case_without_it() -> None:
    """A tuner measures it alone."""
    (case,) = (
        case
        for case in cases_of(load_graph(small()), Caps(SIZES | ROOM, matrix_units=EMULATED))
        if case.family == "convolution"
    )
    assert case.row.startswith("matrix-")
    assert [each.op for each in case.graph.nodes] == ["MatMul"]


def test_a_report_says_whose_it_is() -> None:
    lowering = Lowering(load_graph(small(chain=1)), Caps(SIZES | ROOM, matrix_units=EMULATED))
    lowering.run()
    assert {node.op: owner.op for node, owner in lowering.joined.items()} == dict.fromkeys(
        ["LayerNormalization", "Add", "Neg"], "MatMul"
    )
