"""Products and samplers in float16 storage: sums are those of float32, so that only operands and result are rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.engine.gpu.gpu import run, test_adapter
from tests.engine.models import feeds, interpret, load_graph, model, node

CASES: dict[str, tuple[Any, dict[str, list[int]], int]] = {
    "MatMul": (node("MatMul", "a b", "y"), {"a": [2, 36, 40], "b": [40, 44]}, 17),
    "MatMul unaligned": (node("MatMul", "a b", "y"), {"a": [35, 41], "b": [41, 43]}, 17),
    "Gemm": (node("Gemm", "a b c", "y", transA=1, transB=1), {"a": [40, 36], "b": [44, 40], "c": [44]}, 17),
    "Einsum": (node("Einsum", "a b", "y", equation="bqhd,bkhd->bhqk"), {"a": [2, 20, 2, 20], "b": [2, 20, 2, 20]}, 17),
    "ConvTranspose": (
        node("ConvTranspose", "x w", "y", strides=[2, 2]),
        {"x": [1, 8, 12, 12], "w": [8, 32, 2, 2]},
        17,
    ),
    "GridSample": (node("GridSample", "x grid", "y"), {"x": [1, 8, 12, 12], "grid": [1, 24, 24, 2]}, 16),
    "DeformConv": (
        node("DeformConv", "x w offset", "y", pads=[1, 1, 1, 1]),
        {"x": [1, 8, 12, 12], "w": [16, 8, 3, 3], "offset": [1, 18, 12, 12]},
        19,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_in_half_storage(case: str) -> None:
    adapter = test_adapter()
    if adapter is not None and not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    operator, shapes, opset = CASES[case]
    proto = model([operator], shapes, "y", opset=opset)
    graph = load_graph(proto)
    # what float16 holds exactly, so that the error is that of the result
    inputs = [array.astype(np.float16).astype(np.float32) for array in feeds(graph)]
    (expected,) = interpret(graph, inputs)
    (result,), _ = run(load_graph(proto), inputs, half=True)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=2e-3)
