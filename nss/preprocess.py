"""Between photo and network: resampling, normalisation, and the mask's way back, all in float32.

The one resampler is a kernel with half-pixel centres. With antialias it widens by the scale of a reduction, as Pillow's
BILINEAR, BICUBIC (a = -0.5) and LANCZOS (a = 3) do, and torchvision's ``antialias=True``. Without, "bilinear" is two
taps an axis, as in ONNX Resize (version 11 and later, mode "linear", "half_pixel"), and "nearest" one, as Pillow's
NEAREST. Bilinear with and without agree when enlarging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import engine
from nss import visible
from nss.errors import ImageError, UsageError
from nss.interface import CHANNELS

if TYPE_CHECKING:
    from nss.interface import Filter, Interface

# A photo longer than this is first reduced to this length with antialias, unless the model's own resize has antialias.
LONGEST_SIDE = 4096

LARGEST_INPUT = 1 << 24
"""Pixels of a network's input: 4096 squared, minutes of work for a processor.

A photo that is 1 pixel high has any size where its shortest edge says.
"""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601."""

# Source lines per block: with fewer, BLAS is not busy; with more, most weights of a block are zeros.
_LINES = 64


def _box(distance: np.ndarray) -> np.ndarray:
    return ((distance > -0.5) & (distance <= 0.5)).astype(np.float64)


def _triangle(distance: np.ndarray) -> np.ndarray:
    weights = 1 - np.abs(distance)
    return np.maximum(weights, 0, out=weights)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -0.5."""
    t = np.minimum(np.abs(distance), 2)
    return np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2)


def _lanczos(distance: np.ndarray) -> np.ndarray:
    """The sinc of three lobes a side."""
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)


@dataclass(frozen=True)
class _Kernel:
    """Weights by the signed distance of an input pixel's centre, which are 0 beyond ``support``."""

    weights: Callable[[np.ndarray], np.ndarray]
    support: float
    antialias: bool


_KERNELS: dict[Filter, _Kernel] = {
    "nearest": _Kernel(_box, 0.5, antialias=False),
    "bilinear": _Kernel(_triangle, 1, antialias=False),
    "bilinear-antialias": _Kernel(_triangle, 1, antialias=True),
    "bicubic-antialias": _Kernel(_cubic, 2, antialias=True),
    "lanczos-antialias": _Kernel(_lanczos, 3, antialias=True),
}


def prepare(
    rgb: np.ndarray, interface: Interface, alpha: np.ndarray | None = None, name: str = "the photo"
) -> np.ndarray:
    """The network's input for a photo, as the interface has it: its layout, dtype, channels, size and numbers.

    Resized with the model's own filter, then ``(x * scale - mean) / std`` in float32; uint8 is rounded and clipped. The
    network is not shown what alpha hides (`nss.visible`).

    A photo above ``LONGEST_SIDE`` is first reduced to that side with antialias if the model's own filter has none: taps
    that lie many pixels apart would turn fine texture into noise.

    Args:
        rgb: uint8 HxWx3.
        interface: what the model wants.
        alpha: uint8 HxW, the photo's own; None for an opaque photo.
        name: what to call the photo in an error.

    Returns:
        float32, float16 or uint8; 1xCxHxW ("NCHW") or 1xHxWxC.

    Raises:
        ImageError: a photo of this shape would make an input of more than ``LARGEST_INPUT`` pixels.
        UsageError: mean or std have not one number a channel.
    """
    factor, offset = normalisation(interface)
    image = _channels(visible.shown(rgb, alpha), alpha, interface, _input_size(rgb, interface, name))
    with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond all sense: the engine refuses what is NaN
        image *= factor
        image -= offset
        if interface.dtype == "uint8":
            np.clip(np.rint(image, out=image), 0, 255, out=image)
        if interface.layout == "NCHW":
            image = image.transpose(2, 0, 1)
        return np.ascontiguousarray(image[None], dtype=interface.dtype)


def normalisation(interface: Interface) -> tuple[np.ndarray, np.ndarray]:
    """What a photo's 0..255 are multiplied by, and what is then taken off: float32, one a channel or one for all.

    Raises UsageError where mean or std have another number of values than the input has channels.
    """
    count = CHANNELS[interface.channels]
    for key, values in (("mean", interface.mean), ("std", interface.std)):
        if len(values) not in (1, count):
            wanted = "one number" if count == 1 else f"one number, or {count}"
            raise UsageError(
                f"'{key}' has {len(values)} numbers, and the network's input is {interface.channels}: give {wanted}"
            )
    with np.errstate(all="ignore"):
        mean, std = (np.asarray(values, np.float32) for values in (interface.mean, interface.std))
        return 1 / ((1 / interface.scale) * std), mean / std


def _input_size(rgb: np.ndarray, interface: Interface, name: str) -> tuple[int, int]:
    height, width = interface.size.of(*rgb.shape[:2])
    if height * width > LARGEST_INPUT:
        raise ImageError(
            f"{name}: 'size' {interface.size} makes an input of {width} x {height} of a photo of "
            f"{rgb.shape[1]} x {rgb.shape[0]}, which is too large; crop it, or say a smaller size"
        )
    return height, width


