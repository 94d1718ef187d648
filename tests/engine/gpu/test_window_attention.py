"""WindowAttention on the GPU against the reference: grids, heads, storage, and projections in several bindings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.caps import MatrixUnits
from engine.errors import UnsupportedError
from engine.graph.ir import Graph, Node, TensorType, Value
from engine.ops import infer
from engine.ops.window_attention import WindowGrid
from tests.engine.attention import attention, between_others
from tests.engine.gpu.gpu import device, run
from tests.engine.gpu.plans import EMULATED
from tests.engine.models import feeds, interpret
from tests.engine.window_grids import GRIDS

CLOSE = 5e-6
"""Measured: 6.5e-7 on lavapipe."""


def compare(
    graph: Graph,
    *,
    tolerance: float = CLOSE,
    half: bool = False,
    limits: dict[str, int] | None = None,
    matrix_units: MatrixUnits | None = None,
) -> None:
    """Assert that the GPU gives the reference's output."""
    inputs = feeds(graph)
    if half:  # what float16 holds exactly, so that the error is that of the bias and the result
        inputs = [array.astype(np.float16).astype(np.float32) for array in inputs]
    (expected,) = interpret(graph, inputs)
    (y,), kernels = run(graph, inputs, half=half, limits=limits, matrix_units=matrix_units)
    assert kernels.count("window_attention" if matrix_units is None else "window_attention_matrix") == 1
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(y, expected, tolerance, tolerance)


SMALLER_THAN_A_WINDOW = [WindowGrid(2, 3, 4, 0), WindowGrid(1, 1, 2, 1)]


@pytest.mark.parametrize("grid", [*GRIDS, *SMALLER_THAN_A_WINDOW, WindowGrid(10, 15, 7, 3)], ids=str)
@pytest.mark.parametrize("mask_value", [-100.0, -np.inf])
def test_grids(grid: WindowGrid, mask_value: float) -> None:
    compare(attention(grid, size=4, mask_value=mask_value))


@pytest.mark.parametrize("size", [4, 32, 64])
@pytest.mark.parametrize("window", [5, 12])
def test_heads(size: int, window: int) -> None:
    compare(attention(WindowGrid(window + 3, 2 * window, window, window // 2), heads=2, size=size))


def test_so_many_windows_that_an_invocation_takes_two_queries() -> None:
    # 16 x 17 windows of four heads, each of 9 places: the last invocation has one query
    compare(attention(WindowGrid(47, 50, 3, 1), heads=4, size=4))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_batches(batch: tuple[int, ...]) -> None:
    compare(attention(WindowGrid(7, 8, 3, 1), size=4, batch=batch))


@pytest.mark.parametrize("grid", [WindowGrid(12, 12, 4, 2), WindowGrid(7, 14, 7, 3), WindowGrid(15, 13, 7, 0)], ids=str)
def test_half_storage(grid: WindowGrid) -> None:
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    # measured: 6e-4; a unit in the last place of a bias of 4 is 2e-3
    compare(between_others(attention(grid, heads=3, size=8)), tolerance=4e-3, half=True)


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
    compare(between_others(graph), tolerance=4e-3, half=True, matrix_units=EMULATED)


@pytest.mark.parametrize("loud", [30.0, 1e3])
def test_scores_beyond_what_exp_can_hold(loud: float) -> None:
    compare(attention(WindowGrid(7, 8, 4, 2), size=4, bias_scale=loud), tolerance=1e-6 * loud)


def test_a_mask_of_infinities_within_the_bias() -> None:
    """One window alone, whose mask the pass leaves in the bias; the first key is masked for most."""
    graph = attention(WindowGrid(5, 5, 5, 0), size=4)
    bias = graph.nodes[0].input(1)
    assert bias.data is not None
    apart = WindowGrid(5, 5, 5, 2).regions()[0]
    bias.data[:, apart[:, None] != apart] = -np.inf
    compare(graph)


@pytest.mark.parametrize("share", [1, 2, 3])
@pytest.mark.parametrize("grid", [WindowGrid(16, 20, 4, 2), WindowGrid(17, 19, 4, 1)], ids=str)
def test_projections_larger_than_a_binding(grid: WindowGrid, share: int) -> None:
    """Down to bindings that just hold the result, which is a third of the projections."""
    graph = attention(grid, heads=2, size=8)
    nbytes = graph.inputs[0].type.nbytes
    limit = -(-nbytes // (share * 256)) * 256
    compare(graph, limits={"max-storage-buffer-binding-size": limit})


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
