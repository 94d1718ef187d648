"""WindowAttention on the GPU against the reference: grids, heads, storage, and projections in several bindings."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from engine.caps import Caps, MatrixUnits
from engine.errors import UnsupportedError
from engine.gpu.kernels.attention import matrix, tiled
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.plan.limits import footprint
from engine.graph.ir import Graph, Node, TensorType, Value
from engine.ops import infer
from engine.ops.window_attention import WindowGrid
from tests.engine.attention import attention, between_others
from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.plans import EMULATED, ON_UNITS, plan_case
from tests.engine.models import feeds, interpret
from tests.engine.window_grids import GRIDS

CLOSE = 5e-6
"""Measured: 6.5e-7 on lavapipe."""


KERNELS = {"portable": "window_attention", "tiled": "window_attention_tiled", "matrix": "window_attention_matrix"}
"""The kernel of each row of the table."""

ROWS = [("portable", 4), ("tiled", 8)]
"""A row that computes in float32, and the channels of a head that it is tested with."""


def compare(
    graph: Graph,
    *,
    row: str = "portable",
    tolerance: float = CLOSE,
    half: bool = False,
    limits: dict[str, int] | None = None,
    matrix_units: MatrixUnits | None = None,
) -> None:
    """Assert that a row of the table gives the reference's output."""
    inputs = feeds(graph)
    if half:  # what float16 holds exactly, so that the error is that of the bias and the result
        inputs = [array.astype(np.float16).astype(np.float32) for array in inputs]
    (expected,) = interpret(graph, inputs)
    choices = {"window-attention": row}
    (y,), kernels = run(graph, inputs, half=half, limits=limits, choices=choices, matrix_units=matrix_units)
    assert kernels.count(KERNELS[row]) == 1
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(y, expected, tolerance, tolerance)


SMALLER_THAN_A_WINDOW = [WindowGrid(2, 3, 4, 0), WindowGrid(1, 1, 2, 1)]


@pytest.mark.parametrize("grid", [*GRIDS, *SMALLER_THAN_A_WINDOW, WindowGrid(10, 15, 7, 3)], ids=str)
@pytest.mark.parametrize("mask_value", [-100.0, -np.inf])
def test_grids(grid: WindowGrid, mask_value: float) -> None:
    compare(attention(grid, size=4, mask_value=mask_value))


@pytest.mark.parametrize("grid", [WindowGrid(1, 1, 2, 1), WindowGrid(7, 8, 3, 1), WindowGrid(10, 15, 7, 3)], ids=str)
@pytest.mark.parametrize("mask_value", [-100.0, -np.inf])
def test_grids_in_tiles(grid: WindowGrid, mask_value: float) -> None:
    """Windows with places beyond the last key and query of a tile, padding, and rolls."""
    compare(attention(grid, size=8, mask_value=mask_value), row="tiled")


@pytest.mark.parametrize(
    ("window", "size", "compact", "kernel"),
    [
        (12, 32, False, "window_attention_tiled"),
        (8, 64, False, "window_attention_tiled"),
        (12, 32, True, "window_attention"),
        (12, 24, False, "window_attention"),
        (13, 32, False, "window_attention"),
        (7, 32, False, "window_attention"),
    ],
)
def test_which_layers_are_computed_in_tiles(window: int, size: int, compact: bool, kernel: str) -> None:
    """Not where few programs are called for, and not heads and windows that they do not fit, or leave idle."""
    graph = attention(WindowGrid(window, window, window, 0), size=size)
    lowering = Lowering(graph, Caps(compact=compact), outside=())
    lowering.run()
    assert [dispatch.kernel for dispatch in lowering.dispatches] == [kernel]


@pytest.mark.parametrize(("window", "size"), [(12, 32), (8, 64), (12, 64), (10, 16)])
def test_tiles_have_the_room_that_they_take(monkeypatch: pytest.MonkeyPatch, window: int, size: int) -> None:
    counted = bytes_counted(monkeypatch, tiled.Geometry)
    plan = plan_case(attention(WindowGrid(window, window, window, 0), size=size), outside=())
    assert plan.kernels == ["window_attention_tiled"]
    (program,) = plan.data.programs
    # the last geometry that was looked at is the first one that fits
    assert footprint(program.wgsl).workgroup_bytes == counted[-1]


