"""Arrays of every layout and number type that programs have are photos, and masks."""

from __future__ import annotations

import numpy as np
import pytest

from nss.errors import ImageError
from nss.photos import image_io, pixel_arrays

TYPES = ("uint8", "uint16", ">u2", "float16", "float32", "float64")
FLOATS = ("float16", "float32", "float64")


def as_type(levels: np.ndarray, dtype: str) -> np.ndarray:
    """The levels of uint8 in another number type."""
    kind = np.dtype(dtype)
    if kind == np.uint8:
        return levels
    return (levels.astype(np.uint32) * 257).astype(kind) if kind.kind == "u" else (levels / 255).astype(kind)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_each_type_and_layout_gives_the_same_photo_without_a_note(dtype: str, channels: int | None) -> None:
    levels = np.random.default_rng(3).integers(0, 256, (7, 256, channels or 1)).astype(np.uint8)
    levels[0, :, 0] = np.arange(256)  # each of them
    array = as_type(levels if channels else levels[..., 0], dtype)
    before = array.copy()
    array.flags.writeable = False
    photo = image_io.load(array)
    assert np.array_equal(photo.rgb, levels[..., :3] if levels.shape[2] >= 3 else np.repeat(levels, 3, axis=2))
    assert (photo.alpha is None) == (channels != 4)
    if photo.alpha is not None:
        assert np.array_equal(photo.alpha, levels[..., 3])
    assert (photo.notes, photo.format) == ((), "array")
    assert np.array_equal(array, before)


@pytest.mark.parametrize("dtype", TYPES)
def test_any_layout_of_memory(dtype: str, rgb: np.ndarray) -> None:
    array = as_type(rgb, dtype)
    for view, expected in (
        (array[::-1, ::2], rgb[::-1, ::2]),
        (np.asfortranarray(array), rgb),
        (array[..., ::-1], rgb[..., ::-1]),
    ):
        result = image_io.load(view).rgb
        assert np.array_equal(result, expected)
        assert result.flags.c_contiguous


@pytest.mark.parametrize(
    ("samples", "level", "note"),
    [
        (np.uint16(257 * 9 + 1), 9, "16-bit reduced to 8"),
        (np.uint16(257 * 9 + 128), 9, "16-bit reduced to 8"),
        (np.uint16(257 * 9 + 129), 10, "16-bit reduced to 8"),
        (np.float32(9.4 / 255), 9, "float reduced to 8 bits"),
        (np.float64(9.6 / 255), 10, "float reduced to 8 bits"),
        (np.float16(0.5), 128, "float reduced to 8 bits"),
    ],
)
def test_samples_between_two_levels_are_rounded_and_that_is_noted(samples: np.generic, level: int, note: str) -> None:
    photo = image_io.load(np.full((2, 3), samples))
    assert (photo.rgb == level).all()
    assert photo.notes == (note,)


def test_large_arrays_go_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_arrays, "_STRIP", 10)
    levels = np.random.default_rng(1).integers(0, 256, (9, 5, 3)).astype(np.uint8)
    assert np.array_equal(image_io.load(levels / 255).rgb, levels)
    last = levels / 255
    last[8, 4, 2] += 0.5 / 255 if levels[8, 4, 2] < 255 else -0.5 / 255
    assert image_io.load(last).notes == ("float reduced to 8 bits",)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [1.5, -0.25, np.inf])
def test_floating_point_beyond_0_to_1_is_refused_in_words(dtype: str, bad: float) -> None:
    array = np.zeros((3, 4, 3), dtype)
    array[1, 2, 0] = bad
    with pytest.raises(ImageError, match=r"<array>: its samples go from .* in 0\.\.1.* uint8 in 0\.\.255"):
        image_io.load(array)
    with pytest.raises(ImageError, match=r"its samples go from"):
        image_io.load_mask(array[..., 0])


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_sample_that_is_no_number_is_called_that(dtype: str) -> None:
    array = np.zeros((3, 4, 3), dtype)
    array[1, 2, 0] = np.nan
    with pytest.raises(ImageError, match="<array>: holds NaN"):
        image_io.load(array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), bool),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), np.int8),
        np.zeros((4, 4), object),
        np.zeros((4, 4), complex),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_what_is_no_photo_is_refused_by_type_and_shape(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"cannot read an image from an array of .*: give HxW, HxWx1, HxWx3"):
        image_io.load(array)


@pytest.mark.parametrize("dtype", [*TYPES, "bool"])
@pytest.mark.parametrize("layout", [(5, 6), (5, 6, 1)])
def test_masks_of_each_type(dtype: str, layout: tuple[int, ...]) -> None:
    levels = (np.arange(30).reshape(5, 6) % 2 * 255).astype(np.uint8)
    array = (levels > 0 if dtype == "bool" else as_type(levels, dtype)).reshape(layout)
    mask = image_io.load_mask(array)
    assert mask.dtype == np.float32
    assert np.array_equal(mask, levels / np.float32(255))


@pytest.mark.parametrize("array", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int32)])
def test_what_is_no_mask_is_refused_by_type_and_shape(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="cannot read a mask from an array of"):
        image_io.load_mask(array)
