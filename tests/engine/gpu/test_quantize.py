"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear on the GPU against the reference, integer for integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare
from tests.engine.gpu.strided import shapes, views
from tests.engine.models import model, node

few = settings(max_examples=30, deadline=None)

CUT = {"max-storage-buffer-binding-size": 1024}
"""A limit on bindings that small tensors pass, so that dispatches run in ranges."""

BYTES = [np.int8, np.uint8, np.int16, np.uint16]


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_scale_is_part_of_a_chain(dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    constants = {"scale": np.full(shape, 0.05, np.float32), "zero": np.full(shape, 3, dtype)}
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("Relu", "d", "r"),
        node("QuantizeLinear", "r scale zero", "y"),
    ]
    compare(model(nodes, {"x": [4, 9]}, "y", constants=constants, opset=21), kernels=["elementwise"])


def test_values_saturate_round_to_even_and_may_be_infinite() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 254.5, 255.5, 1e9, -1e9, np.inf, -np.inf, np.nan], np.float32)
    constants = {"scale": np.array(1, np.float32), "zero": np.array(0, np.int8)}
    nodes = [node("QuantizeLinear", "x scale", "y"), node("QuantizeLinear", "x scale zero", "z")]
    compare(model(nodes, {"x": [x.size]}, "y z", constants), inputs=[x])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_dequantization_without_a_zero_point(dtype: type[np.generic]) -> None:
    nodes = [node("DequantizeLinear", "x scale", "y")]
    compare(model(nodes, {"x": (dtype, [5])}, "y", {"scale": np.array(0.3, np.float32)}), rtol=1e-6)


@few
@given(st.data(), shapes(), st.sampled_from(BYTES), st.booleans(), st.booleans())
def test_scales_along_an_axis(
    data: st.DataObject, shape: tuple[int, ...], dtype: type[np.generic], blocked: bool, has_zero: bool
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    block = data.draw(st.integers(1, shape[axis])) if blocked else 0
    extents = list(shape)
    extents[axis] = -(-shape[axis] // block) if block else shape[axis]
    parameters = extents if block else [shape[axis]]
    random = np.random.default_rng(len(shape))
    nodes, given_shape, constants = data.draw(views(shape, "x"))
    constants["scale"] = random.uniform(0.05, 1, parameters).astype(np.float32)
    names = "scale"
    if has_zero or dtype is not np.uint8:
        constants["zero"] = random.integers(0, 9, parameters).astype(dtype)
        names = "scale zero"
    attributes = {"axis": axis, **({"block_size": block} if block else {})}
    nodes += [
        node("QuantizeLinear", f"x {names}", "q", **attributes),
        node("DequantizeLinear", f"q {names}", "y", **attributes),
    ]
    compare(model(nodes, {"x_in": given_shape}, "q y", constants=constants, opset=21), rtol=1e-6)


@few
@given(st.data(), shapes(extent=7), st.floats(-3, 3))
def test_dynamic_quantization(data: st.DataObject, shape: tuple[int, ...], shift: float) -> None:
    nodes, given_shape, constants = data.draw(views(shape, "x"))
    nodes += [node("DynamicQuantizeLinear", "x", "y scale zero")]
    x = (np.random.default_rng(len(shape)).standard_normal(given_shape) + shift).astype(np.float32)
    proto = model(nodes, {"x_in": given_shape}, "y scale zero", constants)
    # a GPU's division may be off in the last place
    compare(proto, rtol=1e-6, inputs=[x])
    compare(proto, rtol=1e-6, inputs=[x], limits=CUT)


@pytest.mark.parametrize("at", [0, 1, 8191, 8192, 70000, 99999])
@pytest.mark.parametrize("extent", [100000, 99999 + 2])
def test_every_workgroup_of_a_large_tensor_counts(at: int, extent: int) -> None:
    x = np.zeros(extent, np.float32)
    x[at], x[-1 - at] = -3, 5
    kernels = ["extremes", "quantization", "elementwise"]
    compare(
        model([node("DynamicQuantizeLinear", "x", "y s z")], {"x": [extent]}, "y s z"),
        rtol=1e-6,
        inputs=[x],
        kernels=kernels,
    )


def test_extremes_are_found_in_ranges_and_in_parts_of_a_concat() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("DynamicQuantizeLinear", "a", "y scale zero"),
        node("Concat", "a b", "c", axis=1),
    ]
    proto = model(nodes, {"x": [4, 8, 30, 17], "b": [4, 3, 30, 17]}, "y scale zero c")
    compare(proto, rtol=1e-6)
    compare(proto, rtol=1e-6, limits={"max-storage-buffer-binding-size": 16384})


@pytest.mark.parametrize("value", [0.0, 2.5, -2.5, np.inf, 1e-42])
def test_ranges_of_one_value(value: float) -> None:
    x = np.full(5, value, np.float32)
    if value == np.inf:
        x[0] = 1
    if value == 1e-42:
        # GPUs may take numbers this small for 0
        x[1] = 0.1
    compare(model([node("DynamicQuantizeLinear", "x", "y s z")], {"x": [5]}, "y s z"), inputs=[x], rtol=1e-6)


def test_a_scale_and_zero_point_that_are_left_out() -> None:
    compare(
        model([node("DynamicQuantizeLinear", "x", "y scale zero"), node("Abs", "scale", "s")], {"x": [6]}, "y s"),
        rtol=1e-6,
    )