def _channels(rgb: np.ndarray, alpha: np.ndarray | None, interface: Interface, size: tuple[int, int]) -> np.ndarray:
    """The photo in 0..255 at the network's size, its channels last; nothing else reads the array."""
    image = _reduced(rgb, size, interface.filter)
    if interface.channels == "grey":
        return (image * LUMA).sum(axis=2, keepdims=True)
    if interface.channels == "BGR":
        return image[..., ::-1]
    if interface.channels == "RGBA":
        opacity = np.full(size, 255, np.float32) if alpha is None else _reduced(alpha, size, interface.filter)
        return np.concatenate([image, opacity[..., None]], axis=2)
    return image


def _reduced(x: np.ndarray, size: tuple[int, int], method: Filter) -> np.ndarray:
    height, width = x.shape[:2]
    reduction = max(height, width) / LONGEST_SIDE
    if reduction > 1 and not _KERNELS[method].antialias:
        between = (max(1, round(height / reduction)), max(1, round(width / reduction)))
        x = resize(x, between, "bilinear-antialias")
    return resize(x, size, method)


def mask_to_photo(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The network's mask, float32 HxW, at the photo's (height, width), clipped to 0..1.

    Bilinear with half-pixel centres; where the photo is smaller than the mask the filter widens, so that edges do not
    turn into steps.
    """
    resized = resize_bilinear(mask, size, antialias=True)
    return np.clip(resized, 0, 1, out=resized)


def stretch(mask: np.ndarray) -> np.ndarray:
    """The mask with its minimum moved to 0 and its maximum to 1; a constant mask comes back unchanged.

    U-2-Net's and BRIA's reference code end with it. It turns "nothing found" into a full mask, and is no default for
    any model: where something is found the networks reach both ends by themselves (U²-Netp: below 2e-7 and above
    1 - 1e-5 on both photos in examples/).
    """
    low, high = float(mask.min()), float(mask.max())
    if high <= low:
        return mask
    stretched: np.ndarray = (mask - low) / (high - low)
    return stretched


def resize_bilinear(x: np.ndarray, size: tuple[int, int], *, antialias: bool) -> np.ndarray:
    """`resize` with "bilinear-antialias" or "bilinear"."""
    return resize(x, size, "bilinear-antialias" if antialias else "bilinear")


def resize(x: np.ndarray, size: tuple[int, int], method: Filter) -> np.ndarray:
    """Resample uint8 or float32 HxW or HxWxC to float32 of ``size`` = (height, width), values unscaled.

    Separable: one axis at a time, each as products of small blocks of the weight matrix with the lines that they touch,
    converted to float as they are read. Largest relative error against Pillow's mode "F": about 1e-6.
    """
    (height, width), (h, w), kernel = x.shape[:2], size, _KERNELS[method]
    first, second = ((0, h), (1, w)) if h * width <= height * w else ((1, w), (0, h))
    # The products are too small for threads to pay, and how BLAS splits them would show in the last bits.
    with engine.single_threaded_blas():
        return _resize_axis(_resize_axis(x, *first, kernel), *second, kernel)


def _resize_axis(x: np.ndarray, axis: int, length: int, kernel: _Kernel) -> np.ndarray:
    old = x.shape[axis]
    if old == length:
        return x.astype(np.float32)
    out = np.empty((*x.shape[:axis], length, *x.shape[axis + 1 :]), np.float32)
    lines, result = (x, out) if axis == 0 else (np.swapaxes(x, 0, 1), np.swapaxes(out, 0, 1))
    for start, stop, touched, weights in _weight_blocks(old, length, kernel):
        block = lines[touched].astype(np.float32)
        product = weights @ block.reshape(block.shape[0], -1)
        result[start:stop] = product.reshape(stop - start, *block.shape[1:])
    return out


def _weight_blocks(old: int, new: int, kernel: _Kernel) -> Iterator[tuple[int, int, slice | np.ndarray, np.ndarray]]:
    """For runs of output lines: first, last + 1, the input lines they touch, float32 weights (outputs x touched)."""
    scale = old / new
    widening = max(scale, 1.0) if kernel.antialias else 1.0
    support = kernel.support * widening
    centre = _running_centres(new, scale) if kernel.weights is _box else (np.arange(new) + 0.5) * scale
    # Pillow's Resample.c: the taps are the input pixels whose centres lie inside the support
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), old)
    step = max(1, round(_LINES / scale)) if scale < _LINES else 1
    for start in range(0, new, step):
        stop = min(start + step, new)
        lines = np.arange(first[start], last[stop - 1])
        weights = kernel.weights((lines + 0.5 - centre[start:stop, None]) / widening)
        weights /= weights.sum(axis=1, keepdims=True)
        touched: slice | np.ndarray = slice(int(lines[0]), int(lines[-1]) + 1)
        used = weights.any(axis=0)
        if not used.all():  # a few taps of a strong reduction: most lines are never looked at
            touched, weights = lines[used], weights[:, used]
        yield start, stop, touched, weights.astype(np.float32)


def _running_centres(new: int, scale: float) -> np.ndarray:
    """Where the centres of output pixels lie, summed up as Pillow does: the last bits choose between two neighbours."""
    centre = np.full(new, scale)
    centre[0] *= 0.5
    return np.minimum(np.cumsum(centre), new * scale - 0.5 * min(scale, 1))
