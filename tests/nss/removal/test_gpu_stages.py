"""What the GPU is told of a photo and its mask, against NumPy's own stages: by the tables, without a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

import engine
from nss.arrays.filters import Filter
from nss.errors import ImageError
from nss.interfaces.interface import Channels, EdgeSize, FixedSize, Interface, complete
from nss.masks.refine import Refinement
from nss.photos import image_io
from nss.photos.image_io import Photo
from nss.removal import gpu_stages, preprocess
from nss.removal.gpu_stages import NotOnGpuError


def photo_of(height: int, width: int, *, alpha: bool = False) -> Photo:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 4 if alpha else 3), np.uint8)
    return image_io.load(pixels, "noise")


def interface_of(**settings: Any) -> Interface:
    return complete({"input": "x", "output": 0, "size": FixedSize(32, 24), **settings})


def matrix(lines: engine.LineWeights) -> np.ndarray:
    """A table as a matrix, float64."""
    result = np.zeros((lines.length, lines.source))
    for row, begin, count, weights in zip(result, lines.first, lines.counts, lines.weights, strict=True):
        row[begin : begin + count] = weights[:count]
    return result


def made(source: engine.PixelInput) -> np.ndarray:
    """The input that the data describe, in float64."""
    resampled = np.einsum("ih,jw,hwk->ijk", matrix(source.rows), matrix(source.columns), source.pixels, optimize=True)
    image = resampled @ np.array(source.matrix).T + np.array(source.offset)
    return (image.transpose(2, 0, 1) if source.layout == "NCHW" else image)[None]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", get_args(Channels))
def test_channels(channels: Channels, layout: str) -> None:
    numbers = {"RGB": 3, "BGR": 3, "RGBA": 4, "grey": 1}[channels]
    mean, std = (0.485, 0.456, 0.406, 0.5)[:numbers], (0.229, 0.224, 0.225, 0.9)[:numbers]
    interface = interface_of(channels=channels, layout=layout, mean=mean, std=std)
    photo = photo_of(50, 61)
    source = gpu_stages.pixel_input(photo, interface)
    expected = preprocess.prepare(photo.rgb, interface)
    assert source.shape == expected.shape
    np.testing.assert_allclose(made(source), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", get_args(Filter))
@pytest.mark.parametrize("size", [(50, 61), (1, 1), (9, 200), (32, 24), (20, 4500), (5001, 7)])
def test_filters_and_photos_that_are_first_reduced(method: Filter, size: tuple[int, int]) -> None:
    photo, interface = photo_of(*size), interface_of(filter=method, mean=(0.0,), std=(1.0,))
    source = gpu_stages.pixel_input(photo, interface)
    np.testing.assert_allclose(made(source), preprocess.prepare(photo.rgb, interface), rtol=0, atol=2e-6)


def test_a_size_that_follows_the_photo() -> None:
    interface = interface_of(size=EdgeSize("longest", 40, 8))
    photo = photo_of(90, 120)
    assert gpu_stages.pixel_input(photo, interface).shape == (1, 3, 32, 40)
    with pytest.raises(ImageError, match="too large"):
        gpu_stages.pixel_input(photo_of(1, 4000), interface_of(size=EdgeSize("shortest", 3000)))


def test_a_transparent_photo_is_laid_over_a_backdrop() -> None:
    photo, interface = photo_of(40, 50, alpha=True), interface_of()
    expected = preprocess.prepare(photo.rgb, interface, photo.alpha)
    np.testing.assert_allclose(made(gpu_stages.pixel_input(photo, interface)), expected, rtol=0, atol=1e-5)
    with pytest.raises(NotOnGpuError, match="transparency"):
        gpu_stages.pixel_input(photo, interface_of(channels="RGBA"))


def test_tables_are_the_same_objects_for_photos_of_one_size() -> None:
    # the engine keeps what it makes of them
    one, two = (gpu_stages.pixel_input(photo_of(50, 61), interface_of()) for _ in range(2))
    assert one.rows is two.rows
    assert one.columns is two.columns
    refinement = Refinement(smooth=2, feather=1, expand=1.5)
    output = engine.TensorInfo("y", np.dtype(np.float32), (1, 1, 32, 24))
    masks = [gpu_stages.mask_output(photo_of(50, 61), interface_of(), output, replace(refinement), 8) for _ in range(2)]
    assert masks[0].rows is masks[1].rows
    assert masks[0].smoothing is masks[1].smoothing
    assert masks[0].dilation is masks[1].dilation


@pytest.mark.parametrize(
    ("settings", "shape", "dtype", "expected"),
    [
        ({}, (1, 1, 32, 24), "float32", (1, 0, False, "none")),
        ({"activation": "sigmoid"}, (32, 24), "float16", (1, 0, False, "sigmoid")),
        ({"activation": "softmax", "channel": 1}, (1, 2, 32, 24), "float32", (2, 1, False, "softmax")),
        ({"channel": -1, "layout": "NHWC"}, (1, 32, 24, 3), "float32", (3, 2, True, "none")),
        ({"channel": 15}, (1, 32, 24), "int64", (1, 15, False, "equal")),
        ({"channel": 0, "range": 255.0}, (1, 32, 24), "uint8", (1, 0, False, "none")),
    ],
)
def test_outputs(settings: dict[str, Any], shape: tuple[int, ...], dtype: str, expected: tuple[Any, ...]) -> None:
    output = engine.TensorInfo("y", np.dtype(dtype), shape)
    mask = gpu_stages.mask_output(photo_of(70, 60), interface_of(**settings), output, None, 8)
    assert (mask.channels, mask.channel, mask.channels_last, mask.activation) == expected
    assert mask.size == (70, 60)
    assert (mask.rows.source, mask.columns.source) == (32, 24)
    assert mask.divisor == settings.get("range", 1.0)


@pytest.mark.parametrize(
    ("refinement", "why"),
    [
        (Refinement(guided=3), "guided"),
        (Refinement(drop_islands=9), "drop_islands"),
        (Refinement(fill_holes=9), "fill_holes"),
        (Refinement(black=0.5, white=0.5), "nearly one"),
        (Refinement(expand=-17), "16 pixels"),
        (Refinement(feather=1000), None),
        (Refinement(smooth=900), "too wide"),
    ],
)
def test_what_numpy_has_to_do(refinement: Refinement, why: str | None) -> None:
    output = engine.TensorInfo("y", np.dtype(np.float32), (1, 1, 32, 24))
    if why is None:
        gpu_stages.mask_output(photo_of(70, 60), interface_of(), output, refinement, 8)
        return
    with pytest.raises(NotOnGpuError, match=why):
        gpu_stages.mask_output(photo_of(70, 60), interface_of(), output, refinement, 8)


def test_a_photo_with_alpha_has_its_mask_from_numpy() -> None:
    output = engine.TensorInfo("y", np.dtype(np.float32), (1, 1, 32, 24))
    with pytest.raises(NotOnGpuError, match="alpha of its own"):
        gpu_stages.mask_output(photo_of(70, 60, alpha=True), interface_of(), output, None, 8)
