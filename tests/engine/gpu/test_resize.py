"""Resampling on the GPU against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.gpu.gpu import compare, run, test_adapter
from tests.engine.gpu.strided import views
from tests.engine.models import interpret, load_graph, model, node

few = settings(max_examples=40, deadline=None)

CUT = {"max-storage-buffer-binding-size": 2048}

TRANSFORMATIONS = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")


def resized(shape: list[int], sizes: list[int], dtype: Any = np.float32, **attributes: Any) -> Any:
    """A model of a Resize of the spatial axes of channels-last memory."""
    turned = node("Transpose", "x", "c", perm=[0, 3, 1, 2])
    nodes = [turned, node("Resize", "c - - sizes", "y", **attributes)]
    input_shape = [shape[0], shape[2], shape[3], shape[1]]
    return model(nodes, {"x": (dtype, input_shape)}, "y", constants={"sizes": np.array([*shape[:2], *sizes])}, opset=19)


@few
@given(st.data(), st.sampled_from(["nearest", "linear", "cubic"]), st.sampled_from([np.float32, np.float32, np.uint8]))
def test_any_resize(data: st.DataObject, mode: str, dtype: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=3, unique=True))
    nodes, input_shape, constants = data.draw(views(shape))
    constants["sizes"] = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(axes), max_size=len(axes))))
    options: dict[str, Any] = {"coordinate_transformation_mode": data.draw(st.sampled_from(TRANSFORMATIONS))}
    if mode == "nearest":
        options["nearest_mode"] = data.draw(st.sampled_from(["floor", "ceil", "round_prefer_floor"]))
    else:
        options["antialias"] = data.draw(st.integers(0, 1))
        options["exclude_outside"] = data.draw(st.integers(0, 1)) if mode == "cubic" else 0
    nodes = [*nodes, node("Resize", "v - - sizes", "y", mode=mode, axes=axes, **options)]
    proto = model(nodes, {"v_in": (dtype, input_shape)}, "y", constants=constants, opset=19)
    # a sum that lies on a half may be rounded either way
    compare(proto, rtol=0 if mode == "nearest" else 3e-6, atol=(1 if dtype == np.uint8 else 3e-6) * (mode != "nearest"))


@few
@given(st.data(), st.sampled_from(["nearest", "linear", "cubic"]), st.integers(0, 1))
def test_cropping_fills_what_lies_outside(data: st.DataObject, mode: str, antialias: int) -> None:
    shape = data.draw(st.lists(st.integers(2, 6), min_size=2, max_size=2))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=2))
    ends = data.draw(st.lists(st.floats(-0.5, 1.5, width=16), min_size=4, max_size=4))
    constants = {"roi": np.array(ends, np.float32), "sizes": np.array(sizes)}
    crop = node(
        "Resize",
        "x roi - sizes",
        "y",
        mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.5,
        antialias=antialias if mode != "nearest" else 0,
    )
    proto = model([crop], {"x": shape}, "y", constants=constants, opset=19)
    compare(proto, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("sizes", [[14, 10], [3, 2], [20, 5], [13, 9]])
@pytest.mark.parametrize("limits", [None, CUT])
def test_four_channels_at_a_time(mode: str, sizes: list[int], limits: dict[str, int] | None) -> None:
    # the copy is of the output, to row-major order
    kernels = None if limits else ["resize", "elementwise"]
    compare(resized([1, 8, 7, 5], sizes, mode=mode), atol=2e-6, kernels=kernels, limits=limits)


def test_a_row_of_the_result_needs_a_few_of_the_input() -> None:
    proto = resized([1, 4, 30, 6], [60, 12], mode="linear")
    graph = load_graph(proto)
    x = np.random.default_rng(0).standard_normal(graph.inputs[0].shape).astype(np.float32)
    (y,), kernels = run(load_graph(proto), [x], limits=CUT)
    assert len(kernels) > 4
    np.testing.assert_allclose(y, interpret(graph, [x])[0], rtol=0, atol=2e-6)


def test_images_of_a_batch_each_larger_than_a_binding() -> None:
    compare(resized([3, 4, 6, 6], [12, 12], mode="linear"), atol=2e-6, limits=CUT)


def test_many_taps_take_a_pass_for_each_axis() -> None:
    proto = resized([1, 4, 32, 24], [4, 3], mode="linear", antialias=1)
    compare(proto, atol=2e-6, kernels=["resize", "resize", "elementwise"])


def test_three_axes_in_one_pass() -> None:
    constants = {"sizes": np.array([1, 3, 6, 8, 10])}
    proto = model(
        [node("Resize", "x - - sizes", "y", mode="linear")], {"x": [1, 3, 3, 4, 5]}, "y", constants=constants, opset=19
    )
    compare(proto, atol=2e-6, kernels=["resize", "elementwise"])


def test_an_infinity_stays_where_it_is() -> None:
    x = np.zeros([1, 1, 9, 1], np.float32)
    x[0, 0, 8] = np.inf
    # an odd number of taps
    constants = {"sizes": np.array([1, 1, 3, 1])}
    proto = model(
        [node("Resize", "x - - sizes", "y", mode="linear", antialias=1)],
        {"x": list(x.shape)},
        "y",
        constants=constants,
        opset=19,
    )
    with np.errstate(invalid="ignore"):
        compare(proto, inputs=[x], atol=1e-6)


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.int8, 127), (np.int32, 1 << 18)])
def test_integers_round_half_to_even_and_saturate(dtype: Any, most: int) -> None:
    x = np.array([np.iinfo(dtype).min // 128, most, 0, 1, 2, 3, 5], dtype)[None, None, :, None]
    constants = {"scales": np.array([1, 1, 2, 1], np.float32)}
    for mode in ("linear", "cubic"):
        resize = node("Resize", "x - scales", "y", mode=mode, coordinate_transformation_mode="align_corners")
        proto = model([resize], {"x": (dtype, list(x.shape))}, "y", constants=constants, opset=19)
        compare(proto, inputs=[x])


def test_upsample() -> None:
    for mode in ("nearest", "linear"):
        scales = {"scales": np.array([1, 1, 2, 3], np.float32)}
        proto = model(
            [node("Upsample", "x scales", "y", mode=mode)], {"x": [1, 2, 3, 4]}, "y", constants=scales, opset=9
        )
        compare(proto, atol=2e-6, kernels=["resize", "elementwise"])


def test_nothing_to_do_runs_nothing() -> None:
    same = {"scales": np.ones(4, np.float32)}
    proto = model(
        [node("Resize", "x - scales", "r"), node("Neg", "r", "y")], {"x": [1, 2, 3, 4]}, "y", constants=same, opset=19
    )
    compare(proto, kernels=["elementwise"])


def test_into_a_part_of_a_concat() -> None:
    constants = {"sizes": np.array([1, 4, 6, 8])}
    nodes = [
        node("Relu", "a", "b"),
        node("Resize", "b - - sizes", "r", mode="linear"),
        node("Concat", "r c", "y", axis=1),
    ]
    compare(model(nodes, {"a": [1, 4, 3, 4], "c": [1, 3, 6, 8]}, "y", constants=constants, opset=19), atol=2e-6)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_in_half_storage(mode: str) -> None:
    adapter = test_adapter()
    if adapter is not None and not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    proto = resized([1, 8, 16, 16], [32, 32], mode=mode)
    graph = load_graph(proto)
    x = np.random.default_rng(0).integers(-64, 64, graph.inputs[0].shape).astype(np.float32)
    (y,), _ = run(load_graph(proto), [x], half=True)
    # quarters of whole numbers are exact
    np.testing.assert_array_equal(y, interpret(graph, [x])[0])
