"""Extremes, orders and running sums along an axis on the GPU, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare
from tests.engine.gpu.strided import shapes, views
from tests.engine.models import model, node

few = settings(max_examples=30, deadline=None)

CUT = {"max-storage-buffer-binding-size": 1024}

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 3e38, -3e38], np.float32)


def values(shape: list[int], dtype: Any, seed: int) -> np.ndarray:
    """Few distinct numbers, so that equal ones are frequent; floats hold NaN and infinities."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.choice(SPECIAL, shape).astype(dtype)
    limits = np.iinfo(dtype)
    few_numbers = np.array([limits.min, limits.max, 0, 1, 2], dtype)
    return random.choice(few_numbers, shape)


DTYPES = st.sampled_from([np.float32, np.int32, np.uint8, np.int8])


@few
@given(st.data(), shapes(most=3, extent=6), st.sampled_from(["ArgMax", "ArgMin"]), DTYPES)
def test_arg_extremes(data: st.DataObject, shape: tuple[int, ...], op: str, dtype: Any) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    options = {
        "axis": data.draw(st.integers(-len(shape), len(shape) - 1)),
        "keepdims": data.draw(st.integers(0, 1)),
        "select_last_index": data.draw(st.integers(0, 1)),
    }
    proto = model([*nodes, node(op, "v", "y", **options)], {"v_in": (dtype, input_shape)}, "y", constants)
    compare(proto, inputs=[values(input_shape, dtype, data.draw(st.integers(0, 99)))])


@few
@given(st.data(), shapes(most=3, extent=6), DTYPES)
def test_top_k(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    constants["k"] = np.array([data.draw(st.integers(0, shape[axis]))])
    largest = data.draw(st.integers(0, 1))
    nodes = [*nodes, node("TopK", "v k", "y i", axis=axis, largest=largest)]
    proto = model(
        nodes, {"v_in": (dtype, input_shape)}, "y i", constants=constants, opset=min(24, onnx.defs.onnx_opset_version())
    )
    compare(proto, inputs=[values(input_shape, dtype, data.draw(st.integers(0, 99)))])


@pytest.mark.parametrize(("op", "opset"), [("CumSum", 14), ("CumProd", 26)])
@few
@given(data=st.data(), shape=shapes(most=3, extent=6))
def test_running_sums_and_products(data: st.DataObject, shape: tuple[int, ...], op: str, opset: int) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    constants["axis"] = np.int64(data.draw(st.integers(-len(shape), len(shape) - 1)))
    options = {"exclusive": data.draw(st.integers(0, 1)), "reverse": data.draw(st.integers(0, 1))}
    dtype = data.draw(st.sampled_from([np.float32, np.int32]))
    proto = model(
        [*nodes, node(op, "v axis", "y", **options)],
        {"v_in": (dtype, input_shape)},
        "y",
        constants=constants,
        opset=opset,
    )
    compare(proto, rtol=1e-6, atol=1e-6)


@few
@given(st.data(), shapes(most=4), st.sampled_from([11, 13]))
def test_hardmax(data: st.DataObject, shape: tuple[int, ...], opset: int) -> None:
    nodes, input_shape, constants = data.draw(views(shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    nodes = [*nodes, node("Hardmax", "v", "h", axis=axis), node("Concat", "h v", "y", axis=-1)]
    compare(model(nodes, {"v_in": input_shape}, "y", constants=constants, opset=opset))


@pytest.mark.parametrize("op", ["ArgMax", "CumSum", "TopK"])
@pytest.mark.parametrize("axis", [0, 1])
def test_in_ranges(op: str, axis: int) -> None:
    outputs, constants = ("y i", {"k": [3]}) if op == "TopK" else ("y", {"axis": axis} if op == "CumSum" else {})
    options = {} if op == "CumSum" else {"axis": axis}
    # rows are of the axis that lies outermost in memory, which is the other one
    perm = [1, 0, 2] if axis == 0 else [0, 1, 2]
    nodes = [node("Transpose", "x", "t", perm=perm), node(op, " ".join(["t", *constants]), outputs, **options)]
    compare(model(nodes, {"x": [120, 8, 2]}, outputs, constants), rtol=1e-5, atol=1e-5, limits=CUT)
