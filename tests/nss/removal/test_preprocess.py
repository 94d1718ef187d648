"""Resampling against Pillow and ONNX Runtime, and each model's preparation against its definition."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits

from nss.arrays import resample
from nss.arrays.resample import resize_bilinear
from nss.interfaces.interface import Interface, complete
from nss.models import catalogue
from nss.removal import preprocess
from nss.removal.preprocess import mask_to_photo, prepare

SIZES = [
    ((37, 53), (20, 91)),
    ((100, 7), (33, 64)),
    ((1, 1), (8, 5)),
    ((1, 5000), (320, 320)),
    ((5000, 1), (320, 320)),
    ((451, 300), (320, 320)),
    ((640, 640), (320, 320)),
    ((1500, 2100), (320, 320)),
    ((320, 320), (301, 999)),
    ((9, 9), (9, 9)),
]


def interface_of(name: str) -> Interface:
    return complete(catalogue.CATALOGUE[name].interface)


def pillow(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(x).resize(size[::-1], Image.Resampling.BILINEAR))


def onnxruntime_resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import onnxruntime

    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, *size])
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, *x.shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, *size])],
        [sizes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x[None, None]})[0][0, 0]


@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_antialiased_is_pillow_bilinear(shape: tuple[int, int], size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(100, 50, shape).astype(np.float32)
    expected = pillow(x, size)
    assert np.abs(resize_bilinear(x, size, antialias=True) - expected).max() <= 2e-6 * np.abs(expected).max()


@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_plain_is_onnx_resize_linear_half_pixel(shape: tuple[int, int], size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(100, 50, shape).astype(np.float32)
    expected = onnxruntime_resize(x, size)
    # ONNX Runtime computes the coordinates in float32: one unit in their last place, times the steepest step of x
    tolerance = np.finfo(np.float32).eps * max(*shape, 16) * np.ptp(x) + 1e-4
    assert np.abs(resize_bilinear(x, size, antialias=False) - expected).max() <= tolerance


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.booleans())
def test_any_size_to_any_size(height: int, width: int, h: int, w: int, antialias: bool) -> None:
    x = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = resize_bilinear(x, (h, w), antialias=antialias)
    assert out.shape == (h, w, 3)
    assert out.dtype == np.float32
    planes = x.astype(np.float32)
    for c in range(3):
        plane = np.ascontiguousarray(planes[..., c])
        expected = pillow(plane, (h, w)) if antialias else onnxruntime_resize(plane, (h, w))
        assert np.abs(out[..., c] - expected).max() <= 0.02  # of 255


def test_the_input_is_not_written_to() -> None:
    x = np.full((8, 8), 7, np.float32)
    same = resize_bilinear(x, (8, 8), antialias=True)
    same += 1
    assert (x == 7).all()


@pytest.mark.parametrize("name", ["u2netp", "rmbg-1.4", "rmbg-2.0"])
def test_preparation_of_each_model(name: str) -> None:
    photo = np.random.default_rng(2).integers(0, 256, (1300, 700, 3), dtype=np.uint8)
    side, antialias, mean, std = {
        "u2netp": (320, True, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "rmbg-1.4": (1024, False, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
        "rmbg-2.0": (1024, True, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }[name]
    result = prepare(photo, interface_of(name))
    assert result.shape == (1, 3, side, side)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    for c in range(3):
        plane = np.ascontiguousarray(photo[..., c], dtype=np.float32)
        reference = pillow(plane, (side, side)) if antialias else onnxruntime_resize(plane, (side, side))
        expected = (reference / 255 - mean[c]) / std[c]
        assert np.abs(result[0, c] - expected).max() <= (2e-5 if antialias else 4e-4)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5000, 3), (5000, 1, 3)])
@pytest.mark.parametrize("name", ["u2netp", "rmbg-1.4", "rmbg-2.0"])
def test_extreme_shapes_of_one_colour(name: str, shape: tuple[int, ...]) -> None:
    interface = interface_of(name)
    result = prepare(np.full(shape, 51, np.uint8), interface)
    expected = (0.2 - np.array(interface.mean)) / interface.std
    assert np.abs(result - expected[None, :, None, None]).max() <= 2e-6


def test_a_photo_above_the_longest_side_is_reduced_before_two_taps_sample_it() -> None:
    # stripes of one pixel, 8 pixels apart after two taps: without the reduced copy they would alias
    photo = np.zeros((16, 4 * preprocess.LONGEST_SIDE, 3), np.uint8)
    photo[:, ::2] = 255
    result = prepare(photo, interface_of("rmbg-1.4"))
    assert np.abs(result).max() <= 0.01  # grey everywhere: 127.5 / 255 - 0.5


def test_a_large_photo_takes_little_memory() -> None:
    photo = np.zeros((4000, 6000, 3), np.uint8)
    tracemalloc.start()
    try:
        prepare(photo, interface_of("rmbg-2.0"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 150e6  # the whole photo in float32 would be 288 MB


def test_mask_goes_back_in_float() -> None:
    mask = np.random.default_rng(4).random((320, 320), dtype=np.float32)
    result = mask_to_photo(mask, (700, 1301))
    assert result.dtype == np.float32
    assert np.abs(result - onnxruntime_resize(mask, (700, 1301))).max() <= 5e-5
    assert np.unique(result).size > 100_000  # never quantised
    assert np.abs(mask_to_photo(mask, (50, 70)) - pillow(mask, (50, 70))).max() <= 1e-6
    assert mask_to_photo(mask, (1, 1)).shape == (1, 1)


def test_mask_is_clipped() -> None:
    result = mask_to_photo(np.array([[-0.5, 1.5]], np.float32), (4, 6))
    assert result.min() == 0
    assert result.max() == 1


def test_resizing_keeps_blas_to_one_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> set[int]:
        # NumPy's own: what else brings a BLAS into this process came after the limit was made
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        return {pool["num_threads"] for pool in pools if len(pools) == 1 or "numpy" in pool["filepath"]}

    rows: list[set[int]] = []
    blocks = resample._weight_blocks

    def observed(*arguments: Any) -> object:
        rows.append(threads())
        return blocks(*arguments)

    monkeypatch.setattr(resample, "_weight_blocks", observed)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        resize_bilinear(np.zeros((64, 48, 3), np.uint8), (20, 30), antialias=True)
        assert threads() == before
    assert rows == [{1}, {1}]
