"""Deformable convolutions of quantised files on the GPU: the integers of the reference, and no columns in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.gpu.plan.target import WebgpuTarget
from engine.graph.ir import Graph
from tests.engine.deform_integers import CASES, deform_integers
from tests.engine.gpu.gpu import run
from tests.engine.models import interpret


def compare(graph: Graph, inputs: Sequence[np.ndarray], **limits: int) -> list[str]:
    """Assert that the GPU gives the reference's numbers, bit by bit. Returns the kernels that ran."""
    expected = interpret(graph, inputs)
    names = {name.replace("_", "-"): limit for name, limit in limits.items()}
    results, kernels = run(graph, inputs, limits=names)
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, reference)
    return kernels


@pytest.mark.parametrize("case", CASES)
def test_gives_the_references_integers(case: str) -> None:
    kernels = compare(*deform_integers(**CASES[case]))
    assert kernels[:3] == ["deform_extremes", "quantization", "conv"]


def test_rows_are_cut_where_a_binding_holds_no_more() -> None:
    graph, inputs = deform_integers(extent=(17, 19), outputs=33)
    kernels = compare(graph, inputs, max_storage_buffer_binding_size=12 << 10)
    assert min(kernels.count("deform_extremes"), kernels.count("conv")) > 1


def test_a_nan_is_told_as_by_dynamic_quantize_linear() -> None:
    graph, inputs = deform_integers()
    inputs[0][0, 4, 4, 3] = np.nan
    compare(graph, inputs)


def test_channels_that_are_no_fours_are_refused() -> None:
    graph, _ = deform_integers(channels=6)
    (product,) = (node for node in graph.nodes if node.op == "DeformConvInteger")
    assert not WebgpuTarget().supports(product)
