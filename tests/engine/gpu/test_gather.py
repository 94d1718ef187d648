"""Elements picked and replaced by index on the GPU, against the reference, element for element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare
from tests.engine.gpu.strided import shapes, views
from tests.engine.models import feeds, load_graph, model, node

few = settings(max_examples=30, deadline=None)

CUT = {"max-storage-buffer-binding-size": 1024}


def draw_integers(data: st.DataObject, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Integers from ``low`` to before ``high``, negative ones at times."""
    seed = data.draw(st.integers(0, 2**16))
    return np.random.default_rng(seed).integers(low, high, shape)


def check(nodes: list[Any], shape: list[int], constants: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Compare a model whose inputs are ``v_in`` of that shape and ``arrays``."""
    inputs: dict[str, Any] = {"v_in": shape, **{name: (array.dtype, array.shape) for name, array in arrays.items()}}
    proto = model(nodes, inputs, "y", constants=constants, opset=18)
    compare(proto, inputs=[feeds(load_graph(proto))[0], *arrays.values()], rtol=1e-6)


@few
@given(st.data(), shapes(most=3), shapes(least=0, most=3, extent=3))
def test_gather(data: st.DataObject, shape: tuple[int, ...], places: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    nodes, input_shape, constants = data.draw(views(shape))
    indices = draw_integers(data, -shape[axis], shape[axis], places)
    check([*nodes, node("Gather", "v indices", "y", axis=axis)], input_shape, constants, {"indices": indices})


@pytest.mark.parametrize("indices", [1, -1, [2], [1, 2], [2, 1, 0], [[-1], [-1]], [[0, 1], [2, 3]]])
def test_evenly_spaced_indices_that_are_known_are_a_view(indices: Any) -> None:
    proto = model([node("Gather", "x i", "y", axis=1)], {"x": [2, 4, 3]}, "y", {"i": np.array(indices)})
    # the one copy gives the output a run of its own
    compare(proto, kernels=["elementwise"])
    unknown = model([node("Gather", "x i", "y", axis=1)], {"x": [2, 4, 3]}, "y", {"i": np.array([0, 1, 3])})
    compare(unknown, kernels=["indexed_copy"])


@few
@given(st.data(), shapes(most=3))
def test_gather_elements(data: st.DataObject, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    nodes, input_shape, constants = data.draw(views(shape))
    indices_shape = [data.draw(st.integers(1, extent)) for extent in shape]
    indices_shape[axis] = data.draw(st.integers(1, 6))
    indices = draw_integers(data, -shape[axis], shape[axis], tuple(indices_shape))
    check([*nodes, node("GatherElements", "v indices", "y", axis=axis)], input_shape, constants, {"indices": indices})


@few
@given(st.data(), shapes(most=4))
def test_gather_nd(data: st.DataObject, shape: tuple[int, ...]) -> None:
    batch = data.draw(st.integers(0, len(shape) - 1))
    depth = data.draw(st.integers(1, len(shape) - batch))
    nodes, input_shape, constants = data.draw(views(shape))
    lead = (*shape[:batch], *data.draw(shapes(least=0, most=2, extent=3)))
    parts = [draw_integers(data, -extent, extent, lead) for extent in shape[batch : batch + depth]]
    check(
        [*nodes, node("GatherND", "v indices", "y", batch_dims=batch)],
        input_shape,
        constants,
        {"indices": np.stack(parts, -1)},
    )


@few
@given(st.data(), shapes(least=2, most=4), st.integers(0, 1))
def test_reverse_sequence(data: st.DataObject, shape: tuple[int, ...], time: int) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    lengths = draw_integers(data, 0, shape[time] + 1, (shape[1 - time],))
    nodes = [*nodes, node("ReverseSequence", "v lengths", "y", time_axis=time, batch_axis=1 - time)]
    check(nodes, input_shape, constants, {"lengths": lengths})


@few
@given(st.data(), shapes(most=3), st.sampled_from(["none", "add", "mul", "max", "min"]))
def test_scatter_elements(data: st.DataObject, shape: tuple[int, ...], reduction: str) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    nodes, input_shape, constants = data.draw(views(shape))
    indices_shape = [data.draw(st.integers(1, extent)) for extent in shape]
    indices_shape[axis] = data.draw(st.integers(1, 6))
    indices = draw_integers(data, -shape[axis], shape[axis], tuple(indices_shape))
    updates = np.random.default_rng(1).standard_normal(indices_shape).astype(np.float32)
    nodes = [*nodes, node("ScatterElements", "v indices updates", "y", axis=axis, reduction=reduction)]
    check(nodes, input_shape, constants, {"indices": indices, "updates": updates})


@few
@given(st.data(), shapes(most=3), st.sampled_from(["none", "add", "mul", "max", "min"]))
def test_scatter_nd(data: st.DataObject, shape: tuple[int, ...], reduction: str) -> None:
    depth = data.draw(st.integers(1, len(shape)))
    nodes, input_shape, constants = data.draw(views(shape))
    lead = data.draw(shapes(least=1, most=2, extent=4))
    parts = [draw_integers(data, -extent, extent, lead) for extent in shape[:depth]]
    updates = np.random.default_rng(1).standard_normal((*lead, *shape[depth:])).astype(np.float32)
    nodes = [*nodes, node("ScatterND", "v indices updates", "y", reduction=reduction)]
    check(nodes, input_shape, constants, {"indices": np.stack(parts, -1), "updates": updates})


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
def test_scattered_integers_wrap(reduction: str, dtype: Any) -> None:
    random = np.random.default_rng(0)
    limits = np.iinfo(dtype)
    x, updates = (random.integers(limits.min, limits.max, (4, 6), dtype) for _ in range(2))
    indices = random.integers(-4, 4, (4, 6))
    inputs = {"x": (dtype, [4, 6]), "i": (np.int64, [4, 6]), "u": (dtype, [4, 6])}
    nodes = [node("ScatterElements", "x i u", "y", reduction=reduction)]
    compare(model(nodes, inputs, "y", opset=18), inputs=[x, indices, updates])


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_scattered_nan_spreads(reduction: str) -> None:
    x = np.array([np.nan, 1, np.inf, -np.inf, 2], np.float32)
    updates = np.array([1, np.nan, 2, 3, -np.inf], np.float32)
    inputs = {"x": [5], "i": (np.int64, [5]), "u": [5]}
    nodes = [node("ScatterElements", "x i u", "y", reduction=reduction)]
    compare(model(nodes, inputs, "y", opset=18), inputs=[x, np.arange(5), updates])


CUTS = {
    "Gather": (node("Gather", "x i", "y", axis=1), (9,), None),
    "GatherElements": (node("GatherElements", "x i", "y", axis=1), (60, 9), None),
    "ScatterElements": (node("ScatterElements", "x i u", "y", axis=1), (50, 9), (50, 9)),
    "ScatterElements add": (node("ScatterElements", "x i u", "y", axis=1, reduction="add"), (50, 9), (50, 9)),
}


@pytest.mark.parametrize("case", CUTS)
def test_in_ranges(case: str) -> None:
    operator, places, updates_shape = CUTS[case]
    inputs: dict[str, Any] = {"x": [60, 12], "i": (np.int64, places)}
    random = np.random.default_rng(0)
    arrays = [random.standard_normal((60, 12)).astype(np.float32), random.integers(-12, 12, places)]
    if updates_shape:
        inputs["u"] = list(updates_shape)
        arrays.append(random.standard_normal(updates_shape).astype(np.float32))
    compare(model([operator], inputs, "y", opset=18), inputs=arrays, limits=CUT, rtol=1e-6)
