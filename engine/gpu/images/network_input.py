"""Pixels → a network's input, in one dispatch: bytes are read as words, resampled along both axes, and normalised."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.compiled.model import TensorPlace
from engine.errors import InputError
from engine.gpu.images.tables import bits, line_table, weight_table
from engine.gpu.program.dispatch import Dispatch, Operand, affine_span
from engine.gpu.program.tensor import Tensor, new_tensor
from engine.images import PixelInput

TILE = 16
"""Rows and columns of a workgroup."""


def pixel_words(height: int, width: int, pixel_bytes: int = 3) -> Tensor:
    """The bytes of RGB pixels, or with 4 of RGBA pixels, as words, in rows one behind the other."""
    return new_tensor((-(-height * width * pixel_bytes // 4),), "u32", "pixels")


def input_dispatch(
    source: PixelInput,
    pixels: Tensor,
    y: Tensor,
    place: TensorPlace,
    *,
    pixel_bytes: int = 3,
    backdrop: tuple[int, int, int] | None = None,
) -> Dispatch:
    """The dispatch that makes ``y``, the input that lies at ``place``, of ``pixels``.

    Of pixels of 4 bytes the last is their alpha. It does not count, unless there is a ``backdrop``: the colour, of
    bytes, that they are then laid over.

    Raises InputError where the input has another shape, or a type that pixels do not become.
    """
    if place.shape[-3:] != source.shape[-3:] or prod(place.shape) != prod(source.shape):
        raise InputError(
            f"input '{place.name}' is {list(place.shape)}; the tables of weights make {list(source.shape)} of pixels"
        )
    if place.dtype not in ("float32", "float16", "uint8"):
        raise InputError(f"input '{place.name}' is {place.dtype}; pixels become float32, float16 or uint8")
    height, width, channels = source.rows.length, source.columns.length, len(source.matrix)
    row_bytes = source.columns.source * pixel_bytes
    if source.layout == "NCHW":
        channel, row, column = y.strides[-3:]
    else:
        row, column, channel = y.strides[-3:]

    def word_span(first: int, last: int) -> tuple[int, int]:
        begin, end = source.rows.span(first, last)
        return begin * row_bytes // 4, -(-end * row_bytes // 4)

    uniforms = {
        "width": width,
        "height": height,
        "x_width": source.columns.source,
        "row_taps": source.rows.taps,
        "column_taps": source.columns.taps,
        "row_stride": row,
        "column_stride": column,
        "channel_stride": channel,
    }
    for index, (factors, offset) in enumerate(zip(source.matrix, source.offset, strict=True)):
        uniforms |= {f"m{index}{part}": bits(factor) for part, factor in enumerate(factors)}
        uniforms[f"offset{index}"] = bits(offset)
    if backdrop is not None:
        uniforms["backdrop"] = int.from_bytes(bytes(backdrop), "little")
    params: dict[str, Any] = {
        "pixel_bytes": pixel_bytes,
        "backdrop": backdrop is not None,
        "channels": channels,
        "storage": y.dtype,
        "whole": place.dtype == "uint8",
        "half": place.dtype == "float16" and y.dtype == "f32",
    }
    return Dispatch(
        kernel="images/network_input",
        params=params,
        reads=[
            Operand("x", pixels, word_span),
            Operand("lines", line_table(source.rows, source.columns), vec=2),
            Operand("weights", weight_table(source.rows, source.columns)),
        ],
        writes=[Operand("y", y, affine_span(y, row, (channels, width), (channel, column)))],
        rows=height,
        grid=lambda rows: (-(-width // TILE), -(-rows // TILE), 1),
        uniforms=uniforms,
        flops=2 * 3 * source.rows.widest * source.columns.widest,
        op="PixelInput",
        node=place.name,
    )
