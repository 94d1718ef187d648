"""Convolutions on matrix units: which layers go there, what their kernel takes, and that it computes.

No software adapter has matrix units: THE KERNEL IS RUN ON EMULATED ONES, plain WGSL in their place, and what true ones
compute is for tools/birefnet_check.py to say.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import onnx
import pytest

from engine.caps import MatrixUnits
from engine.gpu.kernels.convolution import matrix
from engine.gpu.kernels.convolution.matrix import MatrixTile
from engine.gpu.kernels.convolution.matrix_tiles import MATRIX_TILES
from engine.gpu.kernels.convolution.table import CONVOLUTION
from engine.gpu.plan.limits import footprint
from engine.gpu.program.template import render
from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.layers import integers
from tests.engine.gpu.plans import EMULATED, ROOM, ROOMY, UNITS, PlanCase, plan_case
from tests.engine.models import interpret, load_graph, model, node


@pytest.fixture(autouse=True)
def _no_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the rows that take windows of several taps before these do."""
    rows = tuple(row for row in CONVOLUTION.rows if not row.name.startswith("patch-"))
    monkeypatch.setattr(CONVOLUTION, "rows", rows)


def plan_of(
    channels: int, outputs: int, *, size: int = 32, half: bool = True, units: MatrixUnits | None = UNITS
) -> PlanCase:
    """The plan of a 1x1 convolution with its activation."""
    weights = {"w": np.ones((outputs, channels, 1, 1), np.float32)}
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "y")]
    graph = load_graph(model(nodes, {"x": [1, channels, size, size]}, "y", weights))
    # what lies within a network is stored as float16, what the host gives and takes is not
    return plan_case(graph, half=half, matrix_units=units, outside=(), **ROOMY)


@pytest.mark.parametrize(
    ("channels", "outputs", "half", "units", "expected"),
    [
        (64, 64, True, UNITS, True),
        (64, 200, True, UNITS, True),
        (64, 32, True, UNITS, True),
        (64, 16, True, UNITS, False),
        (3, 64, True, UNITS, False),
        (64, 64, False, UNITS, True),
        (64, 64, True, None, False),
        (64, 64, True, replace(UNITS, m=24), False),
        (64, 64, True, replace(UNITS, lanes=128), False),
    ],
)
def test_which_layers(channels: int, outputs: int, half: bool, units: MatrixUnits | None, expected: bool) -> None:
    plan = plan_of(channels, outputs, half=half, units=units)
    assert ("conv_matrix" in plan.kernels) == expected
    needs = plan.data.needs
    assert needs.subgroup_lanes == (32 if expected else 0)
    assert set(needs.features) == {
        *(["shader-f16"] if half or expected else []),
        *(["subgroups", "chromium-experimental-subgroup-matrix"] if expected else []),
    }


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("size", [8, 256])
def test_what_the_kernel_takes(size: int, half: bool) -> None:
    """The workgroup memory that there is, 256 invocations at most, both tiles loaded whole, no sums in parts."""
    plan = plan_of(64, 128, size=size, half=half)
    (conv,) = (dispatch for dispatch in plan.dispatches if dispatch.kernel.startswith("conv"))
    (source,) = (program.wgsl for program in plan.data.programs if program.kernel == "conv_matrix")
    needs = footprint(source)
    assert 0 < needs.workgroup_bytes <= ROOM["max-compute-workgroup-storage-size"]
    assert needs.invocations <= 256
    eights = len(re.findall(r"memory\[at\] = ", source)), len(re.findall(r"next_high\d+ = w\[", source))
    assert eights[0] * needs.invocations * 8 == conv.params["bm"] * conv.params["bk"]
    # once before the first step, and in each of them
    weights = 2 * conv.params["bn"] * conv.params["bk"] if conv.params["weights_in_workgroup"] else 0
    assert eights[1] * needs.invocations * 8 == weights
    assert source.index("enable f16;") < source.index("enable subgroups;")


def test_software_adapters_have_none() -> None:
    gpu = device()
    if not gpu.adapter.software:
        pytest.skip(f"{gpu.adapter} is no software adapter: WHAT ITS MATRIX UNITS DO IS FOR tools/birefnet_check.py")
    assert gpu.caps.matrix_units is None


TILES = {tile.name: tile for tile in MATRIX_TILES}
SHARED = TILES["matrix-32x32x64-32x32-4-weights"]
SQUARE = TILES["matrix-64x64x32-32x32-weights"]
BY_FRAGMENT = TILES["matrix-64x128x64-64x32"]


