"""The image kernels as data: run here from that data alone, as a page does, against NumPy and against nss."""

from __future__ import annotations

import json
import subprocess
import sys
from math import prod
from typing import Any

import numpy as np
import pytest

import engine
from engine.caps import PORTABLE_LIMITS
from engine.compiled.model import CompiledProgram
from engine.gpu.plan.limits import footprint
from engine.gpu.program.dispatch import fold_grid
from nss.cutouts import background, pixels
from nss.masks.photo_mask import PhotoMask
from nss.removal import visible
from tests.engine.gpu.gpu import device
from tests.engine.gpu.images.stages import padded, read

KERNELS = engine.image_kernels()["kernels"]


def kernel(name: str, **constants: Any) -> dict[str, Any]:
    """The kernel of that template with these constants."""
    (found,) = (
        entry
        for entry in KERNELS
        if entry["kernel"] == f"images/{name}" and constants.items() <= entry["constants"].items()
    )
    return dict(found)


def run(entry: dict[str, Any], arrays: dict[str, np.ndarray], rows: int, columns: int, **uniforms: int) -> np.ndarray:
    """What the last binding of a kernel holds after it ran over ``rows`` rows of ``columns`` items."""
    gpu = device()
    values = {"first": 0, "count": rows} | {f"base_{binding['name']}": 0 for binding in entry["bindings"]} | uniforms
    block = np.array([values[name] for name in entry["uniforms"]], np.int32)
    data = [np.concatenate([block, np.zeros(-block.size % 4, np.int32)])]
    data += [arrays[binding["name"]] for binding in entry["bindings"]]
    handles = []
    for usage, array in zip(["UNIFORM", *["STORAGE|COPY_SRC"] * len(arrays)], data, strict=True):
        content = padded(array)
        handles.append((gpu.buffer(max(content.size, 16), f"{usage}|COPY_DST", "test"), content.size))
        gpu.write(handles[-1][0], 0, content)
    try:
        pipeline = gpu.compile(CompiledProgram(entry["kernel"], entry["wgsl"], trusted=False), trusted=False).result()
        group = gpu.bind_group(pipeline, [(buffer, 0, max(size, 16)) for buffer, size in handles], "test")
        covers = entry["covers"]
        if len(covers) == 1:
            grid = fold_grid(-(-rows * columns // covers[0]), PORTABLE_LIMITS["max-compute-workgroups-per-dimension"])
        else:
            grid = -(-columns // covers[0]), -(-rows // covers[1]), 1
        encoder = gpu.handle.create_command_encoder()
        gpu.replay(encoder, [(pipeline, group, grid)])
        gpu.handle.queue.submit([encoder.finish()])
        return read(handles[-1][0], 0, data[-1].nbytes).view(data[-1].dtype)
    finally:
        gpu.free([buffer for buffer, _ in handles])


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 RGBA, a tenth of it with alpha 0 and a tenth with 255."""
    rng = np.random.default_rng(seed)
    rgba = rng.integers(0, 256, (height, width, 4), np.uint8)
    chance = rng.random((height, width))
    rgba[chance < 0.1, 3] = 0
    rgba[chance > 0.9, 3] = 255
    return rgba


def mask(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    values = rng.random((height, width), np.float32)
    return np.where(rng.random((height, width)) < 0.2, np.rint(values), values).astype(np.float32)


def words(rgba: np.ndarray) -> np.ndarray:
    return rgba.reshape(-1).view(np.uint32)


def test_two_processes_write_the_same() -> None:
    text = json.dumps(engine.image_kernels(), sort_keys=True)
    code = "import engine, json; print(json.dumps(engine.image_kernels(), sort_keys=True), end='')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other == text
    assert json.loads(text) == engine.image_kernels()  # plain JSON


def test_names_are_unique_and_limits_those_of_every_device() -> None:
    names = [(entry["kernel"], json.dumps(entry["constants"], sort_keys=True)) for entry in KERNELS]
    assert len(set(names)) == len(names) >= 30
    for entry in KERNELS:
        assert "enable" not in entry["wgsl"]
        usage = footprint(entry["wgsl"])
        assert usage.invocations <= PORTABLE_LIMITS["max-compute-invocations-per-workgroup"]
        assert usage.workgroup_bytes <= PORTABLE_LIMITS["max-compute-workgroup-storage-size"]
        assert len(entry["bindings"]) <= PORTABLE_LIMITS["max-storage-buffers-per-shader-stage"]
        for index, binding in enumerate(entry["bindings"], 1):
            declared = (
                f"@binding({index}) var<storage, {binding['access']}> {binding['name']}: array<{binding['item']}>;"
            )
            assert declared in entry["wgsl"]
        fields = entry["wgsl"].partition("struct Params {")[2].partition("}")[0].split(",")
        assert [field.split(":")[0].strip() for field in fields[:-1]] == entry["uniforms"]


def test_each_compiles() -> None:
    gpu = device()
    programs = [CompiledProgram(entry["kernel"], entry["wgsl"], trusted=False) for entry in KERNELS]
    for pending in [gpu.compile(program, trusted=False) for program in programs]:
        pending.result()


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (64, 301)])
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("hidden", ["keep", "zero"])
def test_a_cut_out_has_the_bytes_of_nss(size: tuple[int, int], invert: bool, hidden: str) -> None:
    rgba, plane = photo(*size), mask(*size)
    expected = pixels.rgba(rgba[..., :3], PhotoMask.of_array(plane), rgba[..., 3].copy(), invert=invert, hidden=hidden)
    found = run(
        kernel("compose", background=False),
        {"mask": plane, "y": words(rgba)},
        *size,
        width=size[1],
        opaque=0,
        invert=int(invert),
        zero=int(hidden == "zero"),
    )
    difference = np.abs(found.view(np.uint8).reshape(expected.shape).astype(int) - expected)
    # a product that lies between two levels may fall to either
    assert difference[..., :3].max() == 0
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(
    ("colour", "code"), [((255, 0, 128, 1.0), "#ff0080"), ((10, 200, 30, 0.4), "rgb(10 200 30 / 40%)")]
)
def test_a_background_has_the_bytes_of_nss(colour: tuple[int, int, int, float], code: str) -> None:
    size = 20, 77
    rgba, plane = photo(*size), mask(*size)
    alpha = PhotoMask.of_array(plane).alpha(rgba[..., 3])
    expected = background.over(rgba[..., :3], alpha, code, photo=rgba[..., :3], icc=None, notes=[])
    *levels, opacity = (int(np.float32(value).view(np.int32)) for value in colour)
    told = dict(zip(("red", "green", "blue", "opacity"), (*levels, opacity), strict=True))
    found = run(
        kernel("compose", background=True),
        {"mask": plane, "y": words(rgba)},
        *size,
        width=size[1],
        opaque=0,
        invert=0,
        **told,
    )
    difference = np.abs(found.view(np.uint8).reshape(*size, 4)[..., : expected.shape[2]].astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_a_survey_finds_what_is_unusual_and_the_range() -> None:
    def survey(values: np.ndarray) -> tuple[bool, float, float]:
        groups = -(-values.size // 4096)
        result = np.zeros(3, np.uint32)
        found = run(kernel("survey"), {"x": values, "y": result}, 1, groups * 4096, length=values.size)
        turned = np.where(found >> 31, found ^ np.uint32(1 << 31), ~found).astype(np.uint32)
        largest, negated = turned[1:].view(np.float32)
        return bool(found[0]), float(-negated), float(largest)

    for size in (1, 255, 4097, 100_003):
        values = np.random.default_rng(size).normal(size=size).astype(np.float32)
        assert survey(values) == (False, values.min(), values.max())
        for unusual in (np.nan, -np.nan, np.inf, -np.inf):
            changed = values.copy()
            changed[size // 2] = unusual
            assert survey(changed)[0]
    # the rest of the binding does not count
    assert survey(np.array([-2, -1], np.float32)) == (False, -2, -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_four_bytes_lie_over_a_backdrop(channels: int) -> None:
    height, width = 9, 21
    rgba = photo(height, width)
    lines = np.stack([np.concatenate([np.arange(height), np.arange(width)]), np.ones(height + width)], 1)
    arrays = {
        "x": words(rgba),
        "lines": lines.astype(np.int32),
        "weights": np.ones(height + width, np.float32),
        "y": np.zeros(channels * height * width, np.float32),
    }
    one = int(np.float32(1).view(np.int32))
    uniforms = {"width": width, "height": height, "x_width": width, "row_taps": 1, "column_taps": 1}
    uniforms |= {"row_stride": width, "column_stride": 1, "channel_stride": height * width}
    uniforms |= {f"m{channel}{part}": one * (channel == part) for channel in range(channels) for part in range(3)}
    uniforms |= {f"offset{channel}": 0 for channel in range(channels)}
    for backdrop in (None, visible.BACKDROPS[0]):
        expected = rgba[..., :3]
        if backdrop is not None:
            uniforms["backdrop"] = int.from_bytes(bytes(backdrop), "little")
            alpha = rgba[..., 3:].astype(int)
            expected = (rgba[..., :3] * alpha + np.array(backdrop) * (255 - alpha) + 127) // 255
        entry = kernel("network_input", channels=channels, storage="f32", half=False, backdrop=backdrop is not None)
        found = run(entry, arrays, height, width, **uniforms).reshape(channels, height, width)
        assert (found == expected.transpose(2, 0, 1)[:channels]).all()
    assert prod(found.shape)
