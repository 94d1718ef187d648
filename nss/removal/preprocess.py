"""From a photo to what a network takes, and from its mask to the photo's size, all in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nss.arrays.resample import resize, widens
from nss.errors import ImageError, UsageError
from nss.interfaces.interface import CHANNELS
from nss.masks.photo_mask import PhotoMask
from nss.removal import visible

if TYPE_CHECKING:
    from nss.arrays.filters import Filter
    from nss.interfaces.interface import Interface

# A photo longer than this is first reduced to this length with antialias, unless the model's own resize has antialias.
LONGEST_SIDE = 4096

LARGEST_INPUT = 1 << 24
"""Pixels of a network's input: 4096 squared, minutes of work for a processor.

A photo that is 1 pixel high has any size where its shortest edge says.
"""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601."""


def prepare(
    rgb: np.ndarray, interface: Interface, alpha: np.ndarray | None = None, name: str = "the photo"
) -> np.ndarray:
    """The network's input for a photo, as the interface has it: its layout, dtype, channels, size and numbers.

    Resized with the model's own filter, then ``(x * scale - mean) / std`` in float32; uint8 is rounded and clipped. The
    network is not shown what alpha hides (`nss.removal.visible`).

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
    image = _channels(visible.over_backdrop(rgb, alpha), alpha, interface, input_size(rgb, interface, name))
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
            counts = "one number" if count == 1 else f"one number, or {count}"
            raise UsageError(
                f"'{key}' has {len(values)} numbers, and the network's input is {interface.channels}: give {counts}"
            )
    with np.errstate(all="ignore"):
        mean, std = (np.asarray(values, np.float32) for values in (interface.mean, interface.std))
        return 1 / ((1 / interface.scale) * std), mean / std


def input_size(rgb: np.ndarray, interface: Interface, name: str) -> tuple[int, int]:
    """Height and width of the network's input for a photo. Raises ImageError where that would be too large."""
    height, width = interface.size.of(*rgb.shape[:2])
    if height * width > LARGEST_INPUT:
        raise ImageError(
            f"{name}: 'size' {interface.size} makes an input of {width} x {height} of a photo of "
            f"{rgb.shape[1]} x {rgb.shape[0]}, which is too large; crop it, or say a smaller size"
        )
    return height, width


def _channels(rgb: np.ndarray, alpha: np.ndarray | None, interface: Interface, size: tuple[int, int]) -> np.ndarray:
    """The photo in 0..255 at the network's size, its channels last; nothing else reads the array."""
    image = _resize(rgb, size, interface.filter)
    if interface.channels == "grey":
        return (image * LUMA).sum(axis=2, keepdims=True)
    if interface.channels == "BGR":
        return image[..., ::-1]
    if interface.channels == "RGBA":
        opacity = np.full(size, 255, np.float32) if alpha is None else _resize(alpha, size, interface.filter)
        return np.concatenate([image, opacity[..., None]], axis=2)
    return image


def _resize(x: np.ndarray, size: tuple[int, int], method: Filter) -> np.ndarray:
    between = size_between((x.shape[0], x.shape[1]), method)
    if between != x.shape[:2]:
        x = resize(x, between, "bilinear-antialias")
    return resize(x, size, method)


def size_between(size: tuple[int, int], method: Filter) -> tuple[int, int]:
    """The (height, width) that a photo of that ``size`` is first reduced to; its own where it is resized at once."""
    height, width = size
    reduction = max(height, width) / LONGEST_SIDE
    if reduction <= 1 or widens(method):
        return size
    return max(1, round(height / reduction)), max(1, round(width / reduction))


def mask_to_photo(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The network's mask, float32 HxW, at the photo's (height, width), clipped to 0..1:
    that of `nss.masks.photo_mask.PhotoMask.enlarged`.
    """
    return PhotoMask.enlarged(mask, size).array
