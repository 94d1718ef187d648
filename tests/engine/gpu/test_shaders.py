"""The limits that every implementation of WebGPU guarantees, held to the source of every kernel that plans ask for.

Plans of U²-Netp and of the ONNX node tests, without a GPU: what they render is compiled by the tests that run them.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from engine.errors import EngineError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import KERNELS, Lowering
from engine.gpu.lowering.missing_kernels import check
from engine.gpu.plan.limits import Footprint, footprint
from engine.graph.bounds import LARGEST_STEP
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.gpu.plans import PLANS, PlanCase, assert_sound, assert_within_limits, plan_case, u2netp
from tests.engine.models import load_graph, model, node
from tools.node_tests import node_test, runnable_tests


def labels(case: PlanCase) -> dict[str, str]:
    """The source of each program, and the label of a command that runs it."""
    return {case.data.programs[command.program].wgsl: command.label for command in case.data.commands}


def sources_of_node_tests() -> dict[str, str]:
    """The source of each dispatch, and its label, of every node test that loads without values for its inputs."""
    sources: dict[str, str] = {}
    for name in runnable_tests():
        test = node_test(name)
        shapes = {key: array.shape for key, array in test.inputs.items()}
        try:
            graph = load(test.model.SerializeToString(), outputs="all", input_shapes=shapes)
            optimize(graph)
            check(graph)
            Lowering(graph).run()
        except EngineError:  # what the engine refuses has no kernel to check
            continue
        # no grid of a node test is so long that the plan could not fold or cut it
        plan = plan_case(graph, max_compute_workgroups_per_dimension=16)
        assert_sound(plan)
        sources |= labels(plan)
    return sources


def test_every_kernel_keeps_the_limits() -> None:
    sources = sources_of_node_tests()
    for plan in PLANS:
        sources |= labels(u2netp(*plan))
    for source, label in sources.items():
        assert_within_limits(source, label)
    # a lookup that went wrong would otherwise check nothing
    assert len(sources) > 500
    assert len(KERNELS) > 100


def test_a_kernel_beyond_the_limits_would_be_seen() -> None:
    source = "var<workgroup> a: array<vec4<f32>, 1025>;\n@compute @workgroup_size(64)\nfn main() {}"
    with pytest.raises(AssertionError, match="big"):
        assert_within_limits(source, "big")


def test_a_footprint_counts_what_a_workgroup_shares() -> None:
    source = (
        "var<workgroup> a: array<vec4<f32>, 3>;\nvar<workgroup> b: f32;\n@compute @workgroup_size(8, 4)\nfn main() {}"
    )
    assert footprint(source) == Footprint(invocations=32, workgroup_bytes=52)


def test_no_tap_of_the_largest_dilation_comes_back_from_behind_the_last_pixel() -> None:
    """What lies behind the last pixel of a range is in no binding, and the kernel is compiled without checks."""
    weights = {"w": np.zeros((8, 8, 3, 3), np.float32)}
    case = plan_case(load_graph(model([node("Conv", "x w", "y")], {"x": [1, 8, 9, 9]}, "y", weights)))
    sources = "".join(program.wgsl for program in case.data.programs)
    (outside,) = re.findall(r"let row = select\((-\d+), ", sources)
    tallest = 2**31 // (4 * 4)  # rows of a tensor of four channels in float32 that one buffer holds
    assert int(outside) + tallest + LARGEST_STEP < 0
