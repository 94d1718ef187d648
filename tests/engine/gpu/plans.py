"""Plans of U²-Netp without a GPU, and the limits that the source of a kernel keeps."""

from __future__ import annotations

import re
from functools import cache

from engine.caps import PORTABLE_LIMITS
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.plan.limits import footprint
from engine.gpu.plan.plan import Plan, make_plan
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.models import U2NETP

MIB = 1 << 20

SIZES = {"max-buffer-size": 256 * MIB, "max-storage-buffer-binding-size": 128 * MIB}
"""The sizes that every implementation of WebGPU guarantees, in bytes."""


@cache
def u2netp(binding: int = 128 * MIB, half: bool = False) -> Plan:
    """The plan of U²-Netp at 320²."""
    graph = load(U2NETP)
    optimize(graph)
    lowering = Lowering(graph, half=half, binding_limit=binding)
    inputs, outputs = lowering.run()
    return make_plan(lowering.dispatches, inputs, outputs, {**SIZES, "max-storage-buffer-binding-size": binding})


PLANS = [(128 * MIB, False), (MIB, False), (128 * MIB, True)]
"""Largest binding in bytes, and whether in half precision: arguments of ``u2netp``."""

OPTIONAL = ("subgroups", "chromium_experimental_subgroup_matrix", "wgpu_cooperative_matrix")


def assert_within_limits(source: str, label: str) -> None:
    """Storage buffers, workgroup memory and invocations of one kernel, and no optional feature but f16."""
    usage = footprint(source)
    assert len(re.findall(r"var<storage", source)) <= PORTABLE_LIMITS["max-storage-buffers-per-shader-stage"], label
    assert 1 <= usage.invocations <= PORTABLE_LIMITS["max-compute-invocations-per-workgroup"], label
    assert usage.workgroup_bytes <= PORTABLE_LIMITS["max-compute-workgroup-storage-size"], label
    for feature in OPTIONAL:
        assert f"enable {feature}" not in source, label
