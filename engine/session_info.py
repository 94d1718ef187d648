"""What a session says of itself: its inputs and outputs, and what runs where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import four_bits
from engine.compiled.model import TensorPlace
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.graph.ir import Value


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a session.

    ``limits`` are the smallest and the largest integer that an input of ONNX's 4-bit types takes, in arrays of bytes;
    None for all others.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    limits: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What will run, and on what; ``reason`` says why "auto" chose that backend, or that it was asked for.

    ``nodes_in_file`` counts the nodes of the model, ``nodes_loaded`` those left after folding shapes and constants and
    pruning, ``nodes_planned`` those after the passes, and ``passes`` how often each fired. ``weight_bytes`` is what the
    loaded constants take, ``peak_activation_bytes`` the planned peak of everything that a run makes,
    ``activation_buffer_bytes`` what is allocated for it, and ``scratch_bytes`` what the workers use beside it.
    ``matrix_units`` says whether a kernel runs on the GPU's matrix units, ``software`` whether a GPU is a program.
    ``tuning`` says whether the choice of kernels was measured, and on what (``engine.tune``); "" on a processor, and of
    a model that was compiled elsewhere.
    """

    backend: str
    device: str
    reason: str
    precision: str
    nodes_in_file: int
    nodes_loaded: int
    nodes_planned: int
    weight_bytes: int
    peak_activation_bytes: int
    activation_buffer_bytes: int
    scratch_bytes: int
    passes: dict[str, int] = field(default_factory=dict)
    matrix_units: bool = False
    software: bool = False
    tuning: str = ""


def tensor_info(value: Value | TensorPlace) -> TensorInfo:
    """What a session says of an input or output."""
    if isinstance(value, TensorPlace):
        return TensorInfo(value.name, np.dtype(value.array_dtype), value.shape, four_bits.LIMITS.get(value.dtype))
    return TensorInfo(value.name, value.dtype, value.shape, four_bits.LIMITS.get(value.narrow))


def input_array(info: TensorInfo, value: np.ndarray | None, *, allow_nan: bool) -> np.ndarray:
    """What is given for an input, None where nothing is, as an array.

    Raises InputError where it is missing, of another dtype or shape than ``info`` says, holds integers beyond its
    limits, or, unless ``allow_nan``, NaN.
    """
    if value is None:
        raise InputError(f"input '{info.name}' is missing; it takes {info.dtype.name}{list(info.shape)}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"input '{info.name}' is no array: {error}") from error
    if array.dtype != info.dtype or array.shape != info.shape:
        raise InputError(
            f"input '{info.name}' takes {info.dtype.name}{list(info.shape)}; "
            f"it was given {array.dtype.name}{list(array.shape)}"
            f"{'' if array.dtype.isnative else ' of another byte order'}"
        )
    if info.limits is not None:
        four_bits.check(array, info.limits, info.name)
    if not allow_nan and array.dtype.kind == "f" and array.size and np.isnan(array.min()):
        raise InputError(f"input '{info.name}' holds NaN")
    return array
