"""A photo composed on the device where its pixels lie, and what is to be known of a plane before that is done."""

from __future__ import annotations

from dataclasses import dataclass

from engine.gpu.images.tables import bits
from engine.gpu.program.dispatch import Dispatch, Operand, linear_grid
from engine.gpu.program.tensor import Tensor

SURVEYED = 4096
"""Elements that a workgroup of a survey looks at."""


@dataclass(frozen=True)
class Backdrop:
    """What is put behind a photo: a colour in levels, 0 to 255, and its alpha, above 0 and up to 1."""

    colour: tuple[float, float, float]
    opacity: float


def survey_dispatch(x: Tensor, y: Tensor) -> Dispatch:
    """The dispatch that surveys ``x``, dense, of any type: see shaders/images/survey.wgsl.

    ``y`` is u32[3] and 0 before, or what other surveys left there, which then count as one.
    """
    return Dispatch(
        kernel="images/survey",
        params={"storage": x.dtype},
        reads=[Operand("x", x)],
        writes=[Operand("y", y, atomic=True)],
        rows=1,
        grid=linear_grid(x.size, SURVEYED),
        uniforms={"length": x.size},
        op="Survey",
        node=x.slot.label,
    )


def compose_dispatch(
    mask: Tensor,
    pixels: Tensor,
    size: tuple[int, int],
    *,
    opaque: bool = False,
    invert: bool = False,
    zero: bool = False,
    background: Backdrop | None = None,
) -> Dispatch:
    """The dispatch that turns RGBA ``pixels``, a word each, into the cut-out: see shaders/images/compose.wgsl.

    Args:
        mask: f32, the plane of that size.
        pixels: u32; overwritten.
        size: height and width.
        opaque: the pixels' own alpha counts as 255.
        invert: what the mask leaves is kept.
        zero: pixels of alpha 0 become 0 altogether; not with a background.
        background: what is put behind.
    """
    height, width = size
    uniforms = {"width": width, "opaque": int(opaque), "invert": int(invert)}
    if background is None:
        uniforms["zero"] = int(zero)
    else:
        uniforms |= {name: bits(level) for name, level in zip(("red", "green", "blue"), background.colour, strict=True)}
        uniforms["opacity"] = bits(background.opacity)

    def rows(first: int, last: int) -> tuple[int, int]:
        return first * width, last * width

    return Dispatch(
        kernel="images/compose",
        params={"background": background is not None},
        reads=[Operand("mask", mask, rows)],
        writes=[Operand("y", pixels, rows)],
        rows=height,
        grid=linear_grid(width),
        uniforms=uniforms,
        flops=8 * height * width,
        op="Compose",
        node="compose",
    )
