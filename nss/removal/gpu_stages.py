"""A photo's way into a network and its mask's way out, as the GPU takes them: the same steps as NumPy's, as data.

What the GPU cannot do, or not within a level of NumPy, has a reason here, and NumPy does it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

import engine
from nss.arrays import dilation, gaussian
from nss.arrays.resample import line_weights
from nss.interfaces.interface import CHANNELS
from nss.masks.refine import SHARPEST
from nss.removal import preprocess, visible
from nss.removal.mask_output import form_of

if TYPE_CHECKING:
    from nss.arrays.filters import Filter
    from nss.interfaces.interface import Interface
    from nss.masks.refine import Refinement
    from nss.photos.image_io import Photo

LEAST_SPAN = 1 / 64
"""Least distance of the black and the white point: closer ones make a level of the last bits of a float32."""

FARTHEST = 16.0
"""Pixels that contours are moved by at the most: beyond, a disc has more points than pay."""


WIDEST = 4000
"""Pixels that a blur looks to each side at the most."""


class NotOnGpuError(Exception):
    """Why the GPU does not do a stage, in a few words."""


def pixel_input(photo: Photo, interface: Interface) -> engine.PixelInput:
    """The network's input for a photo, as the GPU makes it: `nss.removal.preprocess.prepare` as data.

    Raises:
        NotOnGpuError: NumPy has to make it.
        ImageError: the photo's input would be too large.
        UsageError: mean or std have not one number a channel.
    """
    rgb = photo.rgb
    if interface.channels == "RGBA" and photo.alpha is not None and int(photo.alpha.min()) < 255:
        raise NotOnGpuError("the network sees the photo's own transparency")
    height, width = preprocess.input_size(rgb, interface, photo.name)
    numbers = preprocess.normalisation(interface)
    factor, offset = (np.broadcast_to(values, CHANNELS[interface.channels]) for values in numbers)
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise NotOnGpuError("mean and std are beyond float32")
    colours = np.eye(3)
    mixed: dict[str, np.ndarray] = {
        "RGB": colours,
        "BGR": colours[::-1],
        "grey": preprocess.LUMA[None],
        "RGBA": np.eye(4, 3),
    }
    matrix = mixed[interface.channels] * factor[:, None].astype(np.float64)
    constant = -offset.astype(np.float64)
    if interface.channels == "RGBA":
        constant[3] += 255 * float(factor[3])
    between = preprocess.size_between((rgb.shape[0], rgb.shape[1]), interface.filter)
    return engine.PixelInput(
        pixels=visible.over_backdrop(rgb, photo.alpha),
        rows=_lines(rgb.shape[0], between[0], height, interface.filter),
        columns=_lines(rgb.shape[1], between[1], width, interface.filter),
        matrix=tuple((float(red), float(green), float(blue)) for red, green, blue in matrix),
        offset=tuple(map(float, constant)),
        layout=interface.layout,
    )


def mask_output(
    photo: Photo, interface: Interface, output: engine.TensorInfo, refinement: Refinement | None, bits: int
) -> engine.MaskOutput:
    """A photo's mask in levels of ``bits`` bits, as the GPU makes them of the network's output, refined.

    Raises:
        NotOnGpuError: NumPy has to make it.
    """
    if photo.alpha is not None:
        raise NotOnGpuError("the photo has an alpha of its own")
    form = form_of(output.shape, output.dtype, interface)
    if form is None:
        raise NotOnGpuError("the output holds no mask")
    steps = {} if refinement is None else refinement.settings()
    for name in ("guided", "drop_islands", "fill_holes"):
        if name in steps:
            raise NotOnGpuError(f"{name} is NumPy's")
    black, white = steps.get("black", 0.0), steps.get("white", 1.0)
    if white - black < LEAST_SPAN:
        raise NotOnGpuError("the black and the white point are nearly one")
    pixels = steps.get("expand", 0.0)
    if abs(pixels) > FARTHEST:
        raise NotOnGpuError(f"contours move by more than {FARTHEST:g} pixels")
    height, width = photo.size
    return engine.MaskOutput(
        rows=_lines(form.height, form.height, height, "bilinear-antialias"),
        columns=_lines(form.width, form.width, width, "bilinear-antialias"),
        channels=form.count,
        channel=interface.channel % form.count if not form.is_classes else interface.channel,
        channels_last=form.last,
        activation="equal" if form.is_classes else interface.activation,
        divisor=1.0 if form.is_classes else interface.range,
        bits=16 if bits == 16 else 8,
        levels=(black, white) if (black, white) != (0, 1) else None,
        smoothing=_smoothing(steps["smooth"]) if "smooth" in steps else None,
        dilation=_dilation(pixels) if pixels else None,
        blur=_kernel(steps["feather"]) if "feather" in steps else None,
    )


@lru_cache(maxsize=32)
def _lines(source: int, between: int, length: int, method: Filter) -> engine.LineWeights:
    """The weights of one axis; a photo that is first reduced to ``between`` has those of both in one."""
    if between == source:
        return engine.LineWeights(source, *line_weights(source, length, method))
    first, counts, weights = line_weights(source, between, "bilinear-antialias")
    later, later_counts, later_weights = line_weights(between, length, method)
    spans = [
        (int(first[begin]), int((first + counts)[begin + count - 1]))
        for begin, count in zip(later, later_counts, strict=True)
    ]
    table = np.zeros((length, max(end - begin for begin, end in spans)))
    for line, (start, _) in enumerate(spans):
        for tap in range(later_counts[line]):
            row = later[line] + tap
            at = first[row] - start
            table[line, at : at + counts[row]] += float(later_weights[line, tap]) * weights[row, : counts[row]]
    starts, ends = np.array(spans, np.int32).T
    return engine.LineWeights(source, starts.copy(), ends - starts, table.astype(np.float32))


@lru_cache(maxsize=16)
def _kernel(sigma: float) -> tuple[float, ...]:
    if gaussian.reach(sigma) > WIDEST:
        raise NotOnGpuError(f"a blur of {sigma:g} pixels is too wide")
    return tuple(map(float, gaussian.half_kernel(sigma)))


@lru_cache(maxsize=16)
def _smoothing(radius: float) -> engine.Smoothing:
    """`nss.masks.refine.smooth` as data."""
    return engine.Smoothing(_kernel(radius), _kernel(3 * radius), SHARPEST / math.hypot(SHARPEST, radius))


@lru_cache(maxsize=16)
def _dilation(pixels: float) -> engine.Dilation:
    """`nss.masks.refine.expand` as data."""
    return engine.Dilation(tuple(dilation.points(abs(pixels))), complement=pixels < 0)
