"""How the units of the weights are stored: as they are, or narrower where they hold float32.

A unit is 256 bytes of a constant buffer: 64 numbers of float32. Stored as "raw" it is these bytes, as "f16" 64 numbers
of float16, and as "q8" one float32, the scale, and 64 numbers of int8, each of which stands for itself times the scale.
What is widened and then narrowed again gives the same bytes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.compiled.model import ALIGNMENT

Encoding = Literal["raw", "f16", "q8"]

UNIT = ALIGNMENT
"""Bytes of a unit in its buffer."""

UNIT_BYTES: dict[Encoding, int] = {"raw": UNIT, "f16": UNIT // 2, "q8": UNIT // 4 + 4}
"""Bytes that a unit takes where it is stored."""

ENCODINGS: dict[str, Encoding] = {"f32": "raw", "f16": "f16", "int8": "q8"}
"""The encoding of large float32 constants, by what ``save_compiled`` calls it."""

LEAST_ELEMENTS = 4096
"""Elements that a constant must have to be narrowed: smaller ones, such as what is added per channel, save nothing."""

_NUMBERS = UNIT // 4
"""Numbers of float32 in a unit."""

_BLOCK = np.dtype([("scale", "<f4"), ("values", "i1", (_NUMBERS,))])

_LARGEST_VALUE = np.float32(127)

_LIMITS: dict[Encoding, float] = {"raw": np.inf, "f16": 65520.0, "q8": 2.0**127}
"""What the numbers of a constant must be below: from 65520 on a float32 rounds to float16's infinity, and near
float32's largest number 127 times the scale would be rounded to infinity."""

_OUTLIER = 8.0
"""A unit whose largest number is more than so many times what is usual in its constant stays as it is.

What rounding takes from a few numbers that are a hundred times the others can outweigh all the rest. In U²-Netp, as
NumPy has it, 51 of 15,840 units have such numbers: with these narrow, too, its masks are up to 0.06 off with float16
and useless with int8, and without them 0.002 and 0.04 (examples/astronaut.png, 320²).
"""


def narrow_units(values: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Which units (bool, one each) of a constant (float32, one axis) are to be stored narrow; the last may be short.

    None are where the constant holds an infinity, a NaN or what is too large for the encoding. Outliers are where
    nothing is lost, as of what was narrow before.
    """
    magnitudes = _magnitudes(values)
    if not magnitudes.max() < _LIMITS[encoding]:  # a NaN is below nothing
        return np.zeros(magnitudes.size, bool)
    usual = np.median(magnitudes[magnitudes > 0]) if magnitudes.any() else 0
    narrow_ones = magnitudes / _OUTLIER <= usual
    outliers = np.flatnonzero(~narrow_ones)
    if outliers.size:
        units = np.zeros((outliers.size, _NUMBERS), np.float32)
        for row, unit in enumerate(outliers):
            part = values[unit * _NUMBERS : (unit + 1) * _NUMBERS]
            units[row, : part.size] = part
        widened = np.empty_like(units)
        widen(narrow(units.reshape(-1).view(np.uint8), encoding), encoding, widened.reshape(-1).view(np.uint8))
        narrow_ones[outliers] = (widened == units).all(1)
    return narrow_ones


def filled_up(data: np.ndarray) -> np.ndarray:
    """Bytes (uint8, one axis) up to the next whole unit, with zeros."""
    return np.concatenate([data, np.zeros(-data.size % UNIT, np.uint8)]) if data.size % UNIT else data


def _magnitudes(values: np.ndarray) -> np.ndarray:
    """The largest magnitude of each unit."""
    whole = values.size // _NUMBERS * _NUMBERS
    units = values[:whole].reshape(-1, _NUMBERS)
    largest = np.maximum(units.max(1), -units.min(1))
    return largest if whole == values.size else np.append(largest, np.abs(values[whole:]).max())


def narrow(units: np.ndarray, encoding: Encoding) -> np.ndarray:
    """The stored bytes (uint8, one axis) of whole units (uint8, one axis)."""
    if encoding == "raw":
        return units
    values = units.view("<f4")
    if encoding == "f16":
        with np.errstate(under="ignore"):
            return values.astype("<f2").view(np.uint8)
    blocks = values.reshape(-1, _NUMBERS)
    scales = _scales(_magnitudes(values))
    stored = np.empty(len(blocks), _BLOCK)
    stored["scale"] = scales
    stored["values"] = np.rint(blocks / np.where(scales, scales, np.float32(np.inf))[:, None])
    return stored.view(np.uint8)


def _scales(largest: np.ndarray) -> np.ndarray:
    """The scale of each block of which the largest number is given: 0 where it would be subnormal, as GPUs have it."""
    with np.errstate(under="ignore"):
        scales = largest / _LARGEST_VALUE
    scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(0), scales)
    # 127 times such a scale, rounded and divided by 127, is the scale again, so that what was widened stays as it is
    return scales * _LARGEST_VALUE / _LARGEST_VALUE


def widen(stored: np.ndarray, encoding: Encoding, units: np.ndarray) -> None:
    """Write into ``units`` (uint8, one axis) what the stored bytes of so many units stand for."""
    if encoding == "raw":
        units[:] = stored
    elif encoding == "f16":
        units.view("<f4")[:] = stored.view("<f2")
    else:
        blocks = stored.view(_BLOCK)
        with np.errstate(all="ignore"):  # a file may hold any scale
            np.multiply(blocks["values"], blocks["scale"][:, None], out=units.view("<f4").reshape(-1, _NUMBERS))