@pytest.mark.parametrize(("window", "size"), [(12, 32), (7, 32), (8, 64), (5, 128)])
def test_matrix_units_have_the_room_that_they_take(monkeypatch: pytest.MonkeyPatch, window: int, size: int) -> None:
    counted = bytes_counted(monkeypatch, matrix.Geometry)
    graph = between_others(attention(WindowGrid(window, window, window, 1), size=size))
    plan = plan_case(graph, **ON_UNITS, choices={"window-attention": "matrix"})
    (program,) = (each for each in plan.data.programs if each.kernel == "window_attention_matrix")
    # one of those that fit, whichever loads the fewest rows
    assert footprint(program.wgsl).workgroup_bytes in counted


@pytest.mark.parametrize(("queries", "size"), [(16, 128), (64, 16), (128, 32)])
@pytest.mark.parametrize(("keys", "columns"), [(32, 32), (144, 48)])
def test_what_matrix_units_have_at_a_time_does_not_overlap(queries: int, keys: int, columns: int, size: int) -> None:
    layout = matrix.Geometry(queries, 1, keys, columns).memory(size)
    regions = {
        "keys": (0, keys, layout.row, size // 8),
        "queries": (layout.queries_at, queries, layout.row, size // 8),
        "weights": (0, queries, layout.weights_row, keys // 8),
        "values": (layout.values_at, keys, layout.row, size // 8),
        "sums": (layout.sums_at, queries, layout.sums_row, max(size, columns) // 4),
    }
    for step in (("keys", "queries", "values", "sums"), ("weights", "values", "sums")):
        end = 0
        for begin, rows, row, items in (regions[name] for name in step):
            assert begin >= end
            assert row >= items
            assert row % 2, "rows begin in different banks"
            end = begin + rows * row
        assert end <= layout.items


def bytes_counted(monkeypatch: pytest.MonkeyPatch, geometry: type[Any]) -> list[int]:
    """What ``workgroup_bytes`` of a geometry gives from now on."""
    counted: list[int] = []
    count = geometry.workgroup_bytes

    def noted(*arguments: Any) -> int:
        counted.append(count(*arguments))
        return counted[-1]

    monkeypatch.setattr(geometry, "workgroup_bytes", noted)
    return counted


def test_a_bias_of_the_run_is_not_computed_in_tiles() -> None:
    graph = attention(WindowGrid(12, 12, 12, 0), size=32)
    constant = graph.nodes[0].input(1)
    bias = Value("bias", constant.type)
    graph.nodes[0].inputs[1] = bias
    graph.inputs.append(bias)
    inputs = feeds(graph)
    (expected,) = interpret(graph, inputs)
    (y,), kernels = run(graph, inputs)
    assert "window_attention_tiled" not in kernels
    np.testing.assert_allclose(y, expected, CLOSE, CLOSE)


@pytest.mark.parametrize("size", [4, 32, 64])
@pytest.mark.parametrize("window", [5, 12])
def test_heads(size: int, window: int) -> None:
    compare(attention(WindowGrid(window + 3, 2 * window, window, window // 2), heads=2, size=size))


@pytest.mark.parametrize(("size", "window"), [(32, 12), (64, 5), (16, 10)])
def test_heads_in_tiles(size: int, window: int) -> None:
    """Several workgroups a head, the last with queries beyond the window; sums in several parts, and in one."""
    compare(attention(WindowGrid(window + 3, window, window, window // 2), heads=1, size=size), row="tiled")


def test_so_many_windows_that_an_invocation_takes_two_queries() -> None:
    # 16 x 17 windows of four heads, each of 9 places: the last invocation has one query
    compare(attention(WindowGrid(47, 50, 3, 1), heads=4, size=4))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize(("row", "size"), ROWS)
def test_batches(batch: tuple[int, ...], row: str, size: int) -> None:
    compare(attention(WindowGrid(7, 8, 3, 1), size=size, batch=batch), row=row)


@pytest.mark.parametrize(
    ("grid", "row"),
    [
        (WindowGrid(12, 12, 4, 2), "portable"),
        (WindowGrid(7, 14, 7, 3), "portable"),
        (WindowGrid(15, 13, 7, 0), "portable"),
        (WindowGrid(15, 13, 7, 3), "tiled"),
    ],
    ids=str,
)
def test_half_storage(grid: WindowGrid, row: str) -> None:
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    # measured: 3.0e-4 and 2.4e-4
    tolerance = {"portable": 1.2e-3, "tiled": 1e-3}[row]
    compare(between_others(attention(grid, heads=3, size=8)), row=row, tolerance=tolerance, half=True)


@pytest.mark.parametrize(
    ("grid", "mask_value"),
    [(WindowGrid(13, 16, 8, 4), -100.0), (WindowGrid(14, 14, 7, 0), -100.0), (WindowGrid(9, 8, 5, 2), -np.inf)],
    ids=str,
)
def test_matrix_units(grid: WindowGrid, mask_value: float) -> None:
    """Windows that fill fragments and such that do not, padding, and rolls."""
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: ATTENTION ON MATRIX UNITS IS NOT RUN")
    graph = attention(grid, heads=2, size=32, mask_value=mask_value)
    # measured: 5.1e-4
    compare(between_others(graph), row="matrix", tolerance=2e-3, half=True, matrix_units=EMULATED)


@pytest.mark.parametrize("loud", [30.0, 1e3])
@pytest.mark.parametrize(("row", "size"), ROWS)
def test_scores_beyond_what_exp_can_hold(loud: float, row: str, size: int) -> None:
    compare(attention(WindowGrid(7, 8, 4, 2), size=size, bias_scale=loud), row=row, tolerance=1e-6 * loud)


@pytest.mark.parametrize(("row", "size"), ROWS)
def test_a_mask_of_infinities_within_the_bias(row: str, size: int) -> None:
    """One window alone, whose mask the pass leaves in the bias; the first key is masked for most."""
    graph = attention(WindowGrid(5, 5, 5, 0), size=size)
    bias = graph.nodes[0].input(1)
    assert bias.data is not None
    apart = WindowGrid(5, 5, 5, 2).regions()[0]
    bias.data[:, apart[:, None] != apart] = -np.inf
    compare(graph, row=row)


@pytest.mark.parametrize(("row", "size"), ROWS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", range(3))
def test_a_number_that_is_none_stays_in_its_window_and_head(part: int, number: float, row: str, size: int) -> None:
    """In a query, a key or a value; whatever it meets beyond its window, finite numbers stay finite."""
    graph = attention(WindowGrid(5, 10, 5, 0), size=size)
    (x,) = feeds(graph)
    # of the last place of the second window, which the memory of places behind it must not repeat; the second head
    x[0, 49, (2 * part + 1) * size] = number
    (expected,) = interpret(graph, [x])
    (y,), _ = run(graph, [x], choices={"window-attention": row})
    assert np.isnan(expected).any() or np.isinf(expected).any()
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_allclose(y[np.isfinite(y)], expected[np.isfinite(y)], CLOSE, CLOSE)


@pytest.mark.parametrize(
    ("share", "grid", "row"),
    [
        *product([1, 2, 3], [WindowGrid(16, 20, 4, 2), WindowGrid(17, 19, 4, 1)], ["portable"]),
        (3, WindowGrid(17, 19, 4, 1), "tiled"),
    ],
    ids=str,
)
def test_projections_larger_than_a_binding(share: int, grid: WindowGrid, row: str) -> None:
    """Down to bindings that just hold the result, which is a third of the projections."""
    graph = attention(grid, heads=2, size=8)
    nbytes = graph.inputs[0].type.nbytes
    limit = -(-nbytes // (share * 256)) * 256
    compare(graph, row=row, limits={"max-storage-buffer-binding-size": limit})


def test_a_result_in_the_middle_of_a_concat() -> None:
    """Three channels before it, so that what it writes is not aligned to four."""
    graph = attention(WindowGrid(6, 7, 3, 1), size=4)
    other = Value("other", TensorType(np.dtype(np.float32), (1, 42, 3)))
    join = Node("Concat", [other, graph.outputs[0]], [], {"axis": 2}, version=17)
    joined = Value("z", infer(join)[0])
    join.outputs.append(joined)
    whole = Graph([*graph.inputs, other], [joined], [*graph.nodes, join])
    inputs = feeds(whole)
    (expected,) = interpret(whole, inputs)
    (y,), _ = run(whole, inputs)
    np.testing.assert_allclose(y, expected, CLOSE, CLOSE)


@pytest.mark.parametrize(
    ("of", "limits", "message"),
    [
        ({"size": 3}, None, "heads of 3 channels; backend 'webgpu' has multiples of 4 up to 128"),
        ({"size": 132}, None, "heads of 132 channels"),
        (
            {"size": 8},
            {"max-storage-buffer-binding-size": 4096},
            "projections of .* bytes; an adapter that binds 4,096",
        ),
    ],
    ids=["odd", "large", "too many pieces"],
)
def test_refusals(of: dict[str, Any], limits: dict[str, int] | None, message: str) -> None:
    graph = attention(WindowGrid(12, 12, 3, 1), **of)
    with pytest.raises(UnsupportedError, match=message):
        run(graph, feeds(graph), limits=limits)
