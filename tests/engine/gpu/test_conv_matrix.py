"""Which layers go to matrix units, and what their kernel takes; that it computes is for tools/birefnet_check.py to say.

No software adapter has matrix units: THE KERNEL ITSELF IS NOT RUN HERE.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from engine.gpu.device.probe import KERNEL_BYTES
from engine.gpu.plan.limits import footprint
from tests.engine.gpu.gpu import device
from tests.engine.gpu.plans import PlanCase, plan_case
from tests.engine.models import load_graph, model, node

ROOMY = 32768
"""Bytes of workgroup memory of adapters with matrix units."""


def plan_of(channels: int, outputs: int, *, size: int = 32, half: bool = True, lanes: int = 32) -> PlanCase:
    """The plan of a 3x3 convolution with its activation."""
    weights = {"w": np.ones((outputs, channels, 3, 3), np.float32)}
    nodes = [node("Conv", "x w", "c", pads=[1] * 4), node("Relu", "c", "y")]
    graph = load_graph(model(nodes, {"x": [1, channels, size, size]}, "y", weights))
    # what lies within a network is stored as float16, what the host gives and takes is not
    return plan_case(graph, half=half, lanes=lanes, outside=(), max_compute_workgroup_storage_size=ROOMY)


@pytest.mark.parametrize(
    ("channels", "outputs", "half", "lanes", "expected"),
    [
        (64, 64, True, 32, True),
        (64, 200, True, 32, True),
        (64, 32, True, 32, False),
        (3, 64, True, 32, False),
        (64, 64, False, 32, False),
        (64, 64, True, 0, False),
    ],
)
def test_which_layers(channels: int, outputs: int, half: bool, lanes: int, expected: bool) -> None:
    plan = plan_of(channels, outputs, half=half, lanes=lanes)
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
    """Workgroup memory as probed for, 256 invocations at most, both tiles loaded whole; small layers split."""
    plan = plan_of(64, outputs, size=size)
    (conv, *rest) = (dispatch for dispatch in plan.dispatches if dispatch.kernel.startswith("conv"))
    (source,) = (program.wgsl for program in plan.data.programs if program.kernel == "conv_matrix")
    params = conv.params
    needs = footprint(source)
    assert 0 < needs.workgroup_bytes <= KERNEL_BYTES
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
    assert gpu.caps.matrix_lanes == 0
