"""A network's output → its mask at another size, refined and rounded: a dispatch for each step over planes of float32.

The last step writes whole numbers, so that what needs no refinement is one dispatch over the large plane.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np

from engine.compiled.model import TensorPlace
from engine.errors import InputError
from engine.gpu.images.tables import bits, kernel_table, line_table, point_table, weight_table
from engine.gpu.program.dispatch import Dispatch, Operand, Span, affine_span, linear_grid
from engine.gpu.program.tensor import Tensor, new_tensor
from engine.images import Dilation, MaskOutput, Smoothing

LINES_PER_ROW = 4
"""Lines of pixels in a row of a dispatch that writes whole numbers, so that each row begins with a word."""


def output_dispatches(mask: MaskOutput, x: Tensor, place: TensorPlace) -> tuple[list[Dispatch], Tensor]:
    """The dispatches that make whole numbers of ``x``, the output that lies at ``place``; and where those are.

    The numbers lie row by row without a gap, in words. Raises InputError where the output is another one than told.
    """
    planes, step = _steps(mask, x, place)
    return planes.dispatches, planes.write(step, mask.bits)


def plane_dispatches(mask: MaskOutput, x: Tensor, place: TensorPlace) -> tuple[list[Dispatch], Tensor]:
    """As ``output_dispatches``, up to the plane of float32 that is rounded there. Raises likewise."""
    planes, step = _steps(mask, x, place)
    return planes.dispatches, planes.write(step)


def _steps(mask: MaskOutput, x: Tensor, place: TensorPlace) -> tuple[_Planes, _Step]:
    """The planes before the last one, and the step that makes that."""
    height, width = mask.rows.source, mask.columns.source
    if prod(place.shape) != mask.channels * height * width:
        raise InputError(
            f"output '{place.name}' is {list(place.shape)}; by the description of its mask it has {mask.channels} "
            f"channel(s) of {height} x {width}"
        )
    if mask.activation == "equal" and x.dtype not in ("i32", "u32"):
        raise InputError(f"output '{place.name}' is {place.dtype}, and holds no numbers of classes")
    planes = _Planes(*mask.size)
    small = _Planes(height, width, planes.dispatches)
    step = _enlarged(mask, small.write(_activated(mask, x)))
    if mask.smoothing is not None:
        step = _smoothed(planes, planes.write(step), mask.smoothing)
    if mask.dilation is not None:
        step = _dilated(planes, planes.write(step), mask.dilation)
    if mask.blur is not None:
        step = _blurred(planes, planes.write(step), mask.blur)
    return planes, step


@dataclass(frozen=True)
class _Read:
    """An operand, and which elements of it some lines of the plane are made of; all of them where that is None."""

    name: str
    tensor: Tensor
    span: Span | None = None
    vec: int = 1


@dataclass(frozen=True)
class _Step:
    """A plane as a kernel makes it, but for where it is written and in which form. ``taps`` are values for a pixel."""

    kernel: str
    params: Mapping[str, Any]
    reads: Sequence[_Read]
    uniforms: Mapping[str, int]
    taps: float


@dataclass
class _Planes:
    """Planes of one height and width, and the dispatches that write them."""

    height: int
    width: int
    dispatches: list[Dispatch] = field(default_factory=list)

    def write(self, step: _Step, bits_per_pixel: int = 32) -> Tensor:
        """The plane of that step: float32, or whole numbers of fewer bits in words."""
        lines_per_row = 1 if bits_per_pixel == 32 else LINES_PER_ROW
        items = lines_per_row * self.width * bits_per_pixel // 32
        pixels = self.height * self.width
        words = -(-pixels * bits_per_pixel // 32)
        plane = new_tensor((words,), "f32" if bits_per_pixel == 32 else "u32", step.kernel)
        self.dispatches.append(
            Dispatch(
                kernel=step.kernel,
                params={**step.params, "bits": bits_per_pixel},
                reads=[
                    Operand(
                        read.name,
                        read.tensor,
                        read.span and partial(self._row_span, read.span, lines_per_row),
                        read.vec,
                    )
                    for read in step.reads
                ],
                writes=[Operand("y", plane, lambda first, last: (first * items, min(last * items, words)))],
                rows=-(-self.height // lines_per_row),
                grid=linear_grid(items),
                uniforms={"width": self.width, "items": items, "pixels": pixels, **step.uniforms},
                flops=math.ceil(2 * step.taps * pixels),
                op="MaskOutput",
                node=step.kernel.partition("/")[2],
            )
        )
        return plane

    def _row_span(self, span: Span, lines_per_row: int, first: int, last: int) -> tuple[int, int]:
        return span(first * lines_per_row, min(last * lines_per_row, self.height))

    def lines(self, halo: int = 0) -> Span:
        """The elements of a plane in lines [first, last), and in ``halo`` lines before and behind them."""

        def span(first: int, last: int) -> tuple[int, int]:
            return max(0, first - halo) * self.width, min(last + halo, self.height) * self.width

        return span


def _activated(mask: MaskOutput, x: Tensor) -> _Step:
    height, width = mask.rows.source, mask.columns.source
    channel, row, column = (
        (1, width * mask.channels, mask.channels) if mask.channels_last else (height * width, width, 1)
    )
    return _Step(
        kernel="images/mask_plane",
        params={"activation": mask.activation, "storage": x.dtype},
        reads=[_Read("x", x, affine_span(x, row, (mask.channels, width), (channel, column)))],
        uniforms={
            "channel": mask.channel,
            "channels": mask.channels,
            "row_stride": row,
            "column_stride": column,
            "channel_stride": channel,
            "divisor": bits(mask.divisor),
        },
        taps=2 * mask.channels,
    )


def _enlarged(mask: MaskOutput, plane: Tensor) -> _Step:
    width = mask.columns.source

    def span(first: int, last: int) -> tuple[int, int]:
        begin, end = mask.rows.span(first, last)
        return begin * width, end * width

    black, white = mask.levels or (0.0, 1.0)
    return _Step(
        kernel="images/enlarge",
        params={"levels": mask.levels is not None},
        reads=[
            _Read("x", plane, span),
            _Read("lines", line_table(mask.rows, mask.columns), vec=2),
            _Read("weights", weight_table(mask.rows, mask.columns)),
        ],
        uniforms={
            "height": mask.rows.length,
            "x_width": width,
            "row_taps": mask.rows.taps,
            "column_taps": mask.columns.taps,
            "black": bits(black),
            "span": bits(float(np.float32(white) - np.float32(black))),
        },
        taps=mask.rows.widest * mask.columns.widest / prod(mask.size),
    )


def _along(planes: _Planes, plane: Tensor, kernel: Tensor, *, vertical: bool, spread: bool = False) -> _Step:
    """One axis of a blur of the plane; ``spread`` blurs m (1 - m)."""
    reach = kernel.size - 1
    return _Step(
        kernel="images/blur",
        params={"vertical": vertical, "spread": spread},
        reads=[_Read("x", plane, planes.lines(reach if vertical else 0)), _Read("weights", kernel)],
        uniforms={"height": planes.height, "reach": reach},
        taps=2 * reach + 1,
    )


def _blurred(planes: _Planes, plane: Tensor, half: Sequence[float], *, spread: bool = False) -> _Step:
    kernel = kernel_table(half)
    columns = planes.write(_along(planes, plane, kernel, vertical=False, spread=spread))
    return _along(planes, columns, kernel, vertical=True)


def _smoothed(planes: _Planes, plane: Tensor, smoothing: Smoothing) -> _Step:
    smooth = planes.write(_blurred(planes, plane, smoothing.blur))
    before, after = (planes.write(_blurred(planes, x, smoothing.around, spread=True)) for x in (plane, smooth))
    return _Step(
        kernel="images/sharpen",
        params={},
        reads=[
            _Read("x", smooth, planes.lines()),
            _Read("before", before, planes.lines()),
            _Read("after", after, planes.lines()),
        ],
        uniforms={"sharpest": bits(smoothing.sharpest)},
        taps=8,
    )


def _dilated(planes: _Planes, plane: Tensor, dilation: Dilation) -> _Step:
    halo = max((math.ceil(abs(rows)) for rows, _ in dilation.points), default=0)
    return _Step(
        kernel="images/dilate",
        params={"complement": dilation.complement},
        reads=[_Read("x", plane, planes.lines(halo)), _Read("points", point_table(dilation.points), vec=4)],
        uniforms={"height": planes.height, "points": len(dilation.points)},
        taps=4 * len(dilation.points),
    )
