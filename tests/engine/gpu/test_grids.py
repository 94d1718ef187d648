"""Every kernel on pictures that need more workgroups than a grid has: folded or cut, within every limit, and right."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import NodeProto

import shaders
from engine.caps import PORTABLE_LIMITS
from engine.errors import TooLargeError
from engine.gpu.program.dispatch import fold_grid
from engine.graph import bounds
from engine.graph.ir import Graph
from engine.ops.window_attention import WindowGrid
from tests.engine.attention import attention, between_others
from tests.engine.deform_integers import deform_graph
from tests.engine.gpu.gpu import compare, device, executor_of
from tests.engine.gpu.plans import EMULATED, PER_DIMENSION, PlanCase, assert_rows_are_covered, plan_case
from tests.engine.models import Spec, feeds, interpret, load_graph, model, node

GUARANTEED = PORTABLE_LIMITS[PER_DIMENSION]

ROOMY = {
    "max_buffer_size": 1 << 36,
    "max_storage_buffer_binding_size": 1 << 32,
    "max_compute_workgroup_storage_size": 1 << 15,
}
"""What a large card has, so that nothing but grids and indices sets a bound."""


def graph_of(
    nodes: NodeProto | list[NodeProto], inputs: dict[str, Spec], constants: dict[str, Any] | None = None
) -> Graph:
    """The graph of nodes of which the last one makes ``y``."""
    nodes = nodes if isinstance(nodes, list) else [nodes]
    return load_graph(model(nodes, inputs, "y", constants=constants, opset=18))


def weights(*shape: int) -> dict[str, np.ndarray]:
    """The constant ``w``, scaled so that sums over its inputs are of the size of these."""
    scale = np.sqrt(prod(shape[1:]))
    return {"w": (np.random.default_rng(0).standard_normal(shape) / scale).astype(np.float32)}


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES: dict[str, Callable[[int], Graph]] = {
    "conv 1x1": lambda n: graph_of(node("Conv", "x w", "y"), {"x": [1, 3, n, n]}, weights(1, 3, 1, 1)),
    "conv 3x3": lambda n: graph_of(
        node("Conv", "x w", "y", pads=[1, 1, 1, 1]), {"x": [1, 1, n, n]}, weights(1, 1, 3, 3)
    ),
    "conv in fours": lambda n: graph_of(node("Conv", "x w", "y"), {"x": [1, 4, n, n]}, weights(40, 4, 1, 1)),
    "conv in parts": lambda n: graph_of(
        node("Conv", "x w", "y", pads=[1, 1, 1, 1]), {"x": [1, 31, n, n]}, weights(64, 31, 3, 3)
    ),
    "conv of few outputs": lambda n: graph_of(
        node("Conv", "x w", "y", pads=[1, 1, 1, 1]), {"x": [1, 16, n, n]}, weights(2, 16, 3, 3)
    ),
    "conv by transformed tiles": lambda n: graph_of(
        node("Conv", "x w", "y", pads=[1, 1, 1, 1]), {"x": [1, 16, n, n - 1]}, weights(128, 16, 3, 3)
    ),
    "depthwise conv": lambda n: graph_of(node("Conv", "x w", "y", group=4), {"x": [1, 4, n, n]}, weights(4, 1, 3, 3)),
    "conv transpose": lambda n: graph_of(
        node("ConvTranspose", "x w", "y", strides=[2, 2]), {"x": [1, 4, n // 2, n // 2]}, weights(4, 2, 2, 2)
    ),
    "deform conv": lambda n: load_graph(
        model(
            [node("DeformConv", "x w o", "y")],
            {"x": [1, 2, n, n], "o": [1, 8, n - 1, n - 1]},
            "y",
            constants=weights(16, 2, 2, 2),
            opset=19,
        )
    ),
    "matrix product": lambda n: graph_of(node("MatMul", "a b", "y"), {"a": [n * n, 8], "b": [8, 40]}),
    "linear": lambda n: graph_of(node("MatMul", "a w", "y"), {"a": [n * n, 16]}, weights(16, 40)),
    "exponential": lambda n: graph_of(node("Exp", "x", "y"), {"x": [1, 3, n, n]}),
    "transpose": lambda n: graph_of(
        [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("Add", "x t", "y")], {"x": [1, 3, n, n]}
    ),
    "concat": lambda n: graph_of(node("Concat", "x z", "y", axis=1), {"x": [1, 3, n, n], "z": [1, 2, n, n]}),
    "tile": lambda n: graph_of(node("Tile", "x r", "y"), {"x": [1, 3, n, n // 2]}, {"r": ints(1, 1, 1, 2)}),
    "pad": lambda n: graph_of(
        node("Pad", "x p", "y", mode="reflect"), {"x": [1, 3, n, n]}, {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    ),
    "gather": lambda n: graph_of(
        node("GatherElements", "x i", "y", axis=2), {"x": [1, 3, n, n], "i": (np.int64, [1, 3, n, n])}
    ),
    "scatter": lambda n: graph_of(
        node("ScatterElements", "x i u", "y", axis=2),
        {"x": [1, 3, n, n], "i": (np.int64, [1, 3, n, n]), "u": [1, 3, n, n]},
    ),
    "scatter add": lambda n: graph_of(
        node("ScatterElements", "x i u", "y", axis=2, reduction="add"),
        {"x": [1, 3, n, n], "i": (np.int64, [1, 3, n, n]), "u": [1, 3, n, n]},
    ),
    "max pool": lambda n: graph_of(node("MaxPool", "x", "y", kernel_shape=[3, 3]), {"x": [1, 3, n, n]}),
    "average pool": lambda n: graph_of(node("AveragePool", "x", "y", kernel_shape=[2, 2]), {"x": [1, 3, n, n]}),
    "max unpool": lambda n: graph_of(
        [
            node("MaxPool", "x", "p i", kernel_shape=[2, 2], strides=[2, 2]),
            node("MaxUnpool", "p i", "y", kernel_shape=[2, 2], strides=[2, 2]),
        ],
        {"x": [1, 3, n, n]},
    ),
    "resize": lambda n: graph_of(
        node("Resize", "x - s", "y", mode="linear"),
        {"x": [1, 3, n // 2, n // 2]},
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "softmax": lambda n: graph_of(node("Softmax", "x", "y", axis=1), {"x": [1, 3, n, n]}),
    "mean of channels": lambda n: graph_of(node("ReduceMean", "x a", "y"), {"x": [1, 3, n, n]}, {"a": ints(1)}),
    "largest of all": lambda n: graph_of(node("ReduceMax", "x", "y"), {"x": [1, 3, n, n]}),
    "largest channel": lambda n: graph_of(node("ArgMax", "x", "y", axis=1), {"x": [1, 3, n, n]}),
    "top k": lambda n: graph_of(node("TopK", "x k", "y i", axis=1), {"x": [1, 3, n, n]}, {"k": ints(2)}),
    "running sum": lambda n: graph_of(node("CumSum", "x a", "y"), {"x": [1, 3, n, n]}, {"a": np.array(1)}),
    "dynamic quantization": lambda n: graph_of(node("DynamicQuantizeLinear", "x", "y s z"), {"x": [1, 3, n, n]}),
    "col2im": lambda n: graph_of(
        node("Col2Im", "x image block", "y"), {"x": [1, 12, (n - 1) ** 2]}, {"image": ints(n, n), "block": ints(2, 2)}
    ),
    "grid sample": lambda n: graph_of(node("GridSample", "x g", "y"), {"x": [1, 3, n, n], "g": [1, n, n, 2]}),
    "roi align": lambda n: graph_of(
        node("RoiAlign", "x r b", "y", output_height=n // 4, output_width=n // 4, sampling_ratio=1),
        {"x": [1, 3, n, n], "r": [8, 4]},
        {"b": np.zeros(8, np.int64)},
    ),
    "window attention": lambda n: attention(WindowGrid(n, n, 4, 2), size=4),
    "window attention in tiles": lambda n: attention(WindowGrid(n, n, 8, 4), size=4),
    "deform conv of integers": lambda n: deform_graph(channels=4, kernel=(1, 1), extent=(n, n)),
}

ONE_WORKGROUP = {"dynamic quantization", "largest of all"}
"""What a small picture needs few workgroups for, whatever the limit."""


@pytest.mark.parametrize("case", CASES)
def test_a_grid_that_is_too_long_is_folded_or_cut(case: str) -> None:
    most = 16 if case == "conv by transformed tiles" else 3  # which has one along z for each pixel of a tile
    graph = CASES[case](40)
    inputs = feeds(graph)
    expected = interpret(graph, inputs)
    executor = executor_of(graph, limits={PER_DIMENSION: most})
    try:
        results = executor.run(inputs)
        assert max(max(command.grid) for command in executor.plan.commands) <= most
    finally:
        executor.close()
    plan = plan_of(graph, max_compute_workgroups_per_dimension=most)
    assert_rows_are_covered(plan)
    changed = any(len(commands) > 1 or commands[0].grid[1] > 1 for _, commands in plan.by_dispatch())
    assert changed or case in ONE_WORKGROUP
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-5)


def half_conv(n: int, kernel: int) -> Graph:
    """A convolution between others: in half precision inputs and outputs of a graph are float32."""
    pads = [kernel // 2] * 4
    nodes = [node("Neg", "x", "z"), node("Conv", "z w", "c", pads=pads), node("Neg", "c", "y")]
    return graph_of(nodes, {"x": [1, 64, n, n]}, weights(64, 64, kernel, kernel))


ON_MATRIX_UNITS: dict[str, tuple[Callable[[int], Graph], bool, str]] = {
    "conv_matrix": (lambda n: half_conv(n, 1), True, ""),
    "conv_patch": (lambda n: half_conv(n, 3), True, ""),
    "window_attention_matrix": (
        lambda n: between_others(attention(WindowGrid(n, n, 4, 2), heads=1, size=16)),
        True,
        "",
    ),
    "winograd_product_matrix": (CASES["conv by transformed tiles"], False, "winograd-4x4-split"),
}
"""For each kernel on matrix units a case, whether it is in half precision, and the row of convolutions it takes."""


@pytest.mark.parametrize("kernel", ON_MATRIX_UNITS)
def test_a_grid_on_matrix_units_is_folded_or_cut(kernel: str) -> None:
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: MATRIX UNITS ARE NOT EMULATED")
    case, half, row = ON_MATRIX_UNITS[kernel]
    most = 36 if row else 5
    graph, choices = case(20), {"convolution": row} if row else {}
    inputs = [array.astype(np.float16).astype(np.float32) for array in feeds(graph)]
    (expected,) = interpret(graph, inputs)
    limits = {PER_DIMENSION: most}
    executor = executor_of(graph, half=half, limits=limits, choices=choices, matrix_units=EMULATED)
    try:
        (result,) = executor.run(inputs)
        grids = [
            command.grid
            for command in executor.plan.commands
            if executor.plan.programs[command.program].kernel == kernel
        ]
    finally:
        executor.close()
    assert grids
    assert max(max(grid) for grid in grids) <= most
    if not row:  # winograd's rows are of tiles, of which few are left
        assert len(grids) > 1 or grids[0][1] > 1
    tolerance = 4e-3 if half else 2e-5
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("side", [2048, 4096])
@pytest.mark.parametrize("kernel", ON_MATRIX_UNITS)
def test_large_pictures_on_matrix_units_are_planned_within_the_limits(kernel: str, side: int) -> None:
    case, half, row = ON_MATRIX_UNITS[kernel]
    choices = {"convolution": row} if row else {}
    limits = ROOMY | {"max_compute_workgroups_per_dimension": 1000}
    plan = plan_case(case(side), half=half, matrix_units=EMULATED, choices=choices, **limits)
    assert_rows_are_covered(plan)
    own = [commands for dispatch, commands in plan.by_dispatch() if dispatch.kernel == kernel]
    assert own
    assert all(len(commands) > 1 or commands[0].grid[1] > 1 for commands in own)


def test_no_kernel_is_without_a_case() -> None:
    kernel_names = {kernel for case in CASES for kernel in plan_of(CASES[case](40)).kernels}
    assert shaders.__file__ is not None
    every = {file.stem for file in Path(shaders.__file__).parent.glob("*.wgsl")}
    assert every - kernel_names == ON_MATRIX_UNITS.keys() | {"matrix_probe", "subgroup_probe"}


def plan_of(graph: Graph, **limits: int) -> PlanCase:
    return plan_case(graph, outside=(), **(ROOMY | limits))


@pytest.mark.parametrize("side", [2048, 4096])
@pytest.mark.parametrize("case", CASES)
def test_large_pictures_are_planned_within_the_limits(case: str, side: int) -> None:
    assert_rows_are_covered(plan_of(CASES[case](side)))


OF_ONE_SIZE = {"deform_columns", "col2im"}
"""Kernels whose shapes are constants of their sources."""


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"largest of all"}))
def test_pictures_of_another_size_run_the_same_programs(case: str) -> None:
    # but for "largest of all", whose rows are short enough for their length to be a constant
    small, large = (
        {program for program in plan_of(CASES[case](side)).data.programs if program.kernel not in OF_ONE_SIZE}
        for side in (2048, 4096)
    )
    assert small == large


@pytest.mark.parametrize("case", ["conv 1x1", "conv 3x3"])
def test_a_convolution_of_65536_workgroups_runs(case: str) -> None:
    if device().adapter.software:
        pytest.skip(f"{device().adapter} takes 10 s for it: THE TRUE LIMIT IS NOT TESTED, but lower ones are")
    graph = CASES[case](2048)
    inputs = feeds(graph)
    (expected,) = interpret(graph, inputs)
    executor = executor_of(graph, limits={PER_DIMENSION: GUARANTEED})
    try:
        (y,) = executor.run(inputs)
        assert sum(command.grid[0] for command in executor.plan.commands) >= 65536
    finally:
        executor.close()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def refused(graph: Graph, text: str, **limits: int) -> None:
    with pytest.raises(TooLargeError, match=text):
        plan_of(graph, **limits)


def test_a_row_that_is_too_long_is_refused_by_name() -> None:
    text = r"CumSum 'wide' \(kernel cumulative\) needs 2 x 4 x 1 workgroups for one row; the adapter allows 2 along a"
    graph = graph_of(node("CumSum", "x a", "y", name="wide"), {"x": [5, 3, 40, 50]}, {"a": np.array(1)})
    refused(graph, text, max_compute_workgroups_per_dimension=2)
    # the copy that makes an output dense belongs to no node
    graph = graph_of(node("Transpose", "x", "y"), {"x": [500, 3]})
    refused(graph, r"^'x:copy' \(kernel elementwise\) needs", max_compute_workgroups_per_dimension=1)


@pytest.mark.parametrize(("outputs", "channels", "groups"), [(64 * 65535 + 1, 5, 1), (8 * 65536, 4 * 65536, 65536)])
def test_more_channels_or_groups_than_a_grid_has_take_one_invocation_each(
    outputs: int, channels: int, groups: int
) -> None:
    zeros = {"w": np.broadcast_to(np.float32(0), (outputs, channels // groups, 1, 1))}
    plan = plan_of(graph_of(node("Conv", "x w", "y", group=groups), {"x": [1, channels, 1, 1]}, zeros))
    assert set(plan.kernels) == {"conv_direct"}
    assert_rows_are_covered(plan)


def test_more_columns_than_a_grid_has_are_those_of_the_products_kernel() -> None:
    zeros = {"w": np.broadcast_to(np.float32(0), (16, 64 * 65535 + 16))}
    plan = plan_of(graph_of(node("MatMul", "x w", "y"), {"x": [16, 16]}, zeros))
    assert set(plan.kernels) == {"matmul"}
    assert_rows_are_covered(plan)


def test_indices_beyond_32_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "machine_memory", lambda: 1 << 50)
    refused(
        graph_of(node("Exp", "x", "y", name="long"), {"x": [1, 3, 1 << 15, 1 << 15]}),
        r"Exp 'long' .* needs 'x' of 3,221,225,472 elements; the adapter allows 2,147,418,112 of a tensor. Use",
    )
    # a view takes no memory, and its elements are counted all the same
    wide = [node("Expand", "x shape", "w"), node("ReduceSum", "w", "y", keepdims=0)]
    refused(graph_of(wide, {"x": [1]}, {"shape": ints(1 << 40)}), "of 1,099,511,627,776 elements")


def test_invocations_beyond_32_bits_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "machine_memory", lambda: 1 << 50)
    plan = plan_of(graph_of(node("Exp", "x", "y"), {"x": [46339, 46339]}), max_storage_buffer_binding_size=1 << 35)
    assert len(plan.data.commands) == 2
    assert_rows_are_covered(plan)


def test_a_number_that_no_kernel_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LARGEST_STEP", 1 << 40)
    far = node("MaxPool", "x", "y", kernel_shape=[2], dilations=[3 << 30], pads=[2 << 30, 2 << 30])
    refused(graph_of(far, {"x": [1, 1, 8]}), "needs the number 3,221,225,472; the adapter allows 2,147,483,647")


@pytest.mark.parametrize(
    ("limit", "least", "text"),
    [
        ("max_storage_buffers_per_shader_stage", 2, "needs 3 storage buffers; the adapter allows 2"),
        ("max_uniform_buffer_binding_size", 16, "bytes of parameters; the adapter allows 16"),
        ("max_compute_invocations_per_workgroup", 32, "needs 64 invocations of a workgroup; the adapter allows 32"),
        ("max_compute_workgroup_size_x", 32, "needs 64 invocations of a workgroup along x; the adapter allows 32"),
        ("max_compute_workgroup_storage_size", 256, "bytes of workgroup memory; the adapter allows 256"),
        ("max_buffer_size", 1000, "takes 1024 bytes; the adapter's largest buffer has 1000"),
        ("max_storage_buffer_binding_size", 1000, "needs a binding of 1024 bytes; the adapter allows 1000"),
    ],
)
def test_every_other_limit_is_held(limit: str, least: int, text: str) -> None:
    graph = graph_of(node("MatMul", "a b", "y"), {"a": [16, 16], "b": [16, 16]})
    refused(graph, text, **{limit: least})


def test_what_the_host_reads_at_once_is_held_to_the_largest_buffer() -> None:
    graph = load_graph(model([node("Exp", "x", "y"), node("Abs", "x", "z")], {"x": [1000]}, "y z"))
    refused(graph, "its outputs take 8000 bytes together; the adapter's largest buffer has 5000", max_buffer_size=5000)


def test_parameters_of_more_than_256_bytes_keep_apart() -> None:
    # every batch axis has four parameters of its own, since none lies in the next
    rank = 13
    order = [*range(rank - 1, -1, -1), rank, rank + 1]
    nodes = [node("Transpose", "x", "t", perm=order), node("MatMul", "t z", "p"), node("Softmax", "p", "y")]
    shape = [2] * rank
    compare(model(nodes, {"x": [*shape, 3, 2], "z": [*shape, 2, 3]}, "y"), rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 1000))
def test_folding_wastes_less_than_a_line(workgroups: int, most: int) -> None:
    x, y, z = fold_grid(workgroups, most)
    assert max(1, workgroups) <= x * y < max(1, workgroups) + y
    assert (x <= most, z) == (True, 1)
