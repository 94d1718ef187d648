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
) -> None:
    """Write what goes up into mapped memory, uint8.

    ``places`` are those of the model's ``inputs``. Raises InputError, which names the input, for NaN unless
    ``allow_nan``, and for integers beyond 32 bits; what was written by then is of no use.
    """
    for number, (place, array) in enumerate(zip(places, inputs, strict=True)):
        if array is not None:
            _write_input(_part(memory, layout, number, place), place, array, allow_nan=allow_nan)
    for offset, upload in layout.other_offsets:
        data = np.ascontiguousarray(upload.array).reshape(-1).view(np.uint8)
        copies.copy(memory[offset : offset + data.nbytes], data)


def _part(memory: np.ndarray, layout: Layout, number: int, place: TensorPlace) -> np.ndarray | None:
    """The memory of an input; None where nothing of it goes up."""
    offset = layout.offsets.get(number)
    return None if offset is None else memory[offset : offset + stored_bytes(place)]


def _write_input(target: np.ndarray | None, place: TensorPlace, array: np.ndarray, *, allow_nan: bool) -> None:
    is_looked_at = array.dtype.kind == "f" and not allow_nan
    stored = array if target is None else storage_array(array, place.storage, f"input '{place.name}'")
    if is_looked_at:
        own = target.view(array.dtype) if target is not None and stored is array else None
        if copies.copy_looking_for_nan(own, np.ascontiguousarray(array).reshape(-1)):
            raise InputError(f"input '{place.name}' holds NaN")
    if target is not None and not (is_looked_at and stored is array):
        flat = np.ascontiguousarray(stored).reshape(-1)
        copies.copy(target.view(flat.dtype), flat)


def are_finite(memory: np.ndarray, layout: Layout, places: Sequence[TensorPlace]) -> bool:
    """Whether none of the inputs that were written into the memory holds NaN or an infinity."""
    parts = ((place, _part(memory, layout, number, place)) for number, place in enumerate(places))
    arrays = (part.view(NUMPY_TYPES[place.storage]) for place, part in parts if part is not None)
    return not any(array.dtype.kind == "f" and _holds_infinities(array) for array in arrays)


def read(memory: np.ndarray, layout: Layout, *, look: bool = False) -> tuple[list[np.ndarray], bool]:
    """The outputs, in the model's types, and behind them what an epilogue reads, uint8: copies of mapped memory.

    And whether, where one is to ``look``, all of the outputs are finite.
    """
    results, finite = [], True
    for place, offset in layout.output_offsets:
        raw = memory[offset : offset + stored_bytes(place)].view(NUMPY_TYPES[place.storage]).reshape(place.shape)
        array = _copied(raw) if raw.dtype == place.dtype else _as_model_type(raw, np.dtype(place.dtype))
        # while it is in the cache
        finite = finite and not (look and array.dtype.kind == "f" and _holds_infinities(array))
        results.append(array)
    results += [_copied(memory[offset : offset + readback.nbytes]) for offset, readback in layout.read_offsets]
    return results, finite


def _holds_infinities(array: np.ndarray) -> bool:
    return copies.copy_looking_for_infinities(None, array.reshape(-1))


def _copied(raw: np.ndarray) -> np.ndarray:
    array = np.empty(raw.shape, raw.dtype)
    copies.copy(array.reshape(-1), raw.reshape(-1))
    return array


def _as_model_type(raw: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return raw != 0 if dtype == np.bool_ else raw.astype(dtype)