@pytest.mark.parametrize(
    ("tile", "units", "outputs"),
    [
        (SQUARE, EMULATED, 100),
        (SHARED, replace(EMULATED, n=8, k=8), 36),
    ],
)
@pytest.mark.parametrize("half", [True, False])
def test_it_computes(tile: MatrixTile, units: MatrixUnits, outputs: int, half: bool) -> None:
    """Bit by bit what the reference gives, rounded to float16; tiles hang over pixels, channels and groups."""
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: CONVOLUTIONS ON MATRIX UNITS ARE NOT RUN")
    random = np.random.default_rng(outputs)
    weights = {"w": integers(random, 2 * outputs, 20, 3, 3), "b": integers(random, 2 * outputs)}
    attributes = {"group": 2, "pads": [1, 2, 0, 1], "dilations": [1, 2], "strides": [2, 1]}
    nodes = [node("Neg", "x", "z"), node("Conv", "z w b", "c", **attributes), node("Relu", "c", "r")]
    proto = model([*nodes, node("Neg", "r", "y")], {"x": [2, 40, 9, 11]}, "y", weights)
    check(proto, [integers(random, 2, 40, 9, 11)], tile, units, half=half)


@pytest.mark.parametrize(("tile", "half"), [(BY_FRAGMENT, True), (SHARED, False)])
def test_a_product_loads_rows_as_they_are(tile: MatrixTile, half: bool) -> None:
    random = np.random.default_rng(0)
    nodes = [node("Neg", "x", "z"), node("MatMul", "z w", "p"), node("Add", "p b", "s"), node("Neg", "s", "y")]
    weights = {"w": integers(random, 128, 72), "b": integers(random, 72)}
    check(model(nodes, {"x": [3, 37, 128]}, "y", weights), [integers(random, 3, 37, 128)], tile, EMULATED, half=half)


def check(
    proto: onnx.ModelProto, inputs: list[np.ndarray], tile: MatrixTile, units: MatrixUnits, *, half: bool
) -> None:
    """Assert that ``tile`` computes the one product of the model, exactly."""
    (expected,) = interpret(load_graph(proto), inputs)
    (y,), kernels = run(
        load_graph(proto), inputs, half=half, matrix_units=units, choices={"convolution": tile.name}, limits=ROOM
    )
    assert kernels.count("conv_matrix") == 1
    np.testing.assert_array_equal(y, expected.astype(np.float16).astype(np.float32) if half else expected)


@pytest.mark.parametrize("longest_sum", [matrix.LONGEST_SUM, 32])
def test_split_operands(monkeypatch: pytest.MonkeyPatch, longest_sum: int) -> None:
    """Numbers of 24 bits come out as sums of f32 would; one beyond what the high part holds becomes NaN."""
    monkeypatch.setattr(matrix, "LONGEST_SUM", longest_sum)
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: CONVOLUTIONS ON MATRIX UNITS ARE NOT RUN")
    random = np.random.default_rng(5)
    weights = {"w": (random.standard_normal((64, 40)) * np.exp2(random.integers(-9, 9, 40))).astype(np.float32)}
    x = random.standard_normal((70, 64)).astype(np.float32)
    x[3, 5] = 8200
    graph = load_graph(model([node("MatMul", "x w", "y")], {"x": [70, 64]}, "y", weights))
    (y,), kernels = run(graph, [x], matrix_units=EMULATED, choices={"convolution": SQUARE.name}, limits=ROOM)
    assert "conv_matrix" in kernels
    expected = x.astype(np.float64) @ weights["w"]
    assert np.isnan(y[3]).all()
    error = np.abs(np.delete(y - expected, 3, 0)).max(0) / np.abs(np.delete(expected, 3, 0)).max(0)
    assert error.max() < 2e-6


def test_the_words_of_wgpu() -> None:
    """Its adapters refuse matrix units as yet: what naga's WGSL is written in is held here, and NOT RUN."""
    source = render("matrix_probe", matrix={"lanes": 32, "m": 16, "n": 8, "k": 8, "spelling": "wgpu"}, result="f32")
    assert "enable wgpu_cooperative_matrix;" in source
    assert "let left = coopLoadT<coop_mat8x16<f16, A>>(&a[0], u32(8));" in source
    assert "let right = coopLoadT<coop_mat8x8<f16, B>>(&b[0], u32(8));" in source
    assert "var sums: coop_mat8x16<f32, C>;" in source
    assert "let right_words = coopLoad<coop_mat8x8<f16, B>>(&memory[16], u32(1));" in source
    assert "coopStoreT(sums, &memory[24], u32(2));" in source
