"""The tensor types that the engine holds: ONNX's numbers of them, and their NumPy dtypes.

Running a compiled model reads no ONNX, so the numbers stand here; tests hold them to the onnx package.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import UnsupportedError

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
}
"""The dtype of each TensorProto element type that the engine holds."""


def dtype_of(elem_type: int, what: str) -> np.dtype[Any]:
    """The NumPy dtype of a TensorProto element type; UnsupportedError, naming ``what``, where NumPy has none."""
    dtype = DTYPES.get(elem_type)
    if dtype is None:
        raise UnsupportedError(f"{what} has tensor type {_name(elem_type)}, which the engine does not hold")
    return dtype


def _name(elem_type: int) -> str:
    from onnx import TensorProto  # for the message alone

    is_named = elem_type in TensorProto.DataType.values()
    return TensorProto.DataType.Name(elem_type).lower() if is_named else f"number {elem_type}"
