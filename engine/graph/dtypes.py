"""The tensor types that the engine holds: ONNX's numbers of them, and their NumPy dtypes.

Running a compiled model reads no ONNX, so the numbers stand here; tests hold them to the onnx package.

NumPy has no 4-bit integers. Theirs are dtypes of one field, of a byte: arrays of them are moved and reshaped as all
others are, are equal to no array of bytes, and refuse arithmetic, so that whoever computes with them asks for
``whole_bytes``. Weights are not held so: two share a byte until an operator wants elements (`engine.ops.unpack`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import four_bits
from engine.errors import UnsupportedError

INT4, UINT4 = np.dtype([("int4", np.int8)]), np.dtype([("uint4", np.uint8)])

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    3: np.dtype(np.int8),
    4: np.dtype(np.uint16),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    9: np.dtype(np.bool_),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
    12: np.dtype(np.uint32),
    13: np.dtype(np.uint64),
    21: UINT4,
    22: INT4,
}
"""The dtype of each TensorProto element type that the engine holds."""

ELEM_TYPES = {dtype: number for number, dtype in DTYPES.items()}
"""The TensorProto element type of each of these dtypes."""


def dtype_of(elem_type: int, what: str) -> np.dtype[Any]:
    """The NumPy dtype of a TensorProto element type; UnsupportedError, naming ``what``, for one that is not held."""
    dtype = DTYPES.get(elem_type)
    if dtype is None:
        raise UnsupportedError(f"{what} has tensor type {_name(elem_type)}, which the engine does not hold")
    return dtype


def is_four_bit(dtype: np.dtype[Any] | None) -> bool:
    """Whether it is INT4 or UINT4."""
    return dtype in (INT4, UINT4)


def name_of(dtype: np.dtype[Any]) -> str:
    """The dtype by ONNX's name where it is 4-bit, else by NumPy's."""
    return dtype.names[0] if dtype.names else dtype.name


def byte_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """int8 for INT4, uint8 for UINT4, and any other dtype itself."""
    return dtype[0] if is_four_bit(dtype) else dtype


def whole_bytes(array: np.ndarray) -> np.ndarray:
    """4-bit integers as int8 or uint8 of the same values; any other array itself. Nothing is copied."""
    return array.view(byte_dtype(array.dtype)) if is_four_bit(array.dtype) else array


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The smallest and the largest number of an integer dtype."""
    if is_four_bit(dtype):
        return four_bits.LIMITS[name_of(dtype)]
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _name(elem_type: int) -> str:
    from onnx import TensorProto  # for the message alone

    is_named = elem_type in TensorProto.DataType.values()
    return TensorProto.DataType.Name(elem_type).lower() if is_named else f"number {elem_type}"
