"""Rows of tiles of the winograd kernels, and what of pixels and outputs lies under them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.program.dispatch import Operand, Span
from engine.gpu.program.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of a layer: rows of tiles of all images, tiles of a row, and of one image the rows of tiles."""

    size: int
    dilation: int
    images: int
    tiles_y: int
    tiles_x: int

    @staticmethod
    def of(layer: Layer, size: int) -> Tiling:
        dilation, outputs = layer.window.dilations[0], size - 2
        tiles_y, tiles_x = (dilation * -(-extent // (dilation * outputs)) for extent in layer.window.out)
        return Tiling(size, dilation, layer.x.shape[0], tiles_y, tiles_x)

    @property
    def rows(self) -> int:
        return self.images * self.tiles_y

    def out_rows(self, first: int, last: int) -> tuple[int, int, int, int]:
        """The images [a, b) of the rows [first, last) of tiles, and of one image the output rows [c, d)."""
        band = self.dilation * (self.size - 2)
        image, end = first // self.tiles_y, -(-last // self.tiles_y)
        if end - image != 1:
            return image, end, 0, self.tiles_y * (self.size - 2)
        row, last_row = first - image * self.tiles_y, last - 1 - image * self.tiles_y
        return image, end, row // self.dilation * band, (last_row // self.dilation + 1) * band


def input_span(layer: Layer, x: Tensor, tiling: Tiling, first_row: int) -> Span:
    """The span of x by rows of tiles from ``first_row`` on: the pixels under them in one image, or whole images."""
    window = layer.window

    def span(first: int, last: int) -> tuple[int, int]:
        image, end, top, bottom = tiling.out_rows(first_row + first, first_row + last)
        part = x.slice(0, image, end - image)
        if end - image == 1:
            top, bottom = window.input_rows(top, max(top + 1, min(bottom, window.out[0])), x.shape[2])
            part = part.slice(2, min(top, x.shape[2] - 1), max(1, bottom - top))
        return part.span()

    return span


def from_row(operand: Operand, first_row: int) -> Operand:
    """An operand whose span counts rows of tiles, by those from ``first_row`` on."""
    span = operand.span
    return operand if span is None else replace(operand, span=lambda a, b: span(first_row + a, first_row + b))


def by_rows(operand: Operand, layer: Layer, tiling: Tiling, first_row: int) -> Operand:
    """An operand of the epilogue, whose span counts pixels, by rows of tiles from ``first_row`` on."""
    height, width = layer.window.out
    pixel_span = operand.span
    if pixel_span is None:
        return operand

    def span(first: int, last: int) -> tuple[int, int]:
        image, end, top, bottom = tiling.out_rows(first_row + first, first_row + last)
        if end - image == 1:
            return pixel_span(
                (image * height + min(top, height - 1)) * width, (image * height + min(bottom, height)) * width
            )
        return pixel_span(image * height * width, end * height * width)

    return replace(operand, span=span)
