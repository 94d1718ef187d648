"""The mask of an output, whatever its form: axes, channels, dtypes, activations and ranges; and what is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nss.errors import ModelUnavailableError
from nss.interfaces.interface import EdgeSize, FixedSize, Interface, complete
from nss.removal.mask_output import fault, mask_of, missing

RNG = np.random.default_rng(0)
MASK = RNG.random((12, 20)).astype(np.float32)
SIZE = FixedSize(48, 80)


def interface(**changes: Any) -> Interface:
    return replace(complete({"input": "x", "output": "y", "size": SIZE}), **changes)


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "shape", [(12, 20), (1, 12, 20), (12, 20, 1), (1, 1, 12, 20), (1, 12, 20, 1), (1, 1, 1, 12, 20)], ids=str
)
def test_one_channel_in_any_axes(shape: tuple[int, ...], layout: str) -> None:
    for channel in (0, -1):
        mask = mask_of(MASK.reshape(shape), interface(layout=layout, channel=channel))
        assert mask.dtype == np.float32
        assert np.array_equal(mask, MASK)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [SIZE, EdgeSize("longest", 80)], ids=str)
@pytest.mark.parametrize("batch", [True, False])
def test_several_channels_first_or_last(layout: str, size: Any, batch: bool) -> None:
    channels = RNG.random((3, 12, 20)).astype(np.float32)
    for array in (channels, np.moveaxis(channels, 0, 2)):  # whatever the input's layout: their number says it
        for channel in (0, 1, 2, -1, -3):
            out = array[None] if batch else array
            assert np.array_equal(mask_of(out, interface(layout=layout, size=size, channel=channel)), channels[channel])


@pytest.mark.parametrize(("layout", "axis"), [("NCHW", 0), ("NHWC", 2)])
def test_the_layout_decides_where_sizes_do_not(layout: str, axis: int) -> None:
    cube = RNG.random((8, 8, 8)).astype(np.float32)
    wide = interface(layout=layout, size=FixedSize(8, 8), channel=5)
    assert np.array_equal(mask_of(cube[None], wide), cube.take(5, axis))
    # more channels than pixels a side: the input is square, and so is the mask
    tall = RNG.random((12, 8, 8)).astype(np.float32)
    assert np.array_equal(mask_of(tall, wide), tall[5])
    assert np.array_equal(mask_of(np.moveaxis(tall, 0, 2), wide), tall[5])


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, np.int32, np.int64])
def test_each_dtype(dtype: type) -> None:
    levels = RNG.integers(0, 256, (1, 1, 12, 20)).astype(dtype)
    mask = mask_of(levels, interface(range=255.0))
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask, levels[0, 0].astype(np.float64) / 255, rtol=1e-6)


def test_truth_values_are_a_mask() -> None:
    assert np.array_equal(mask_of(MASK > 0.5, interface()), (MASK > 0.5).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_a_map_of_classes_gives_the_class_that_channel_says(dtype: type) -> None:
    classes = RNG.integers(0, 21, (1, 12, 20)).astype(dtype)
    for channel in (1, 15):
        assert np.array_equal(mask_of(classes, interface(channel=channel)), classes[0] == channel)
    both = (classes > 10).astype(dtype)  # background and foreground: class 1, said or not
    for channel in (0, 1, -1):
        assert np.array_equal(mask_of(both, interface(channel=channel)), both[0])
    with pytest.raises(ModelUnavailableError, match=r"1 channel: there is no 7; .* by 'channel'"):
        mask_of(classes, interface(channel=7, range=255.0))  # levels, no classes


@pytest.mark.parametrize("axis", [0, 2])
def test_activations(axis: int) -> None:
    logits = RNG.normal(0, 20, (12, 20)).astype(np.float32)
    np.testing.assert_allclose(
        mask_of(logits, interface(activation="sigmoid")), 1 / (1 + np.exp(-logits.astype(np.float64))), atol=1e-6
    )
    channels = np.moveaxis(RNG.normal(0, 5, (4, 12, 20)).astype(np.float32), 0, axis)
    channels_first = np.moveaxis(softmax(channels, axis), axis, 0)
    for channel in (0, 3, -2):
        mask = mask_of(channels[None], interface(activation="softmax", channel=channel))
        np.testing.assert_allclose(mask, channels_first[channel], atol=1e-6)
    extreme = np.array([[[1e30] * 2] * 2, [[-1e30] * 2] * 2], np.float32)
    assert (mask_of(extreme, interface(activation="softmax", size=FixedSize(2, 2))) == 1).all()  # overflows nowhere
    assert np.array_equal(mask_of(MASK * 4, interface(range=4.0)), MASK)


@pytest.mark.parametrize(
    ("shape", "dtype", "changes", "why"),
    [
        ((1, 21, 64, 64), np.float32, {"channel": 21}, "21 channels, 0 to 20: there is no 21; say .* by 'channel'"),
        (
            (1, 21, 64, 64),
            np.float32,
            {"channel": -22},
            "there is no -22; say which one is .* by 'channel'",
        ),
        ((1, 1, 64, 64), np.float32, {"channel": 1}, "1 channel: there is no 1; say which one is .* by 'channel'"),
        ((64, 64), np.bool_, {"channel": 2}, "1 channel: there is no 2; say which one is .* by 'channel'"),
        ((1, 1, 64, 64), np.float32, {"activation": "softmax"}, "softmax over one channel .* by 'activation'"),
        ((2, 1, 64, 64), np.float32, {}, "2 masks and not one; say by 'output'"),
        ((1, 1000), np.float32, {}, "not one mask of the photo's height and width; say by 'output'"),
        ((1, 1, 64, 16), np.float32, {}, "not one mask of the photo's height and width; say by 'output'"),
        ((1, 4096, 2), np.float32, {}, "not one mask of the photo's height and width; say by 'output'"),
        ((1, 0, 64, 64), np.float32, {}, "not one mask of the photo's height and width; say by 'output'"),
        ((), np.float32, {}, "not one mask of height and width; say by 'output'"),
        ((1, 2, 3, 64, 64), np.float32, {}, "2 masks|not one mask"),
        ((64, 64), np.complex64, {}, "no numbers; say by 'output'"),
    ],
)
def test_what_is_no_mask_is_refused_by_the_key_that_settles_it(
    shape: tuple[int, ...], dtype: type, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ModelUnavailableError, match=f"the model gives y of .*{why}"):
        mask_of(np.zeros(shape, dtype), interface(size=FixedSize(64, 64), **changes))


def test_several_channels_without_a_word_on_them() -> None:
    message = fault(
        (1, 21, 64, 64), np.dtype("f"), interface(size=FixedSize(64, 64), output=0), name="y", channel_is_known=False
    )
    assert message == "gives y of float32[1, 21, 64, 64], 21 channels: say which one is the foreground by 'channel'"
    assert fault((1, 1, 12, 20), np.dtype("f"), interface(), channel_is_known=False) is None


def test_an_output_that_is_not_in_the_file() -> None:
    assert missing(["a", "b"], interface(output="b")) is None
    assert missing(["a", "b"], interface(output=1)) is None
    why = "it has 0 a, 1 b: say which one is the mask by 'output'"
    assert missing(["a", "b"], interface(output="c")) == f'has no output "c", {why}'
    assert missing(["a", "b"], interface(output=2)) == f"has no output 2, {why}"
    assert missing(["a", "b"], interface(output=-1)) == f"has no output -1, {why}"
