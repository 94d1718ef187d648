"""WindowAttention against the reference, whole and finely cut."""

from __future__ import annotations

import numpy as np
import pytest

from engine.cpu.lower import lower
from engine.ops.window_attention import WindowGrid
from tests.engine.attention import attention
from tests.engine.cpu.kernels import compare_graph
from tests.engine.models import execute, interpret
from tests.engine.window_grids import GRIDS


@pytest.mark.parametrize(
    "grid",
    [*GRIDS, WindowGrid(12, 13, 2, 1), WindowGrid(20, 33, 7, 3)],
    ids=str,
)
@pytest.mark.parametrize("mask_value", [-100.0, -np.inf])
def test_window_attention(grid: WindowGrid, mask_value: float) -> None:
    # 6e-7 was measured
    compare_graph(attention(grid, mask_value=mask_value), rtol=2e-6, atol=2e-6, kernel="WindowAttentionKernel")


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_batches(batch: tuple[int, ...]) -> None:
    compare_graph(attention(WindowGrid(7, 7, 3, 1), batch=batch), rtol=2e-6, atol=2e-6, kernel="WindowAttentionKernel")


@pytest.mark.parametrize("loud", [1e2, 1e4])
def test_scores_beyond_what_exp_can_hold(loud: float) -> None:
    graph = attention(WindowGrid(7, 8, 4, 2), bias_scale=loud)
    # scores of 1e4 are themselves rounded to 1e-3
    compare_graph(graph, rtol=1e-5, atol=2e-7 * loud, kernel="WindowAttentionKernel")


@pytest.mark.parametrize("level", [-300.0, 300.0])
def test_scores_that_are_all_alike(level: float) -> None:
    graph = attention(WindowGrid(6, 6, 3, 1), bias_scale=0)
    bias = graph.nodes[0].input(1)
    assert bias.data is not None
    bias.data += np.float32(level)
    x = np.random.default_rng(6).standard_normal(graph.inputs[0].shape).astype(np.float32)
    np.testing.assert_allclose(execute(graph, [x])[0], interpret(graph, [x])[0], rtol=1e-5, atol=1e-4)


def test_a_mask_that_raises_scores_beyond_what_exp_can_hold() -> None:
    compare_graph(
        attention(WindowGrid(7, 8, 4, 2), mask_value=100.0), rtol=2e-6, atol=2e-6, kernel="WindowAttentionKernel"
    )


def test_float16_runs_by_the_reference() -> None:
    compare_graph(attention(WindowGrid(4, 5, 3, 1), dtype=np.float16), kernel="ReferenceKernel")


def test_scratch_holds_few_windows() -> None:
    graph = attention(WindowGrid(256, 256, 12, 6), heads=6, size=32)
    # all scores would be 230 MiB
    assert lower(graph.nodes[0]).scratch * 4 <= 2 << 20
