"""Pixels → a network's input, against whole matrices in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.caps import PORTABLE_LIMITS
from engine.errors import InputError, TooLargeError
from engine.gpu.device.capabilities import caps_of
from engine.gpu.images import stage
from engine.images import LineWeights, PixelInput
from tests.engine.gpu.gpu import device
from tests.engine.gpu.images.stages import expected_input, image_stages, padded, pixel_input, run_input, triangle

SIZES = {
    "reduced": ((37, 53), (16, 20)),
    "enlarged": ((9, 7), (33, 40)),
    "one axis of each": ((200, 3), (17, 31)),
    "as it is": ((21, 19), (21, 19)),
    "one pixel": ((1, 1), (5, 4)),
    "to one pixel": ((31, 45), (1, 1)),
    "more than a tile of pixels": ((90, 130), (65, 66)),
}


@pytest.mark.parametrize("name", SIZES)
def test_pixels_are_resampled(name: str) -> None:
    source = pixel_input(*SIZES[name][0], *SIZES[name][1])
    np.testing.assert_allclose(run_input(source), expected_input(source), rtol=0, atol=2e-4)  # of 255


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "channels",
    [
        (((0.02, 0, 0), (0, 0.017, 0), (0, 0, 0.018)), (-2.0, -1.9, -1.8)),
        (((0, 0, 1), (0, 1, 0), (1, 0, 0)), (0.0, 0.0, 0.0)),
        (((0.299, 0.587, 0.114),), (0.5,)),
        (((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)), (0, 0, 0, 255.0)),
    ],
    ids=["normalised", "BGR", "grey", "RGBA"],
)
def test_channels_and_layouts(
    layout: str, channels: tuple[tuple[tuple[float, float, float], ...], tuple[float, ...]]
) -> None:
    source = pixel_input(30, 41, 12, 18, matrix=channels[0], offset=channels[1], layout=layout)
    np.testing.assert_allclose(run_input(source), expected_input(source), rtol=0, atol=2e-4)


@pytest.mark.parametrize("storage", ["u32", "i32"])
def test_whole_numbers_are_rounded_and_held(storage: str) -> None:
    source = pixel_input(20, 24, 20, 24, matrix=((1.5, 0, 0), (0, 1, 0), (0, 0, 1)), offset=(-20.0, 0.25, 0.0))
    expected = np.clip(np.rint(expected_input(source)), 0, 255)
    assert (run_input(source, "uint8", storage) == expected).all()


def test_half_precision() -> None:
    source = pixel_input(20, 25, 11, 13, matrix=((0.01, 0, 0), (0, 0.02, 0), (0, 0, 0.03)), offset=(-1.0, 0.0, 0.5))
    expected = expected_input(source)
    # the type of the input, and stored in float32
    widened = run_input(source, "float16", "f32")
    assert (widened == widened.astype(np.float16)).all()
    np.testing.assert_allclose(widened, expected.astype(np.float16).astype(np.float32), rtol=1e-3, atol=1e-7)
    tiny = pixel_input(20, 25, 20, 25, matrix=((1e-8, 0, 0), (0, 1e-6, 0), (0, 0, 1.0)), offset=(-1e-6, 0.0, 0.0))
    exact = expected_input(tiny).astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(run_input(tiny, "float16", "f32"), exact, rtol=0, atol=2**-24)
    if not caps_of(device().adapter).f16:
        pytest.skip(f"{device().adapter} has no float16: ITS STORAGE IS NOT TESTED")
    np.testing.assert_allclose(run_input(source, "float32", "f16"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("layout", "limit", "bands"), [("NHWC", 8192, 4), ("NCHW", 12288, 3)])
def test_a_picture_larger_than_a_binding_comes_in_bands(layout: str, limit: int, bands: int) -> None:
    # the input itself is one binding where its channels are planes
    source = pixel_input(150, 61, 40, 23, layout=layout)
    limits = {**PORTABLE_LIMITS, "max-storage-buffer-binding-size": limit}
    data = stage.input_stage(source, _place(source), limits)
    assert len(data.commands) >= bands
    assert max(binding.size for command in data.commands for binding in command.bindings) <= limit
    whole, parts = run_input(source), run_input(source, max_storage_buffer_binding_size=limit)
    assert (whole == parts).all()
    np.testing.assert_allclose(whole, expected_input(source), rtol=0, atol=2e-4)


def test_an_input_without_the_axis_of_the_batch() -> None:
    source = pixel_input(20, 21, 8, 9)
    limits = caps_of(device().adapter).limits
    with_batch, without = (
        stage.input_stage(source, replace(_place(source), shape=shape), limits) for shape in ((1, 3, 8, 9), (3, 8, 9))
    )
    assert with_batch.uniforms == without.uniforms
    with pytest.raises(InputError, match="make"):
        stage.input_stage(source, replace(_place(source), shape=(2, 3, 8, 9)), limits)


def test_sizes_share_programs() -> None:
    limits = caps_of(device().adapter).limits
    sources = [pixel_input(30, 40, 8, 8), pixel_input(7, 300, 20, 10)]
    programs = [stage.input_stage(source, _place(source), limits).programs for source in sources]
    assert programs[0] == programs[1]


def test_memory_is_shared_by_sizes_and_grows() -> None:
    own = image_stages()
    try:
        small, large = pixel_input(10, 11, 8, 8), pixel_input(60, 70, 8, 9)
        first = run_input(small, stages=own)
        np.testing.assert_allclose(run_input(large, stages=own), expected_input(large), rtol=0, atol=2e-4)
        size = own.nbytes
        assert (run_input(small, stages=own) == first).all()
        assert own.nbytes == size >= padded(large.pixels).size
        for width in range(20, 40):  # more than are kept
            run_input(pixel_input(10, width, 4, 4), stages=own)
        assert (run_input(small, stages=own) == first).all()
    finally:
        own.close()


def test_other_pixels_of_one_size() -> None:
    own = image_stages()
    try:
        source = pixel_input(13, 17, 8, 8)
        other = replace(source, pixels=255 - source.pixels)
        for each in (source, other, source):
            np.testing.assert_allclose(run_input(each, stages=own), expected_input(each), rtol=0, atol=2e-4)
    finally:
        own.close()


def test_what_does_not_fit_is_refused() -> None:
    source = pixel_input(10, 10, 4, 4)
    place = _place(source)
    limits = caps_of(device().adapter).limits
    with pytest.raises(InputError, match=r"is \[1, 3, 4, 5\].*make \[1, 3, 4, 4\]"):
        stage.input_stage(source, replace(place, shape=(1, 3, 4, 5)), limits)
    with pytest.raises(InputError, match="is int64"):
        stage.input_stage(source, replace(place, dtype="int64"), limits)
    with pytest.raises(TooLargeError, match="buffer"):
        stage.input_stage(source, place, {**limits, "max-buffer-size": 256})
    with pytest.raises(InputError, match=r"uint8\[10, 10, 3\]"):
        replace(source, pixels=source.pixels[1:])
    with pytest.raises(InputError, match="beyond the 4 lines"):
        LineWeights(4, np.array([3], np.int32), np.array([2], np.int32), np.ones((1, 2), np.float32))
    with pytest.raises(InputError, match="1 to 4 channels"):
        PixelInput(source.pixels, source.rows, source.columns, (), ())


def test_what_would_hold_the_gpu_for_long_is_refused() -> None:
    source = pixel_input(40, 40, 20, 20)
    with pytest.raises(TooLargeError, match="operations for one picture"):
        stage.input_stage(source, _place(source), PORTABLE_LIMITS, 1000)


def test_a_table_knows_what_it_reads() -> None:
    lines = triangle(100, 10)
    assert lines.length == 10
    assert lines.span(0, 10) == (0, 100)
    assert lines.span(3, 3) == (0, 0)
    begin, end = lines.span(4, 5)
    assert begin <= 40 < 50 <= end < 70


def _place(source: PixelInput) -> stage.TensorPlace:
    return stage.TensorPlace("x", "float32", source.shape, "f32", 0, 0)
