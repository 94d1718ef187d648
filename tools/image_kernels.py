"""What the kernels around a network take for a photo, by the GPU's own clock, and by NumPy on this machine.

    python tools/image_kernels.py [--device dawn] [--photo 4000x3000] [--network 1024] [--repeats 20]

Prints one JSON object: for each stage, the milliseconds of each of its kernels (medians), what they add up to, and what
NumPy takes for the same (the least of three). "preprocess" makes a network's input of 8-bit pixels by each filter,
"postprocess" a mask's levels at the photo's size, with each step of a refinement. Photo and mask are drawn from a seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import engine
from engine.compiled.model import TensorPlace
from engine.gpu.device.choice import choose
from engine.gpu.device.device import Device, open_device
from engine.gpu.images.runner import BoundStage, ImageStages
from engine.gpu.images.stage import input_stage, output_stage
from engine.gpu.run.profile import command_seconds
from nss.arrays.filters import Filter
from nss.interfaces.interface import FixedSize, complete
from nss.masks.photo_mask import PhotoMask
from nss.masks.refine import Refinement
from nss.photos import image_io
from nss.removal import gpu_stages, preprocess

REFINEMENTS = {
    "no step": Refinement(),
    "levels": Refinement(black=0.1, white=0.9),
    "feather 2": Refinement(feather=2),
    "smooth 2": Refinement(smooth=2),
    "expand 2": Refinement(expand=2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", help="as `nss-wgpu devices` lists them; the first hardware adapter by default")
    parser.add_argument("--photo", default="4000x3000", help="width x height")
    parser.add_argument("--network", type=int, default=1024, help="pixels of the network's side")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args(arguments)
    width, height = map(int, options.photo.split("x"))
    adapter = choose(options.device).adapter
    if adapter is None:
        print("no adapter is there", file=sys.stderr)
        return 1
    print(json.dumps(measure(open_device(adapter), (height, width), options.network, options.repeats)))
    return 0


def measure(device: Device, size: tuple[int, int], side: int, repeats: int) -> dict[str, object]:
    """The figures of the docstring above."""
    rng = np.random.default_rng(0)
    photo = image_io.load(rng.integers(0, 256, (*size, 3), np.uint8), "noise", max_pixels=1 << 40)
    row, column = np.mgrid[:side, :side] / side
    raw = (1 / (1 + np.exp(40 * (np.hypot(row - 0.5, column - 0.5) - 0.3)))).astype(np.float32)
    network = device.buffer(side * side * 12, "STORAGE|COPY_SRC|COPY_DST", "network")
    stages = ImageStages(device)
    report: dict[str, Any] = {"device": str(device.adapter), "photo": list(size), "network": side}
    try:
        report["preprocess"] = {
            method: _input(device, stages, network, photo, method, side, repeats) for method in get_args(Filter)
        }
        device.write(network, 0, raw.reshape(-1))
        report["postprocess"] = {
            name: _output(device, stages, network, photo, raw, refinement, repeats)
            for name, refinement in REFINEMENTS.items()
        }
    finally:
        stages.close()
        device.free([network])
    return report


def _input(
    device: Device, stages: ImageStages, network: Any, photo: image_io.Photo, method: Filter, side: int, repeats: int
) -> dict[str, Any]:
    interface = complete({"input": "x", "output": 0, "size": FixedSize(side, side), "filter": method})
    source = gpu_stages.pixel_input(photo, interface)
    place = TensorPlace("x", "float32", source.shape, "f32", 0, 0)
    stage = stages.input(source, place, network)
    device.write(stage.buffer, stage.offset, _words(photo.rgb))
    names = [command.node for command in input_stage(source, place, device.caps.limits, 1 << 50).commands]
    return _figures(device, stage, names, repeats, lambda: preprocess.prepare(photo.rgb, interface))


def _output(
    device: Device,
    stages: ImageStages,
    network: Any,
    photo: image_io.Photo,
    raw: np.ndarray,
    refinement: Refinement,
    repeats: int,
) -> dict[str, Any]:
    interface = complete({"input": "x", "output": 0, "size": FixedSize(*raw.shape)})
    output = engine.TensorInfo("y", raw.dtype, (1, 1, *raw.shape))
    mask = gpu_stages.mask_output(photo, interface, output, refinement, 8)
    place = TensorPlace("y", "float32", output.shape, "f32", 0, 0)
    try:
        stage = stages.output(mask, place, network)
    except engine.TooLargeError as error:
        return {"refused": str(error)}
    names = [command.node for command in output_stage(mask, place, device.caps.limits, 1 << 50).commands]

    def by_numpy() -> None:
        levels = np.empty(photo.size, np.uint8)
        refined = PhotoMask.enlarged(raw, photo.size).refined(refinement, photo.rgb)
        refined.fill_alpha(levels, own_alpha=None, invert=False)

    return _figures(device, stage, names, repeats, by_numpy)


def _words(pixels: np.ndarray) -> np.ndarray:
    data = np.ascontiguousarray(pixels).reshape(-1)
    return np.concatenate([data, np.zeros(-data.size % 4, np.uint8)])


def _figures(
    device: Device, stage: BoundStage, names: Sequence[str], repeats: int, by_numpy: Callable[[], object]
) -> dict[str, Any]:
    device.core_clock.wake(lambda: sum(command_seconds(device, [stage.commands])))
    runs = [command_seconds(device, [stage.commands]) for _ in range(repeats)]
    kernels = [
        {"kernel": name, "milliseconds": round(median(run[index] for run in runs) * 1e3, 4)}
        for index, name in enumerate(names)
    ]
    return {
        "kernels": kernels,
        "gpu": round(median(sum(run) for run in runs) * 1e3, 4),
        "numpy": round(min(_seconds(by_numpy) for _ in range(3)) * 1e3, 2),
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
