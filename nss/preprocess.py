"""Between photo and network: resampling, normalisation, and the mask's way back, all in float32.

The one resampler is bilinear (triangle filter) with half-pixel centres. With antialias the filter widens by the scale
of a reduction, as in Pillow's BILINEAR and torchvision's ``antialias=True``; without, two taps an axis, as in ONNX
Resize (version 11 and later, mode "linear", "half_pixel"). Both agree when enlarging.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

import engine

if TYPE_CHECKING:
    from nss.catalogue import ModelSpec

# A photo longer than this is first reduced to this length with antialias, unless the model's own resize has antialias.
LONGEST_SIDE = 4096

# Source lines per block: with fewer, BLAS is not busy; with more, most weights of a block are zeros.
_LINES = 64


def prepare(rgb: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """The network's input, float32 1x3xHxW, for a photo, uint8 HxWx3.

    Resized with the model's own filter, divided by 255, less the mean, over the standard deviation. The network sees
    RGB as it is, under the image's own alpha too: what is transparent there stays so when the cut-out is composed.

    A photo above ``LONGEST_SIDE`` is first reduced to that side with antialias if the model's own filter has none: two
    taps that lie many pixels apart would turn fine texture into noise.
    """
    if spec.input_hw is None:
        raise ValueError(f"{spec.name}: input_hw is not known yet; complete the spec with the opened model first")
    antialias = spec.resize == "bilinear-antialias"
    height, width = rgb.shape[:2]
    reduction = max(height, width) / LONGEST_SIDE
    image = rgb
    if reduction > 1 and not antialias:
        reduced = (max(1, round(height / reduction)), max(1, round(width / reduction)))
        image = resize_bilinear(rgb, reduced, antialias=True)
    image = resize_bilinear(image, spec.input_hw, antialias=antialias)
    mean, std = (np.asarray(v, np.float32) for v in (spec.mean, spec.std))
    image *= 1 / (255 * std)
    image -= mean / std
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The mask, float32 in 0..1, of a network that gives its logits; any finite number is one."""
    mask: np.ndarray = np.tanh(logits * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)
    return mask


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
    """Resample uint8 or float32 HxW or HxWxC to float32 of ``size`` = (height, width), values unscaled.

    Separable: one axis at a time, each as products of small blocks of the weight matrix with the lines that they touch,
    converted to float as they are read. Largest relative error against Pillow's mode "F": about 1e-6.
    """
    (height, width), (h, w) = x.shape[:2], size
    first, second = ((0, h), (1, w)) if h * width <= height * w else ((1, w), (0, h))
    # The products are too small for threads to pay, and how BLAS splits them would show in the last bits.
    with engine.single_threaded_blas():
        return _resize_axis(_resize_axis(x, *first, antialias), *second, antialias)


def _resize_axis(x: np.ndarray, axis: int, length: int, antialias: bool) -> np.ndarray:
    old = x.shape[axis]
    if old == length:
        return x.astype(np.float32)
    out = np.empty((*x.shape[:axis], length, *x.shape[axis + 1 :]), np.float32)
    lines, result = (x, out) if axis == 0 else (np.swapaxes(x, 0, 1), np.swapaxes(out, 0, 1))
    for start, stop, touched, weights in _weight_blocks(old, length, antialias):
        block = lines[touched].astype(np.float32)
        product = weights @ block.reshape(block.shape[0], -1)
        result[start:stop] = product.reshape(stop - start, *block.shape[1:])
    return out


def _weight_blocks(old: int, new: int, antialias: bool) -> Iterator[tuple[int, int, slice | np.ndarray, np.ndarray]]:
    """For runs of output lines: first, last + 1, the input lines they touch, float32 weights (outputs x touched)."""
    scale = old / new
    support = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(new) + 0.5) * scale
    # Pillow's Resample.c: the taps are the input pixels whose centres lie inside the support
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), old)
    step = max(1, round(_LINES / scale)) if scale < _LINES else 1
    for start in range(0, new, step):
        stop = min(start + step, new)
        lines = np.arange(first[start], last[stop - 1])
        weights = 1 - np.abs(lines + 0.5 - centre[start:stop, None]) / support
        np.maximum(weights, 0, out=weights)
        weights /= weights.sum(axis=1, keepdims=True)
        touched: slice | np.ndarray = slice(int(lines[0]), int(lines[-1]) + 1)
        used = weights.any(axis=0)
        if not used.all():  # two taps of a strong reduction: most lines are never looked at
            touched, weights = lines[used], weights[:, used]
        yield start, stop, touched, weights.astype(np.float32)
