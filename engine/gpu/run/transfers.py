"""Inputs into mapped staging memory, and results out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.compiled.model import TensorPlace
from engine.errors import InputError
from engine.gpu.program.tensor import NUMPY_TYPES, storage_array
from engine.gpu.run import copies
from engine.gpu.run.layout import Layout, stored_bytes


def write(
    memory: np.ndarray,
    layout: Layout,
    places: Sequence[TensorPlace],
    inputs: Sequence[np.ndarray | None],
    *,
    allow_nan: bool,
    half: bool,
) -> bool:
    """Write what goes up into mapped memory, uint8; with ``half``, whether all inputs are finite.

    ``places`` are those of the model's ``inputs``. Raises InputError, which names the input, for NaN unless
    ``allow_nan``, and for integers beyond 32 bits; what was written by then is of no use.
    """
    finite = True
    for number, (place, array) in enumerate(zip(places, inputs, strict=True)):
        if array is not None:
            offset = layout.offsets.get(number)
            target = None if offset is None else memory[offset : offset + stored_bytes(place)]
            finite = _write_input(target, place, array, allow_nan=allow_nan, half=half) and finite
    for offset, upload in layout.other_offsets:
        data = np.ascontiguousarray(upload.array).reshape(-1).view(np.uint8)
        copies.copy(memory[offset : offset + data.nbytes], data)
    return finite


def _write_input(
    target: np.ndarray | None, place: TensorPlace, array: np.ndarray, *, allow_nan: bool, half: bool
) -> bool:
    """Write one input, of which nothing goes up where ``target`` is None; whether it is finite, as above."""
    is_looked_at = array.dtype.kind == "f" and (half or not allow_nan)
    nan, finite = False, True
    stored = array if target is None else storage_array(array, place.storage, f"input '{place.name}'")
    if is_looked_at:
        own = target.view(array.dtype) if target is not None and stored is array else None
        flat = np.ascontiguousarray(array).reshape(-1)
        nan, finite = copies.copy_looking_for_nan(own, flat, infinite=half)
    if target is not None and not (is_looked_at and stored is array):
        flat = np.ascontiguousarray(stored).reshape(-1)
        copies.copy(target.view(flat.dtype), flat)
    if nan and not allow_nan:
        raise InputError(f"input '{place.name}' holds NaN")
    return finite


def read(memory: np.ndarray, layout: Layout) -> list[np.ndarray]:
    """The outputs, in the model's types, and behind them what an epilogue reads, uint8: copies of mapped memory."""
    results = []
    for place, offset in layout.output_offsets:
        raw = memory[offset : offset + stored_bytes(place)].view(NUMPY_TYPES[place.storage]).reshape(place.shape)
        dtype = np.dtype(place.dtype)
        results.append(_copied(raw) if raw.dtype == dtype else _as_model_type(raw, dtype))
    results += [_copied(memory[offset : offset + readback.nbytes]) for offset, readback in layout.read_offsets]
    return results


def _copied(raw: np.ndarray) -> np.ndarray:
    array = np.empty(raw.shape, raw.dtype)
    copies.copy(array.reshape(-1), raw.reshape(-1))
    return array


def _as_model_type(raw: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return raw != 0 if dtype == np.bool_ else raw.astype(dtype)
