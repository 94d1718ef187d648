"""Convolutions on matrix units: which layers go there, what their kernel takes, and that it computes.

No software adapter has matrix units: THE KERNEL IS RUN ON EMULATED ONES, plain WGSL in their place, and what true ones
compute is for tools/birefnet_check.py to say.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from engine.caps import MatrixUnits
from engine.gpu.kernels.convolution import tiled
from engine.gpu.kernels.convolution.table import CONVOLUTION
from engine.gpu.plan.limits import footprint
from engine.gpu.program.template import render
from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.plans import EMULATED, PlanCase, plan_case
from tests.engine.models import interpret, load_graph, model, node

ROOMY = 32768
"""Bytes of workgroup memory of adapters with matrix units."""

UNITS = replace(EMULATED, spelling="dawn")


@pytest.fixture(autouse=True)
def _no_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the rows that take windows of several taps before these do."""
    rows = tuple(row for row in CONVOLUTION.rows if not row.name.startswith("patch-"))
    monkeypatch.setattr(CONVOLUTION, "rows", rows)


def plan_of(
    channels: int, outputs: int, *, size: int = 32, half: bool = True, units: MatrixUnits | None = UNITS
) -> PlanCase:
    """The plan of a 3x3 convolution with its activation."""
    weights = {"w": np.ones((outputs, channels, 3, 3), np.float32)}
    nodes = [node("Conv", "x w", "c", pads=[1] * 4), node("Relu", "c", "y")]
    graph = load_graph(model(nodes, {"x": [1, channels, size, size]}, "y", weights))
    # what lies within a network is stored as float16, what the host gives and takes is not
    return plan_case(graph, half=half, matrix_units=units, outside=(), max_compute_workgroup_storage_size=ROOMY)


@pytest.mark.parametrize(
    ("channels", "outputs", "half", "units", "expected"),
    [
        (64, 64, True, UNITS, True),
        (64, 200, True, UNITS, True),
        (64, 32, True, UNITS, False),
        (3, 64, True, UNITS, False),
        (64, 64, False, UNITS, False),
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
        *(["shader-f16"] if half else []),
        *(["subgroups", "chromium-experimental-subgroup-matrix"] if expected else []),
    }


@pytest.mark.parametrize("outputs", [64, 128])
@pytest.mark.parametrize("size", [8, 256])
def test_what_the_kernel_takes(outputs: int, size: int) -> None:
    """The workgroup memory that there is, 256 invocations at most, both tiles loaded whole; small layers split."""
    plan = plan_of(64, outputs, size=size)
    (conv, *rest) = (dispatch for dispatch in plan.dispatches if dispatch.kernel.startswith("conv"))
    (source,) = (program.wgsl for program in plan.data.programs if program.kernel == "conv_matrix")
    params = conv.params
    needs = footprint(source)
    assert 0 < needs.workgroup_bytes <= ROOMY
    threads = needs.invocations
    assert threads <= 256
    loads = len(re.findall(r"a_next\d+ = vec4<f16>\(load_x", source)), len(re.findall(r"b_next\d+ = w\[", source))
    assert loads[0] * threads * 4 == params["bm"] * params["bk"]
    assert loads[1] * threads * 4 == params["bn"] * params["bk"]
    assert source.index("enable f16;") < source.index("enable subgroups;")
    assert [dispatch.kernel for dispatch in rest] == (["conv_sum"] if size == 8 else [])


def test_software_adapters_have_none() -> None:
    gpu = device()
    if not gpu.adapter.software:
        pytest.skip(f"{gpu.adapter} is no software adapter: WHAT ITS MATRIX UNITS DO IS FOR tools/birefnet_check.py")
    assert gpu.caps.matrix_units is None


def integers(random: np.random.Generator, *shape: int) -> np.ndarray:
    """float32 of a few bits: products and their sums are exact in any order, and float16 holds the factors."""
    return (random.integers(-8, 9, shape) / 8).astype(np.float32)


@pytest.mark.parametrize(
    ("units", "outputs", "parts"),
    [(EMULATED, 100, 1), (EMULATED, 132, 2), (replace(EMULATED, n=8, k=8), 36, 1)],
)
def test_it_computes(monkeypatch: pytest.MonkeyPatch, units: MatrixUnits, outputs: int, parts: int) -> None:
    """Bit by bit what the reference gives, rounded to float16; tiles hang over pixels, channels and groups."""
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: CONVOLUTIONS ON MATRIX UNITS ARE NOT RUN")
    random = np.random.default_rng(outputs)
    weights = {"w": integers(random, 2 * outputs, 20, 3, 3), "b": integers(random, 2 * outputs)}
    attributes = {"group": 2, "pads": [1, 2, 0, 1], "dilations": [1, 2], "strides": [2, 1]}
    nodes = [node("Neg", "x", "z"), node("Conv", "z w b", "c", **attributes), node("Relu", "c", "r")]
    proto = model([*nodes, node("Neg", "r", "y")], {"x": [2, 40, 9, 11]}, "y", weights)
    inputs = [integers(random, 2, 40, 9, 11)]
    (expected,) = interpret(load_graph(proto), inputs)
    monkeypatch.setattr(tiled, "splits_for", lambda *_: parts)
    (y,), kernels = run(load_graph(proto), inputs, half=True, matrix_units=units)
    assert kernels.count("conv_matrix") == 1
    np.testing.assert_array_equal(y, expected.astype(np.float16).astype(np.float32))


def test_the_words_of_wgpu() -> None:
    """Its adapters refuse matrix units as yet: what naga's WGSL is written in is held here, and NOT RUN."""
    source = render("matrix_probe", matrix={"lanes": 32, "m": 16, "n": 8, "k": 4, "spelling": "wgpu"}, result="f32")
    assert "enable wgpu_cooperative_matrix;" in source
    assert "let left = coopLoadT<coop_mat4x16<f16, A>>(&a[0], u32(4));" in source
    assert "let right = coopLoadT<coop_mat8x4<f16, B>>(&b[0], u32(8));" in source
    assert "var sums: coop_mat8x16<f32, C>;" in source
    assert "coopStoreT(sums, &c[0], u32(8));" in source
