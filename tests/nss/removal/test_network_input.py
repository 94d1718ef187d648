"""The network's input for every interface: its filters against Pillow's, layouts, dtypes, channels and numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import engine
from nss.arrays.resample import resize
from nss.errors import ImageError, UsageError
from nss.interfaces.interface import EdgeSize, Filter, FixedSize, Interface, complete
from nss.models import catalogue
from nss.removal import preprocess, visible
from nss.removal.preprocess import prepare

PILLOW: dict[Filter, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear-antialias": Image.Resampling.BILINEAR,
    "bicubic-antialias": Image.Resampling.BICUBIC,
    "lanczos-antialias": Image.Resampling.LANCZOS,
}
SIZES = [((37, 53), (20, 91)), ((1, 1), (8, 5)), ((1, 900), (32, 32)), ((640, 480), (32, 64)), ((12, 18), (141, 75))]
PHOTO = np.random.default_rng(2).integers(0, 256, (60, 45, 3), np.uint8)


def interface(**changes: Any) -> Interface:
    """RGB as it is, in float32 and at its own size, but for the changes."""
    plain = complete(
        {"input": "x", "output": "y", "size": FixedSize(60, 45), "scale": 1, "mean": (0.0,), "std": (1.0,)}
    )
    return replace(plain, **changes)


def pillow(x: np.ndarray, size: tuple[int, int], method: Filter) -> np.ndarray:
    return np.asarray(Image.fromarray(x).resize(size[::-1], PILLOW[method]))


@pytest.mark.parametrize("method", PILLOW)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_each_filter_is_pillows(method: Filter, shape: tuple[int, int], size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(100, 50, shape).astype(np.float32)
    expected = pillow(x, size, method)
    tolerance = 0 if method == "nearest" else 2e-6 * np.abs(x).max()
    assert np.abs(resize(x, size, method) - expected).max() <= tolerance


@settings(max_examples=100, deadline=None, derandomize=True)
@given(*[st.integers(1, 120)] * 4, st.sampled_from(list(PILLOW)))
def test_any_size_to_any_size_with_any_filter(height: int, width: int, h: int, w: int, method: Filter) -> None:
    x = np.random.default_rng(height * width).integers(0, 256, (height, width), np.uint8)
    expected = pillow(x.astype(np.float32), (h, w), method)
    assert np.abs(resize(x, (h, w), method) - expected).max() <= (0 if method == "nearest" else 1e-3)  # of 255


@pytest.mark.parametrize("name", ["u2netp", "rmbg-1.4", "rmbg-2.0"])
@pytest.mark.parametrize("shape", [(300, 451, 3), (40, 5000, 3)])
def test_the_known_models_get_every_bit_that_they_got_before(name: str, shape: tuple[int, int, int]) -> None:
    description = catalogue.CATALOGUE[name].interface
    photo = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    antialias, size = description["filter"] == "bilinear-antialias", description["size"].of(*shape[:2])
    mean, std = (np.asarray(values, np.float32) for values in (description["mean"], description["std"]))
    reduced = photo
    if shape[1] > 4096 and not antialias:
        reduced = before((round(shape[0] * 4096 / shape[1]), 4096), photo, antialias=True)
    image = before(size, reduced, antialias=antialias)
    image *= 1 / (255 * std)
    image -= mean / std
    assert np.array_equal(prepare(photo, complete(description)), image.transpose(2, 0, 1)[None])


def before(size: tuple[int, int], x: np.ndarray, *, antialias: bool) -> np.ndarray:
    """The bilinear resampler as it was when it was the only one."""

    def along(x: np.ndarray, axis: int, new: int) -> np.ndarray:
        old = x.shape[axis]
        if old == new:
            return x.astype(np.float32)
        out = np.empty((*x.shape[:axis], new, *x.shape[axis + 1 :]), np.float32)
        lines, result = (x, out) if axis == 0 else (np.swapaxes(x, 0, 1), np.swapaxes(out, 0, 1))
        scale = old / new
        support = max(scale, 1.0) if antialias else 1.0
        centre = (np.arange(new) + 0.5) * scale
        first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
        last = np.minimum((centre + support + 0.5).astype(np.int64), old)
        step = max(1, round(64 / scale)) if scale < 64 else 1
        for start in range(0, new, step):
            stop = min(start + step, new)
            taps = np.arange(first[start], last[stop - 1])
            weights = np.maximum(1 - np.abs(taps + 0.5 - centre[start:stop, None]) / support, 0)
            weights /= weights.sum(axis=1, keepdims=True)
            span: Any = slice(int(taps[0]), int(taps[-1]) + 1)
            has_weight = weights.any(axis=0)
            if not has_weight.all():
                span, weights = taps[has_weight], weights[:, has_weight]
            block = lines[span].astype(np.float32)
            product = weights.astype(np.float32) @ block.reshape(block.shape[0], -1)
            result[start:stop] = product.reshape(stop - start, *block.shape[1:])
        return out

    (height, width), (h, w) = x.shape[:2], size
    order = ((0, h), (1, w)) if h * width <= height * w else ((1, w), (0, h))
    with engine.single_threaded_blas():
        for axis, new in order:
            x = along(x, axis, new)
    return x


def test_layouts_and_channels() -> None:
    rgb = PHOTO.astype(np.float32)
    assert np.array_equal(prepare(PHOTO, interface()), rgb.transpose(2, 0, 1)[None])
    assert np.array_equal(prepare(PHOTO, interface(layout="NHWC")), rgb[None])
    assert np.array_equal(prepare(PHOTO, interface(layout="NHWC", channels="BGR")), rgb[None, ..., ::-1])
    grey = prepare(PHOTO, interface(channels="grey"))
    assert grey.shape == (1, 1, 60, 45)
    np.testing.assert_allclose(grey[0, 0], rgb @ [0.299, 0.587, 0.114], atol=1e-4)  # not rounded to whole levels
    for layout in ("NCHW", "NHWC"):
        for channels in ("RGB", "BGR", "RGBA", "grey"):
            assert prepare(PHOTO, interface(layout=layout, channels=channels)).flags.c_contiguous


def test_the_fourth_channel_is_the_photos_alpha_or_opaque() -> None:
    alpha = np.random.default_rng(4).integers(0, 256, PHOTO.shape[:2], np.uint8)
    as_rgba = interface(
        channels="RGBA", layout="NHWC", scale=1 / 255, mean=(0.0, 0.0, 0.0, 0.5), size=FixedSize(30, 20)
    )
    with_alpha, opaque = prepare(PHOTO, as_rgba, alpha), prepare(PHOTO, as_rgba)
    assert (opaque[..., 3] == 0.5).all()
    expected = pillow(alpha.astype(np.float32), (30, 20), "bilinear-antialias") / 255 - 0.5
    np.testing.assert_allclose(with_alpha[0, ..., 3], expected, atol=1e-6)
    result = prepare(visible.over_backdrop(PHOTO, alpha), as_rgba)
    assert np.array_equal(with_alpha[..., :3], result[..., :3])
    assert np.array_equal(prepare(PHOTO, as_rgba, np.full_like(alpha, 255))[..., :3], opaque[..., :3])


def test_dtypes() -> None:
    reference = prepare(PHOTO, interface(scale=1 / 255, mean=(0.5,), std=(0.5,)))
    half = prepare(PHOTO, interface(scale=1 / 255, mean=(0.5,), std=(0.5,), dtype="float16"))
    assert half.dtype == np.float16
    assert np.array_equal(half, reference.astype(np.float16))
    whole = prepare(PHOTO, interface(dtype="uint8", size=FixedSize(31, 22), filter="lanczos-antialias"))
    exact = prepare(PHOTO, interface(size=FixedSize(31, 22), filter="lanczos-antialias"))
    assert whole.dtype == np.uint8
    assert np.array_equal(whole, np.clip(np.rint(exact), 0, 255))
    result = prepare(PHOTO, interface(dtype="uint8", scale=2.0, mean=(100.0,)))
    assert np.array_equal(result, np.clip(PHOTO.transpose(2, 0, 1)[None] * 2.0 - 100, 0, 255))  # wraps nowhere


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_all_sense_give_an_input_all_the_same() -> None:
    for dtype in ("float32", "float16", "uint8"):
        for scale, std in ((1e300, 1e-300), (1e-300, 1e300), (1e30, 1.0)):
            assert prepare(PHOTO, interface(dtype=dtype, scale=scale, std=(std,), mean=(1e300,))).shape == (
                1,
                3,
                60,
                45,
            )


@pytest.mark.parametrize("mean", [(0.5,), (0.5, 0.4, 0.3)])
@pytest.mark.parametrize("std", [(2.0,), (0.2, 0.3, 0.4)])
@pytest.mark.parametrize("scale", [1.0, 1 / 255, 2 / 255])
def test_scale_mean_and_deviation(mean: tuple[float, ...], std: tuple[float, ...], scale: float) -> None:
    result = prepare(PHOTO, interface(scale=scale, mean=mean, std=std, layout="NHWC"))
    np.testing.assert_allclose(result[0], (PHOTO * scale - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (1.0, 2.0, 3.0, 4.0)}, "'mean' has 4 numbers, and the network's input is RGB: give one number, or 3"),
        ({"std": (1.0,) * 3, "channels": "RGBA"}, "'std' has 3 numbers, .* is RGBA: give one number, or 4"),
        ({"mean": (1.0,) * 3, "channels": "grey"}, "'mean' has 3 numbers, .* is grey: give one number$"),
    ],
)
def test_numbers_for_other_channels_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(PHOTO, interface(**changes))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (EdgeSize("shortest", 32, 16), (48, 32)),
        (EdgeSize("longest", 32), (32, 24)),
        (EdgeSize("longest", 64, 32), (64, 64)),
    ],
)
def test_the_photo_keeps_its_shape(size: EdgeSize, expected: tuple[int, int]) -> None:
    result = prepare(PHOTO, interface(size=size))
    assert result.shape == (1, 3, *expected)
    plane = pillow(np.ascontiguousarray(PHOTO[..., 0], np.float32), expected, "bilinear-antialias")
    np.testing.assert_allclose(result[0, 0], plane, atol=1e-3)


def test_a_photo_that_would_make_an_endless_input_is_refused_by_its_name() -> None:
    line = np.zeros((1, 2000, 3), np.uint8)
    with pytest.raises(
        ImageError, match=r"line\.png: 'size' shortest:512 makes an input of 1024000 x 512 of .* 2000 x 1"
    ):
        prepare(line, interface(size=EdgeSize("shortest", 512)), name="line.png")


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_without_antialias_a_large_photo_is_reduced_first(method: Filter) -> None:
    photo = np.zeros((16, 4 * preprocess.LONGEST_SIDE, 3), np.uint8)
    photo[:, ::2] = 255
    result = prepare(photo, interface(filter=method, size=FixedSize(16, 512)))
    assert np.abs(result - 127.5).max() <= 1  # grey everywhere
