"""Photos and masks from arrays of any usual layout and number type; the array itself is never changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nss.errors import ImageError

_STRIP = 1 << 20
"""Samples at a time: what is held beside the array and the result."""

_WHITE = {"u1": 255, "u2": 65535, "f2": 1, "f4": 1, "f8": 1}
"""What stands for white, by kind and bytes of the number type."""


def separate(array: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """A photo's colours, its alpha, and notes on what was lost.

    Integers of 16 bits are divided by 257 and rounded, floating point is multiplied by 255 and rounded.

    Args:
        array: HxW or HxWx1 (grey), HxWx3 (RGB) or HxWx4 (RGB and straight alpha); uint8, uint16, or floating point in
            0..1. Grey with alpha, HxWx2, is not taken: it would as well be two of anything else.
        name: what to call it in an error.

    Returns:
        uint8 HxWx3, a view of ``array`` where that has it so; uint8 HxW or None; notes, one short phrase each.

    Raises:
        ImageError: another shape or number type, or samples that are not finite or leave 0..1.
    """
    white = _white(array)
    if white is None or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise ImageError(
            f"{name}: cannot read an image from an array of {array.dtype} {array.shape}: give HxW, HxWx1, HxWx3 or "
            "HxWx4 of uint8, uint16, or floating point in 0..1"
        )
    has_loss = False
    if white != 255:
        array, has_loss = _to_bytes(array, white, name)
    if array.ndim == 2 or array.shape[2] == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    alpha = np.ascontiguousarray(array[..., 3]) if array.shape[2] == 4 else None
    notes = ("16-bit reduced to 8" if white == 65535 else "float reduced to 8 bits",) if has_loss else ()
    return np.ascontiguousarray(array[..., :3]), alpha, notes


def as_mask(array: np.ndarray, name: str) -> np.ndarray:
    """A mask, float32 HxW in 0..1.

    Args:
        array: HxW or HxWx1; bool, uint8, uint16, or floating point in 0..1.
        name: what to call it in an error.

    Raises:
        ImageError: another shape or number type, or samples that are not finite or leave 0..1.
    """
    white = 1 if array.dtype.kind == "b" else _white(array)
    if white is None or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)):
        raise ImageError(
            f"{name}: cannot read a mask from an array of {array.dtype} {array.shape}: give HxW or HxWx1 of bool, "
            "uint8, uint16, or floating point in 0..1"
        )
    array = array.reshape(array.shape[:2])
    for rows in _strips(array):
        _check_range(array[rows], name)
    return np.divide(array, np.float32(white), dtype=np.float32, casting="unsafe")


def _white(array: np.ndarray) -> int | None:
    return _WHITE.get(f"{array.dtype.kind}{array.dtype.itemsize}")


def _to_bytes(array: np.ndarray, white: int, name: str) -> tuple[np.ndarray, bool]:
    """uint8 of the same shape, and whether any sample lay between two levels of 8 bits."""
    out = np.empty(array.shape, np.uint8)
    has_loss = False
    # how far x / 255 of its type, and x * 257, may be from a level; the nearest sample between levels is 1/257 off
    slack = 1e-3 if white == 65535 else 255 * float(np.finfo(array.dtype).eps)
    for rows in _strips(array):
        samples = array[rows]
        _check_range(samples, name)
        exact_levels = samples.astype(np.promote_types(samples.dtype, np.float32)) * (255 / white)
        levels = np.rint(exact_levels)
        has_loss = has_loss or bool((np.abs(exact_levels - levels) > slack).any())
        out[rows] = levels
    return out, has_loss


def _check_range(samples: np.ndarray, name: str) -> None:
    if samples.dtype.kind == "f" and not (samples.min() >= 0 and samples.max() <= 1):
        if np.isnan(samples).any():
            raise ImageError(f"{name}: holds NaN; put numbers in 0..1 there")
        raise ImageError(
            f"{name}: its samples go from {samples.min():g} to {samples.max():g}; floating point is taken in 0..1: "
            "divide by what stands for white, or give uint8 in 0..255"
        )


def _strips(array: np.ndarray) -> Iterator[slice]:
    rows = max(1, _STRIP * array.shape[0] // max(1, array.size))
    return (slice(top, top + rows) for top in range(0, array.shape[0], rows))
