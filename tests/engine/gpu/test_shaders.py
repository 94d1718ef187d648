"""The limits that every implementation of WebGPU guarantees, held to the source of every kernel that plans ask for.

Plans of U²-Netp and of the ONNX node tests, without a GPU: what they render is compiled by the tests that run them.
"""

from __future__ import annotations

import re
from math import prod

import pytest

from engine.errors import EngineError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.adapters import BASELINE
from engine.gpu.coverage import check
from engine.gpu.lowering import KERNELS, Lowering
from engine.gpu.plan import make_plan
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.conformance import implemented, node_test
from tests.engine.gpu.test_plan import BASELINE as SIZES
from tests.engine.gpu.test_plan import PLANS, u2netp

ITEM_BYTES = {"f32": 4, "i32": 4, "u32": 4, "f16": 2, "vec4<f32>": 16, "vec4<i32>": 16, "vec4<u32>": 16, "vec2<f32>": 8}

OPTIONAL = ("subgroups", "chromium_experimental_subgroup_matrix", "wgpu_cooperative_matrix")


def sources_of_node_tests() -> dict[str, str]:
    """The source of each dispatch, and its label, of every node test that loads without values for its inputs."""
    found: dict[str, str] = {}
    for name in implemented():
        test = node_test(name)
        shapes = {key: array.shape for key, array in test.inputs.items()}
        try:
            graph = load(test.model.SerializeToString(), outputs="all", input_shapes=shapes)
            optimize(graph)
            check(graph)
            lowering = Lowering(graph)
            inputs, outputs = lowering.run()
        except EngineError:  # what the engine refuses has no kernel to check
            continue
        for command in make_plan(lowering.dispatches, inputs, outputs, SIZES).commands:
            found.setdefault(command.source, command.dispatch.label)
    return found


def assert_within_limits(source: str, label: str) -> None:
    """Storage buffers, workgroup memory and invocations of one kernel, and no optional feature but f16."""
    assert len(re.findall(r"var<storage", source)) <= BASELINE["max-storage-buffers-per-shader-stage"], label
    sizes = re.findall(r"@workgroup_size\(([\d, ]+)\)", source)
    assert len(sizes) == 1, label
    invocations = prod(int(size) for size in sizes[0].split(","))
    assert 1 <= invocations <= BASELINE["max-compute-invocations-per-workgroup"], label
    shared = 0
    for declared in re.findall(r"var<workgroup> \w+: ([^;]+);", source):
        array = re.fullmatch(r"array<(?:atomic<)?([\w<>]+?)>?, (\d+)>", declared)
        kind, count = (array[1], int(array[2])) if array else (declared, 1)
        kind = kind if kind.count("<") == kind.count(">") else f"{kind}>"
        shared += ITEM_BYTES[kind] * count
    assert shared <= BASELINE["max-compute-workgroup-storage-size"], label
    for feature in OPTIONAL:
        assert f"enable {feature}" not in source, label


def test_every_kernel_keeps_the_limits() -> None:
    sources = sources_of_node_tests()
    for plan in PLANS:
        sources |= {command.source: command.dispatch.label for command in u2netp(*plan).commands}
    for source, label in sources.items():
        assert_within_limits(source, label)
    # a lookup that went wrong would otherwise check nothing
    assert len(sources) > 500
    assert len(KERNELS) > 100


def test_a_kernel_beyond_the_limits_would_be_seen() -> None:
    source = "var<workgroup> a: array<vec4<f32>, 1025>;\n@compute @workgroup_size(64)\nfn main() {}"
    with pytest.raises(AssertionError, match="big"):
        assert_within_limits(source, "big")
