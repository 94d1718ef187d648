"""Moments of rows that a product writes for the LayerNormalization behind it, on emulated matrix units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.convolution import row_moments
from engine.gpu.kernels.convolution.matrix_tiles import MATRIX_TILES
from tests.engine.gpu.normalized import BY_FRAGMENT, WEIGHTS_IN_WORKGROUP, exact, on_units
from tests.engine.gpu.plans import EMULATED, ROOMY, UNITS, PlanCase, assert_sound, plan_case
from tests.engine.models import load_graph, model, node

EPSILON = 1e-3

TWO_SHARES = "matrix-64x64x32-32x32-weights"
TWELVE_FOURS = "matrix-64x96x64-32x48-weights"
"""Twelve invocations have a row of a subgroup's sums, so that a share is 16 channels, of four."""


@pytest.fixture(autouse=True)
def _any_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have rows have moments however short they are."""
    monkeypatch.setattr(row_moments, "LEAST_CHANNELS", 0)


def network(rows: int, channels: int, outputs: int) -> onnx.ModelProto:
    """A residual x + r by way of a product, normalised, times weights; a product reads no input, which is float32."""
    random = np.random.default_rng(channels)
    weights = {
        "eye": -np.eye(channels, dtype=np.float32),
        "g": (random.standard_normal(channels) * np.exp2(random.integers(-4, 4, channels))).astype(np.float32),
        "b": random.standard_normal(channels).astype(np.float32),
        "w": (random.standard_normal((channels, outputs)) / 16).astype(np.float32),
    }
    nodes = [
        node("Neg", "x", "h"),
        node("MatMul", "h eye", "p"),
        node("Add", "p r", "z"),
        node("LayerNormalization", "z g b", "n", epsilon=EPSILON),
        node("MatMul", "n w", "s"),
        node("Neg", "s", "y"),
    ]
    return model(nodes, {"x": [1, rows, channels], "r": [1, rows, channels]}, "y", weights)


@pytest.mark.parametrize(
    ("tile", "channels", "half"),
    [
        (WEIGHTS_IN_WORKGROUP, 128, True),
        (WEIGHTS_IN_WORKGROUP, 128, False),
        # more shares than are loaded at a time
        (WEIGHTS_IN_WORKGROUP, 256, True),
        pytest.param(TWELVE_FOURS, 192, True, marks=pytest.mark.long(reason="its kernel takes seconds to compile")),
        pytest.param(BY_FRAGMENT, 160, False, marks=pytest.mark.long(reason="its kernel takes 20 s to compile")),
    ],
)
def test_rows_of_every_mean_and_deviation(tile: str, channels: int, half: bool) -> None:
    random = np.random.default_rng(5)
    proto = network(67, channels, 48)
    x, r = (random.standard_normal((1, 67, channels)).astype(np.float32) for _ in range(2))
    x *= np.exp2(random.integers(-4, 5, (1, 67, 1))).astype(np.float32)
    # parts of x may be exact, so that only what is added is rounded when it is stored
    x = x.astype(np.float16).astype(np.float32)
    r[0, 1] += 1000
    r[0, 2, 9] = 30000
    x[0, 3], r[0, 3] = 0, 7
    r[0, 4, 100] = np.nan
    r[0, 65, 3] = 70000
    y, kernels = on_units(proto, [x, r], tile, half=half)
    assert kernels == ["elementwise", "conv_matrix", "conv_matrix"]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = exact(proto, (x + r).astype(np.float16 if half else np.float32), EPSILON)
    # what float16 does not hold; float32 in split operands is then computed again
    lost = [4, 65]
    assert np.isnan(y[0, lost]).all()
    error = np.abs(y - expected).max((0, 2)) / np.nanmax(np.abs(expected))
    # measured: 3.6e-4 and 6.4e-7
    bound = np.full(67, 5e-4 if half else 2e-6)
    # a mean a thousand times the deviation leaves what float32 has of it; of a row of one number nothing is left
    # measured: 2.1e-4 and 1.6e-4, 1.9e-5 and 8.9e-5
    bound[[1, 3]] = (8e-4, 8e-5) if half else (6e-4, 3e-4)
    np.testing.assert_array_less(np.delete(error, lost), np.delete(bound, lost))


@pytest.mark.parametrize(
    "half", [True, pytest.param(False, marks=pytest.mark.long(reason="its kernel takes 5 s to compile"))]
)
def test_ranges_of_rows(half: bool) -> None:
    """Ranges that begin within a block of rows, whose moments lie side by side, and shares of 64 and 32 channels."""
    random = np.random.default_rng(6)
    proto, rows = network(440, 96, 64), 440
    x, r = (random.standard_normal((1, rows, 96)).astype(np.float16).astype(np.float32) for _ in range(2))
    r[..., 64:] += 3
    y, kernels = on_units(proto, [x, r], TWO_SHARES, half=half, max_storage_buffer_binding_size=66000)
    assert kernels.count("conv_matrix") > 4
    expected = exact(proto, x + r, EPSILON)
    assert np.abs(y - expected).max() < (1e-3 if half else 2e-6) * np.abs(expected).max()


def plan_of(
    behind: str,
    *,
    channels: int = 128,
    leaves: int = 0,
    before: int = 0,
    units: MatrixUnits | None = EMULATED,
    half: bool = True,
) -> PlanCase:
    """A plan, in float16 or in split operands, of a product, of which ``before`` inputs are the residual, normalised.

    ``behind`` says what reads the normalised rows: "product", with a chain of ``leaves`` inputs behind it, "products"
    two of them, and "sum" none.
    """
    nodes = [node("MatMul", "x eye", "z0")]
    nodes += [node("Add", f"z{index} q{index}", f"z{index + 1}") for index in range(before)]
    nodes += [node("Neg", f"z{before}", "z"), node("LayerNormalization", "z g", "n")]
    products = {"product": ["s0"], "products": ["s0", "t"], "sum": []}[behind]
    nodes += [node("MatMul", "n w", product) for product in products]
    nodes += [node("Add", f"s{index} r{index}", f"s{index + 1}") for index in range(leaves)]
    last = {"product": f"s{leaves}", "products": "s0 t", "sum": "n z"}[behind]
    nodes.append(node("Add", last, "y") if " " in last else node("Neg", last, "y"))
    shapes = {f"q{index}": [1, 32, channels] for index in range(before)} | {f"r{i}": [1, 32, 64] for i in range(leaves)}
    weights = {"eye": np.eye(64, channels), "g": np.ones(channels), "w": np.ones((channels, 64))}
    proto = model(
        nodes, {"x": [1, 32, 64], **shapes}, "y", {name: each.astype(np.float32) for name, each in weights.items()}
    )
    plan = plan_case(load_graph(proto), half=half, matrix_units=units, outside=(), **ROOMY)
    assert_sound(plan)
    return plan


@pytest.mark.parametrize(
    ("behind", "other", "written", "read"),
    [
        ("product", {}, 1, 1),
        ("product", {"leaves": 3}, 1, 1),
        ("product", {"leaves": 4}, 1, 0),
        ("product", {"before": 4}, 1, 1),
        ("product", {"before": 5}, 0, 0),
        ("product", {"channels": 112}, 0, 0),
        ("products", {}, 0, 0),
        ("sum", {}, 0, 0),
        ("product", {"units": None}, 0, 0),
    ],
)
def test_who_writes_and_reads_them(behind: str, other: dict[str, Any], written: int, read: int) -> None:
    plan = plan_of(behind, **other)
    names = [operand.name for dispatch in plan.dispatches for operand in dispatch.operands]
    assert (names.count("y_moments"), names.count("x_moments")) == (written, read)
    # what has none at hand, or another reader, has a kernel of its own: so short a row does not pay else
    assert plan.kernels.count("row_reduction") == 1 - read


def test_a_product_that_has_no_binding_for_them_writes_none() -> None:
    plan = plan_of("product", before=4, half=False)
    names = [operand.name for dispatch in plan.dispatches for operand in dispatch.operands]
    assert not {"y_moments", "x_moments"} & set(names)
    # long or short, split operands have the statistics taken while they are loaded
    assert "row_reduction" not in plan.kernels


@pytest.mark.parametrize("lanes", [4, 8, 16, 32, 64])
def test_no_exchange_crosses_a_subgroup(lanes: int) -> None:
    units = replace(UNITS, lanes=lanes, m=8)
    caps = Caps({"max-compute-workgroup-storage-size": 1 << 20}, matrix_units=units)
    found = [tile.moment_lanes(caps, split=half, normalized=True) for tile in MATRIX_TILES for half in (True, False)]
    assert max(found) <= lanes
    assert any(found)


def test_one_residual_for_two_normalisations() -> None:
    nodes = [
        node("MatMul", "x eye", "p"),
        node("Add", "p r", "z"),
        *(node("LayerNormalization", "z g", f"n{index}") for index in range(2)),
        *(node("MatMul", f"n{index} eye", f"s{index}") for index in range(2)),
        node("Concat", "s0 s1", "y", axis=2),
    ]
    weights = {"eye": np.eye(64, dtype=np.float32), "g": np.ones(64, np.float32)}
    graph = load_graph(model(nodes, {"x": [1, 40, 64], "r": [1, 40, 64]}, "y", weights))
    plan = plan_case(graph, half=True, matrix_units=EMULATED, outside=(), **ROOMY)
    names = [operand.name for dispatch in plan.dispatches for operand in dispatch.operands]
    assert (names.count("y_moments"), names.count("x_moments")) == (1, 2)
    assert_sound(plan)
