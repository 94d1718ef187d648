"""Stages run by themselves: a buffer stands for the network's, and NumPy with whole matrices is the oracle."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from engine.compiled.model import ALIGNMENT, TensorPlace
from engine.gpu.images.runner import BoundStage, ImageStages
from engine.gpu.program.tensor import NUMPY_TYPES
from engine.images import LineWeights, MaskOutput, PixelInput
from tests.engine.gpu.gpu import device

OFFSET = ALIGNMENT + 8
"""Where a tensor lies in the network's buffer: at no multiple of the alignment of bindings."""


def triangle(old: int, new: int) -> LineWeights:
    """Bilinear weights that widen where they reduce."""
    scale = max(old / new, 1.0)
    centre = (np.arange(new) + 0.5) * old / new
    distance = (np.arange(old) + 0.5 - centre[:, None]) / scale
    weights = np.maximum(1 - np.abs(distance), 0)
    return table(weights / weights.sum(axis=1, keepdims=True))


def table(matrix: np.ndarray) -> LineWeights:
    """A matrix, new x old lines, as a table."""
    first = (matrix != 0).argmax(axis=1)
    last = matrix.shape[1] - (matrix != 0)[:, ::-1].argmax(axis=1)
    weights = np.zeros((len(matrix), int((last - first).max())), np.float32)
    for line, row, begin, end in zip(weights, matrix, first, last, strict=True):
        line[: end - begin] = row[begin:end]
    return LineWeights(matrix.shape[1], first.astype(np.int32), (last - first).astype(np.int32), weights)


def matrix(lines: LineWeights) -> np.ndarray:
    """A table as a matrix, float64."""
    result = np.zeros((lines.length, lines.source))
    for row, begin, count, weights in zip(result, lines.first, lines.counts, lines.weights, strict=True):
        row[begin : begin + count] = weights[:count]
    return result


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def pixel_input(height: int, width: int, rows: int, columns: int, **settings: Any) -> PixelInput:
    """An input of noise, with its colours as they are unless ``settings`` say otherwise."""
    unit = tuple(tuple(map(float, line)) for line in np.eye(3))
    told: dict[str, Any] = {"matrix": unit, "offset": (0.0, 0.0, 0.0)} | settings
    return PixelInput(pixels(height, width), triangle(height, rows), triangle(width, columns), **told)


def expected_input(source: PixelInput) -> np.ndarray:
    """The input in float64, neither rounded nor clipped."""
    resampled = np.einsum("ih,jw,hwk->ijk", matrix(source.rows), matrix(source.columns), source.pixels, optimize=True)
    image = resampled @ np.array(source.matrix).T + np.array(source.offset)
    return (image.transpose(2, 0, 1) if source.layout == "NCHW" else image)[None]


def run_input(
    source: PixelInput, dtype: str = "float32", storage: str = "f32", stages: ImageStages | None = None, **limits: int
) -> np.ndarray:
    """The input that a stage makes, of the storage's type."""
    own = stages or image_stages(**limits)
    place = TensorPlace("x", dtype, source.shape, storage, 0, OFFSET)
    nbytes = prod(source.shape) * np.dtype(NUMPY_TYPES[storage]).itemsize
    network = network_buffer(nbytes)
    try:
        stage = own.input(source, place, network)
        device().write(stage.buffer, stage.offset, padded(source.pixels))
        replay(stage)
        return read(network, OFFSET, nbytes).view(NUMPY_TYPES[storage]).reshape(source.shape)
    finally:
        device().free([network])
        if stages is None:
            own.close()


def run_output(
    mask: MaskOutput,
    output: np.ndarray,
    storage: str = "f32",
    stages: ImageStages | None = None,
    **limits: int,
) -> np.ndarray:
    """The numbers that a stage makes of a network's output."""
    own = stages or image_stages(**limits)
    place = TensorPlace("y", output.dtype.name, output.shape, storage, 0, OFFSET)
    data = output.astype(NUMPY_TYPES[storage])
    network = network_buffer(data.nbytes)
    try:
        device().write(network, OFFSET, padded(data))
        stage = own.output(mask, place, network)
        replay(stage)
        numbers = read(stage.buffer, stage.offset, stage.nbytes)
        return numbers.view(np.uint8 if mask.bits == 8 else np.uint16).reshape(mask.size)
    finally:
        device().free([network])
        if stages is None:
            own.close()


def image_stages(**limits: int) -> ImageStages:
    """Stages on the tests' device; ``limits`` have underscores."""
    gpu = device()
    return ImageStages(gpu, {name.replace("_", "-"): limit for name, limit in limits.items()})


def network_buffer(nbytes: int) -> Any:
    """A buffer that stands for the network's, filled with what is no number of any type."""
    buffer = device().buffer(OFFSET + -(-nbytes // 4) * 4 + 16, "STORAGE|COPY_SRC|COPY_DST", "network")
    device().write(buffer, 0, np.full((OFFSET + -(-nbytes // 4) * 4 + 16) // 4, -1, np.int32))
    return buffer


def padded(array: np.ndarray) -> np.ndarray:
    """The bytes of an array, filled up to whole words."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return np.concatenate([data, np.full(-data.size % 4, 255, np.uint8)])


def replay(stage: BoundStage) -> None:
    gpu = device()
    encoder = gpu.handle.create_command_encoder()
    gpu.replay(encoder, stage.commands)
    gpu.handle.queue.submit([encoder.finish()])


def read(buffer: Any, offset: int, nbytes: int) -> np.ndarray:
    gpu = device()
    whole = -(-nbytes // 4) * 4
    staging = gpu.buffer(whole, "MAP_READ|COPY_DST", "results")
    encoder = gpu.handle.create_command_encoder()
    encoder.copy_buffer_to_buffer(buffer, offset, staging, 0, whole)
    gpu.handle.queue.submit([encoder.finish()])
    data = gpu.read(staging, whole)[:nbytes].copy()
    gpu.free([staging])
    return data


def resized(mask: MaskOutput, plane: np.ndarray) -> np.ndarray:
    """The plane, HxW, at the mask's size, clipped to 0 and 1, in float64."""
    return np.clip(matrix(mask.rows) @ plane.astype(np.float64) @ matrix(mask.columns).T, 0, 1)


def rounded(plane: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(plane * (2**bits - 1)).astype(np.int64)


def mask_output(source: tuple[int, int], size: tuple[int, int], **settings: Any) -> MaskOutput:
    mask = MaskOutput(triangle(source[0], size[0]), triangle(source[1], size[1]))
    return replace(mask, **settings)


def soft_disc(height: int, width: int) -> np.ndarray:
    """A network's mask, float32 HxW, of a disc with a soft edge; it leaves 0..1 by a little."""
    row, column = np.mgrid[:height, :width]
    distance = np.hypot(row - height / 2, column - width / 2) + 2 * np.sin(column / 3)
    return (1.2 / (1 + np.exp(distance - 0.3 * min(height, width))) - 0.1).astype(np.float32)
