"""Pictures that a session takes in as bytes, and masks that it gives out as bytes, where it runs on a GPU.

A network's input is made there of 8-bit pixels, and its mask is enlarged and rounded there, so that bytes come and go
instead of float32. How is data: tables of weights, by which each line of the one is made of lines of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from engine.errors import InputError

LARGEST_DISPLACEMENT = 1 << 12
"""Pixels that a point of a dilation, or the reach of a blur, may lie away."""


@dataclass(frozen=True, eq=False)
class LineWeights:
    """How lines are made of others: line ``i`` of the result is the sum over ``t`` below ``counts[i]`` of
    ``weights[i, t]`` times line ``first[i] + t`` of the source, which has ``source`` lines.

    Sessions keep what they make of one as long as the same object comes again.

    Attributes:
        source: the number of lines that there are.
        first: int32, one for each line of the result.
        counts: int32, likewise, at least 1.
        weights: float32, lines of the result x the largest count; what is beyond a line's count is 0.

    Raises:
        InputError: a line of the result is made of lines that are not there, or the arrays do not fit.
    """

    source: int
    first: np.ndarray
    counts: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        lines = len(self.first)
        fits = (
            lines > 0
            and self.first.dtype == self.counts.dtype == np.int32
            and self.weights.dtype == np.float32
            and self.first.shape == self.counts.shape == (lines,)
            and self.weights.shape == (lines, int(self.counts.max()))
        )
        if not fits:
            raise InputError("a table of weights is int32 [n], int32 [n] and float32 [n, largest count]")
        if self.first.min() < 0 or self.counts.min() < 1 or (self.first + self.counts).max() > self.source:
            raise InputError(f"a table of weights leads beyond the {self.source} lines that there are")

    @property
    def length(self) -> int:
        """The number of lines of the result."""
        return len(self.first)

    @cached_property
    def taps(self) -> int:
        """The largest count."""
        return int(self.weights.shape[1])

    def span(self, first: int, last: int) -> tuple[int, int]:
        """The half-open range of lines of the source that the lines [first, last) are made of; empty where they are."""
        if first >= last:
            return 0, 0
        part = slice(first, last)
        return int(self.first[part].min()), int((self.first[part] + self.counts[part]).max())

    @cached_property
    def widest(self) -> int:
        """The sum of all counts: how many lines are looked at."""
        return int(self.counts.sum())


@dataclass(frozen=True, eq=False)
class PixelInput:
    """An input of a network, given as the pixels that it is made of: resampled, then ``matrix @ pixel + offset``.

    An input of uint8 gets whole numbers, rounded to nearest and held to 0 and 255.

    Attributes:
        pixels: uint8 HxWx3.
        rows: the rows of the input, of those of ``pixels``.
        columns: likewise.
        matrix: for each channel of the input, what it takes of the three of a pixel.
        offset: for each channel, what is added.
        layout: the order of the input's axes; it is 1xCxHxW ("NCHW") or 1xHxWxC.
    """

    pixels: np.ndarray
    rows: LineWeights
    columns: LineWeights
    matrix: tuple[tuple[float, float, float], ...]
    offset: tuple[float, ...]
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.uint8 or pixels.shape != (self.rows.source, self.columns.source, 3):
            raise InputError(
                f"pixels are uint8[{self.rows.source}, {self.columns.source}, 3] by the tables of weights; "
                f"they are {pixels.dtype}{list(pixels.shape)}"
            )
        if not 1 <= len(self.matrix) == len(self.offset) <= 4:
            raise InputError("an input of pixels has 1 to 4 channels, with a row of the matrix and an offset each")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input that it becomes."""
        size = self.rows.length, self.columns.length
        return (1, len(self.matrix), *size) if self.layout == "NCHW" else (1, *size, len(self.matrix))


@dataclass(frozen=True)
class Smoothing:
    """A mask blurred by ``blur``, and its edges made as narrow again as they had been, by sums over ``around``.

    Both are half of a symmetric kernel: the weight of the pixel, then of those 1, 2, … beside it. ``sharpest`` is the
    least ratio of widths.
    """

    blur: tuple[float, ...]
    around: tuple[float, ...]
    sharpest: float


@dataclass(frozen=True)
class Dilation:
    """Each pixel raised to the largest value of the bilinear surface at ``points``, (rows, columns) away from it.

    A point that needs a pixel outside the mask does not count. ``complement`` does that to 1 - mask.
    """

    points: tuple[tuple[float, float], ...]
    complement: bool = False


@dataclass(frozen=True, eq=False)
class MaskOutput:
    """What is made of the mask in a network's output: whole numbers of ``bits`` bits a pixel.

    ``activation`` of channel ``channel``, divided by ``divisor``; resampled by ``rows`` and ``columns`` and clipped to
    0 and 1; then what is not None of the steps, in the order in which they stand here.

    Attributes:
        rows: the rows of the result, of those of the output.
        columns: likewise.
        channels: how many the output has.
        channel: the one that is the mask; of "equal", the number that is.
        channels_last: whether they are the output's last axis; else they come before its rows.
        activation: "none", "sigmoid", "softmax" over the channels, or "equal": 1 where the output, which has integers
            and one channel, is ``channel``.
        divisor: the output's value for a full mask.
        bits: 8 or 16.
        levels: black and white, which become 0 and 1.
        smoothing: see there.
        dilation: see there.
        blur: half of a symmetric kernel, as those of ``Smoothing``.
    """

    rows: LineWeights
    columns: LineWeights
    channels: int = 1
    channel: int = 0
    channels_last: bool = False
    activation: Literal["none", "sigmoid", "softmax", "equal"] = "none"
    divisor: float = 1.0
    bits: Literal[8, 16] = 8
    levels: tuple[float, float] | None = None
    smoothing: Smoothing | None = None
    dilation: Dilation | None = None
    blur: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.activation != "equal" and not 0 <= self.channel < self.channels:
            raise InputError(f"the output has {self.channels} channels, and none is {self.channel}")
        if self.activation == "equal" and self.channels != 1:
            raise InputError("an output of class numbers has one channel")
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            raise InputError("black lies below white")
        reaches = [len(kernel) for kernel in self._kernels()]
        if self.dilation is not None:
            reaches += [int(abs(distance)) + 1 for point in self.dilation.points for distance in point]
        if min(reaches, default=1) < 1 or max(reaches, default=1) > LARGEST_DISPLACEMENT:
            raise InputError(f"a blur has 1 to {LARGEST_DISPLACEMENT} weights, and a point lies less than that away")

    def _kernels(self) -> Sequence[tuple[float, ...]]:
        smoothing = () if self.smoothing is None else (self.smoothing.blur, self.smoothing.around)
        return [*smoothing, *(() if self.blur is None else (self.blur,))]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.rows.length, self.columns.length

    @cached_property
    def taps_per_pixel(self) -> int:
        """How many values are looked at for a pixel, about: what it costs."""
        blurred = sum(2 * len(kernel) for kernel in self._kernels()) * 2
        if self.smoothing is not None:
            blurred += 4 * len(self.smoothing.around)
        return self.rows.taps * self.columns.taps + blurred + 4 * len(self.dilation.points if self.dilation else ())
