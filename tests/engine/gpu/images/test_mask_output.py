"""A network's output → a mask in whole numbers, against NumPy in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.caps import PORTABLE_LIMITS
from engine.compiled.model import TensorPlace
from engine.errors import InputError
from engine.gpu.device.capabilities import caps_of
from engine.gpu.images.stage import Stage, input_stage, output_stage
from engine.images import Dilation, MaskOutput, Smoothing
from tests.engine.gpu.gpu import device
from tests.engine.gpu.images.stages import (
    image_stages,
    mask_output,
    pixel_input,
    resized,
    rounded,
    run_output,
    soft_disc,
    triangle,
)
from tests.engine.gpu.plans import assert_within_limits

SIZES = {
    "enlarged": ((32, 40), (75, 93)),
    "odd": ((16, 16), (37, 41)),
    "reduced": ((64, 64), (33, 21)),
    "one axis of each": ((40, 30), (11, 131)),
    "as it is": ((24, 25), (24, 25)),
    "one pixel": ((30, 31), (1, 1)),
    "one line": ((30, 31), (1, 50)),
    "one column": ((30, 31), (50, 1)),
}


def gaussian(sigma: float) -> tuple[float, ...]:
    """Half of a kernel, from its middle outwards."""
    half = np.exp(-0.5 * (np.arange(math.ceil(4 * sigma) + 1) / sigma) ** 2)
    return tuple(float(np.float32(weight)) for weight in half / (2 * half.sum() - half[0]))


def blurred(plane: np.ndarray, half: tuple[float, ...]) -> np.ndarray:
    kernel, reach = np.array([*half[:0:-1], *half]), len(half) - 1
    for axis in (0, 1):
        padding = [(reach, reach) if each == axis else (0, 0) for each in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, padding, "edge"), len(kernel), axis)
        plane = windows @ kernel
    return plane


def smoothed(plane: np.ndarray, smoothing: Smoothing) -> np.ndarray:
    smooth = np.clip(blurred(plane, smoothing.blur), 0, 1)  # the sum of the weights is rounded
    before, after = (blurred(x - x * x, smoothing.around) for x in (plane, smooth))
    ratio = np.clip(np.divide(before, after, out=np.ones_like(after), where=after > 0), smoothing.sharpest, 1)
    with np.errstate(divide="ignore", over="ignore"):
        odds = (1 - smooth) / smooth
        return np.asarray(1 / (1 + odds ** ((1.0743 - 0.0743 * ratio**2) / ratio)))


def dilated(plane: np.ndarray, points: tuple[tuple[float, float], ...]) -> np.ndarray:
    (height, width), result = plane.shape, plane.copy()
    for row, column in np.ndindex(plane.shape):
        for down, right in points:
            y, x = row + down, column + right
            if y < 0 or x < 0 or y > height - 1 or x > width - 1:
                continue
            top, left = int(y), int(x)
            bottom, end = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = plane[top, left] + (plane[top, end] - plane[top, left]) * (x - left)
            lower = plane[bottom, left] + (plane[bottom, end] - plane[bottom, left]) * (x - left)
            result[row, column] = max(result[row, column], upper + (lower - upper) * (y - top))
    return result


RING = tuple((2.5 * math.sin(angle), 2.5 * math.cos(angle)) for angle in np.arange(0, 2 * math.pi, 0.3))
DISC = (*RING, *((float(y), float(x)) for y in range(-2, 3) for x in range(-2, 3) if x * x + y * y <= 6), (0.0, 2.5))
SMOOTHING = Smoothing(gaussian(1.5), gaussian(4.5), 0.2)

STEPS: dict[str, dict[str, Any]] = {
    "levels": {"levels": (0.1, 0.8)},
    "smoothing": {"smoothing": SMOOTHING},
    "dilation": {"dilation": Dilation(DISC)},
    "erosion": {"dilation": Dilation(DISC, complement=True)},
    "blur": {"blur": gaussian(2.0)},
    "a blur wider than the mask": {"blur": gaussian(12.0)},
    "all": {"levels": (0.05, 0.9), "smoothing": SMOOTHING, "dilation": Dilation(DISC), "blur": gaussian(0.8)},
}


def expected(mask: MaskOutput, plane: np.ndarray) -> np.ndarray:
    """The result in 0..1, float64, of a plane of the network's size."""
    result = resized(mask, plane)
    if mask.levels:
        black, white = mask.levels
        result = np.clip((result - black) / (white - black), 0, 1)
    if mask.smoothing:
        result = smoothed(result, mask.smoothing)
    if mask.dilation:
        sign = 1 if mask.dilation.complement else 0
        result = np.abs(sign - dilated(np.abs(sign - result), mask.dilation.points))
    return blurred(result, mask.blur) if mask.blur else result


