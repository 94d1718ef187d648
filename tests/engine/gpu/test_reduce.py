"""Reductions and global poolings on the GPU against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.gpu.kernels.reduction.row_reduction import RowLayout
from engine.gpu.program.tensor import Slot, Tensor, strides_of
from engine.ops.reduce import REDUCTIONS
from tests.engine.gpu.gpu import compare, run, test_adapter
from tests.engine.gpu.strided import shapes, views
from tests.engine.models import interpret, load_graph, model, node

few = settings(max_examples=40, deadline=None)

CUT = {"max-storage-buffer-binding-size": 4096}

EXACT = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")
"""Reductions of which the result for small integers is one that both sides compute exactly."""


def reduction(op: str, shape: list[int], axes: list[int], dtype: Any = np.float32) -> Any:
    return model([node(op, "x axes", "y")], {"x": (dtype, shape)}, "y", constants={"axes": np.array(axes)}, opset=20)


@st.composite
def reductions(draw: st.DrawFn, dtype: Any, op: str) -> Any:
    """A model that reduces some axes of a strided view."""
    shape = draw(shapes(most=4, extent=6))
    nodes, input_shape, constants = draw(views(shape))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), max_size=len(shape), unique=True))
    constants["axes"] = np.array(axes, np.int64)
    options = {"keepdims": draw(st.integers(0, 1)), "noop_with_empty_axes": draw(st.integers(0, 1))}
    return model(
        [*nodes, node(op, "v axes", "y", **options)], {"v_in": (dtype, input_shape)}, "y", constants=constants, opset=20
    )


@few
@given(st.data(), st.sampled_from(sorted(set(REDUCTIONS) - {"ReduceLogSum"})))
def test_any_reduction(data: st.DataObject, op: str) -> None:
    # a thousand deviates add up to forty on the way, and may cancel: 3.8e-6 was seen
    compare(data.draw(reductions(np.float32, op)), rtol=2e-6, atol=1e-5)


@few
@given(st.data(), st.sampled_from(EXACT))
def test_any_reduction_of_integers(data: st.DataObject, op: str) -> None:
    proto = data.draw(reductions(np.int32, op))
    shape = load_graph(proto).inputs[0].shape
    bound = 2 if op == "ReduceProd" else 20
    compare(proto, inputs=[np.random.default_rng(len(shape)).integers(-bound, bound, shape).astype(np.int32)])


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_extremes_of_narrow_types(op: str, dtype: Any) -> None:
    proto = reduction(op, [4, 5], [1], dtype)
    x = np.random.default_rng(0).integers(-99, 99, [4, 5]).astype(dtype)
    compare(proto, inputs=[x])
    compare(proto, inputs=[np.zeros([4, 5], dtype)])


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceLogSumExp"])
def test_infinities_and_nan(op: str) -> None:
    rows = [[1, np.nan, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [-np.inf] * 3, [np.inf, -np.inf, 0], [np.nan, np.inf, 0]]
    compare(reduction(op, [6, 3], [1]), inputs=[np.array(rows, np.float32)], rtol=1e-6)


def test_log_sum_exp_does_not_overflow() -> None:
    x = np.array([[1000, 1000, 999], [-1000, -1000, -999]], np.float32)
    compare(reduction("ReduceLogSumExp", [2, 3], [1]), inputs=[x], rtol=1e-6)


def test_log_sum() -> None:
    x = np.random.default_rng(0).random([3, 7, 5], np.float32)
    compare(reduction("ReduceLogSum", [3, 7, 5], [0, 2]), inputs=[x], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceLogSum", "ReduceLogSumExp"])
def test_over_nothing(op: str) -> None:
    compare(reduction(op, [2, 0, 3], [1]))


@pytest.mark.parametrize(
    ("shape", "axes", "steps"),
    [
        ([64, 96, 80], [0, 1], 2),
        ([8, 160, 128], [1, 2], 2),
        ([160, 8, 128], [0, 2], 2),
        ([40, 160, 128], [0, 1, 2], 3),
        ([20000], [0], 2),
        ([20000, 1, 3], [0], 2),
        ([16411], [0], 1),  # a prime
    ],
)
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp"])
def test_long_rows_take_several_steps(op: str, shape: list[int], axes: list[int], steps: int) -> None:
    proto = reduction(op, shape, axes)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) + np.float32(3)
    (y,), kernels = run(load_graph(proto), [x])
    assert kernels == ["row_reduction"] * (2 * steps if op == "ReduceLogSumExp" else steps)
    np.testing.assert_allclose(y, interpret(load_graph(proto), [x])[0], rtol=1e-5)


def test_sums_of_long_rows_are_accurate() -> None:
    x = np.random.default_rng(0).random([1, 1 << 20], np.float32)
    (y,), _ = run(load_graph(reduction("ReduceMean", list(x.shape), [1])), [x])
    np.testing.assert_allclose(y[0, 0], x.mean(dtype=np.float64), rtol=2e-7)


@pytest.mark.parametrize("axes", [[1], [2], [3], [1, 2], [2, 3]])
def test_rows_are_cut(axes: list[int]) -> None:
    proto = reduction("ReduceSum", [5, 6, 7, 8], axes)
    graph = load_graph(proto)
    x = np.random.default_rng(0).integers(-9, 9, [5, 6, 7, 8]).astype(np.float32)
    (y,), kernels = run(load_graph(proto), [x], limits=CUT)
    assert len(kernels) > 1
    np.testing.assert_array_equal(y, interpret(graph, [x])[0])


def test_rows_longer_than_a_binding() -> None:
    for axes in ([0, 1, 2], [0, 1], [1, 2]):
        proto = reduction("ReduceSum", [4, 40, 30], axes)
        compare(proto, rtol=1e-6, atol=1e-4, limits=CUT)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [[2, 5, 6, 7], [1, 3, 4], [1, 8, 70, 90]])
def test_global_pools_of_channels_last_memory(op: str, shape: list[int]) -> None:
    perm = [0, len(shape) - 1, *range(1, len(shape) - 1)]
    proto = model(
        [node("Transpose", "x", "c", perm=perm), node(op, "c", "y")], {"x": [shape[0], *shape[2:], shape[1]]}, "y"
    )
    compare(proto, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis", "tile"),
    [
        ([300, 3], 1, (64, 4)),
        ([5000, 20], 1, (64, 4)),
        ([20, 900], 1, (1, 256)),
        ([6, 1], 1, (256, 1)),
        ([3, 300], 0, (64, 4)),
        ([400, 20], 0, (32, 8)),
        ([2, 7], 0, (128, 2)),
        ([900, 1], 0, (1, 256)),
    ],
)
def test_tiles_of_rows_and_lanes(shape: list[int], axis: int, tile: tuple[int, int]) -> None:
    x = Tensor(Slot(0, "x"), "f32", tuple(shape), strides_of(tuple(shape)))
    assert RowLayout({"x": x}, (axis,)).tile() == tile
    compare(reduction("ReduceSum", shape, [axis]), rtol=1e-5, atol=1e-5, kernels=["row_reduction"])


def test_in_half_storage() -> None:
    adapter = test_adapter()
    if adapter is not None and not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    proto = reduction("ReduceMax", [64, 48], [1])
    x = np.random.default_rng(0).integers(-64, 64, [64, 48]).astype(np.float32)
    (y,), _ = run(load_graph(proto), [x], half=True)
    np.testing.assert_array_equal(y, x.max(axis=1, keepdims=True))