def check(mask: MaskOutput, output: np.ndarray, plane: np.ndarray, storage: str = "f32", **limits: int) -> None:
    """Held to 1/255 in 8 bits, and to 1e-4 in 16."""
    for bits in (8, 16):
        numbers = run_output(replace(mask, bits=bits), output, storage, **limits)
        away = np.abs(numbers - expected(mask, plane) * (2**bits - 1))
        assert away.max() <= (0.51 if bits == 8 else 6.5), bits


@pytest.mark.parametrize("name", SIZES)
def test_a_mask_is_resized(name: str) -> None:
    source, size = SIZES[name]
    plane = soft_disc(*source)
    mask = mask_output(source, size)
    check(mask, plane[None, None], plane)
    assert (run_output(mask, plane[None, None]) == rounded(resized(mask, plane), 8)).mean() > 0.999


@pytest.mark.parametrize("size", [(43, 37), (1, 29), (26, 2)], ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_a_mask_is_refined(name: str, size: tuple[int, int]) -> None:
    plane = soft_disc(20, 18)
    check(mask_output(plane.shape, size, **STEPS[name]), plane[None, None], plane)


@pytest.mark.parametrize("name", STEPS)
def test_a_mask_larger_than_a_binding_comes_in_bands(name: str) -> None:
    plane = soft_disc(20, 18)
    mask = mask_output(plane.shape, (203, 31), **STEPS[name])
    # 31 pixels of float32 a line: the widest step looks 48 lines up and down
    limit = {"max_storage_buffer_binding_size": 124 * 150}
    stage = _stage(mask, max_storage_buffer_binding_size=124 * 150)
    sources = [stage.programs[command.program].kernel for command in stage.commands]
    assert name == "levels" or len(sources) > len(set(sources)) + 1
    assert max(binding.size for command in stage.commands for binding in command.bindings) <= 124 * 150
    assert (run_output(mask, plane[None, None]) == run_output(mask, plane[None, None], **limit)).all()


def test_constant_masks_stay_exact() -> None:
    for value in (0.0, 1.0):
        plane = np.full((20, 18), value, np.float32)
        for settings in STEPS.values():
            for bits in (8, 16):
                numbers = run_output(mask_output((20, 18), (41, 33), bits=bits, **settings), plane[None, None])
                assert (numbers == value * (2**bits - 1)).all()


def logits(channels: int) -> np.ndarray:
    """float32 CxHxW."""
    rng = np.random.default_rng(1)
    return rng.normal(0, 3, (channels, 21, 23)).astype(np.float32)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
@pytest.mark.parametrize(("channels", "channel"), [(1, 0), (2, 1), (5, 2)])
def test_activations(activation: str, channels: int, channel: int, last: bool) -> None:
    values = logits(channels)
    plane = values[channel]
    if activation == "sigmoid":
        plane = 1 / (1 + np.exp(-plane))
    elif activation == "softmax":
        plane = (np.exp(values) / np.exp(values).sum(axis=0))[channel]
    settings = {"channels": channels, "channel": channel, "channels_last": last, "activation": activation}
    output = (np.moveaxis(values, 0, -1) if last else values)[None]
    check(mask_output(plane.shape, (30, 31), **settings), output, plane)


def test_logits_beyond_what_exp_holds() -> None:
    values = np.array([-1e4, -200, -50, 0, 50, 200, 1e4, 3e38], np.float32).reshape(1, 1, 2, 4)
    mask = mask_output((2, 4), (2, 4), activation="sigmoid", bits=16)
    assert run_output(mask, values).ravel().tolist() == [0, 0, 0, 32768, 65535, 65535, 65535, 65535]
    pair = np.concatenate([values, -values], axis=1)
    both = replace(mask, channels=2, activation="softmax")
    assert run_output(both, pair).ravel().tolist() == [0, 0, 0, 32768, 65535, 65535, 65535, 65535]


def test_a_divisor() -> None:
    plane = soft_disc(20, 18)
    check(mask_output(plane.shape, (33, 35), divisor=255.0), plane[None, None] * 255, plane)


def test_numbers_of_classes() -> None:
    classes = np.random.default_rng(0).integers(0, 4, (1, 20, 22)).astype(np.int32)
    mask = mask_output((20, 22), (31, 40), activation="equal", channel=2)
    check(mask, classes, (classes[0] == 2).astype(np.float32), "i32")
    check(replace(mask, activation="none", channel=0, divisor=3.0), classes, classes[0] / np.float32(3), "i32")


def test_half_precision() -> None:
    if not caps_of(device().adapter).f16:
        pytest.skip(f"{device().adapter} has no float16: ITS STORAGE IS NOT TESTED")
    plane = soft_disc(21, 19).astype(np.float16)  # an odd number of values
    check(mask_output(plane.shape, (50, 43)), plane[None, None], plane.astype(np.float32), "f16")


def test_stages_share_memory_with_what_comes_before() -> None:
    stages = image_stages()
    try:
        plane = soft_disc(20, 18)
        for settings in (STEPS["all"], {}, STEPS["blur"]):
            for size in ((30, 31), (62, 40)):
                mask = mask_output(plane.shape, size, **settings)
                numbers = run_output(mask, plane[None, None], stages=stages)
                assert np.abs(numbers - expected(mask, plane) * 255).max() <= 0.51
    finally:
        stages.close()


def _stage(mask: MaskOutput, storage: str = "f32", **limits: int) -> Stage:
    shape = (1, mask.channels, mask.rows.source, mask.columns.source)
    bounds = PORTABLE_LIMITS | {name.replace("_", "-"): limit for name, limit in limits.items()}
    return output_stage(mask, TensorPlace("y", "float32", shape, storage, 0, 0), bounds)


def test_every_kernel_keeps_the_limits_of_webgpu() -> None:
    stages = [_stage(mask_output((20, 18), (30, 31), **settings)) for settings in STEPS.values()]
    stages += [_stage(mask_output((20, 18), (30, 31), channels=2, activation=name)) for name in ("sigmoid", "softmax")]
    source = pixel_input(9, 9, 8, 8)
    stages.append(input_stage(source, TensorPlace("x", "float32", source.shape, "f32", 0, 0), PORTABLE_LIMITS))
    programs = {program.wgsl: program.kernel for stage in stages for program in stage.programs}
    for source_text, kernel in programs.items():
        assert_within_limits(source_text, kernel)
        assert "f16" not in source_text.replace("2x16", "")
    assert {kernel.partition("/")[2] for kernel in programs.values()} == {
        *("network_input", "mask_plane", "enlarge", "blur", "sharpen", "dilate")
    }


def test_sizes_share_programs() -> None:
    small, large = (_stage(mask_output((20, 18), size, **STEPS["all"])) for size in ((30, 31), (300, 200)))
    assert {program.wgsl for program in small.programs} == {program.wgsl for program in large.programs}


def test_a_photo_of_44_megapixels_is_planned_within_what_every_adapter_has() -> None:
    mask = MaskOutput(triangle(64, 5440), triangle(64, 8160), blur=gaussian(3.0))
    stage = _stage(mask)
    assert max(binding.size for command in stage.commands for binding in command.bindings) <= 128 << 20
    assert max(max(command.grid) for command in stage.commands) <= 65535


def test_what_does_not_fit_is_refused() -> None:
    mask = mask_output((20, 18), (30, 31))
    with pytest.raises(InputError, match=r"is \[1, 1, 20, 18\].*2 channel"):
        output_stage(replace(mask, channels=2), TensorPlace("y", "float32", (1, 1, 20, 18), "f32", 0, 0), {})
    with pytest.raises(InputError, match="numbers of classes"):
        _stage(replace(mask, activation="equal"))
    with pytest.raises(InputError, match="none is 1"):
        replace(mask, channel=1)
    with pytest.raises(InputError, match="black"):
        replace(mask, levels=(0.5, 0.5))
    with pytest.raises(InputError, match="weights"):
        replace(mask, blur=())
