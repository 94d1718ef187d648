"""What a model's inputs get, held against what its file declares: the photo, and constants for the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import engine
from nss.errors import UsageError
from nss.interface import CHANNELS, EdgeSize

if TYPE_CHECKING:
    from nss.interface import Interface, Values


def image_shape(interface: Interface, size: tuple[int, int] | None = None) -> tuple[int, int, int, int]:
    """The shape of the photo's input, for a height and width; by default what a square photo gets."""
    side = interface.size.length if isinstance(interface.size, EdgeSize) else 1
    height, width = size or interface.size.of(side, side)
    channels = CHANNELS[interface.channels]
    return (1, channels, height, width) if interface.layout == "NCHW" else (1, height, width, channels)


def constants(file: engine.ModelFile, interface: Interface) -> dict[str, np.ndarray]:
    """The values of the model's other inputs, in the dtype that the file declares.

    A number fills the declared shape, in which an open dimension is 1; nested lists are the array itself. An input that
    has a default in the file may get another value.

    Raises:
        UsageError: the file has no such input, or the value does not fit it.
        UnsupportedError: the engine does not hold the input's type.
    """
    known = file.optional_inputs | file.inputs
    arrays = {}
    for name, value in interface.inputs.items():
        if name not in known:
            raise UsageError(f"'inputs' gives '{name}' a value, and the model has only {_listed(known)}")
        if name == interface.input:
            raise UsageError(f"'inputs' gives '{name}' a value, which takes the photo")
        arrays[name] = _constant(name, value, file.input_dtype(name), known[name])
    return arrays


def _constant(name: str, value: Values, dtype: np.dtype[Any], declared: Sequence[int | str]) -> np.ndarray:
    takes = f"{name}, {dtype.name}[{', '.join(map(str, declared))}]"
    try:
        exact = np.asarray(value, np.float64)
        with np.errstate(all="ignore"):
            array = exact.astype(dtype)
            same = np.isfinite(array) == np.isfinite(exact) if dtype.kind == "f" else array == exact
    except (TypeError, ValueError) as error:
        raise UsageError(f"'inputs' gives {takes}, what is no array of numbers: {error}") from error
    if not same.all():
        raise UsageError(f"'inputs' gives {takes}, a value that {dtype.name} does not have")
    if exact.ndim == 0:
        return np.full([dim if isinstance(dim, int) else 1 for dim in declared], array, dtype)
    fits = len(declared) == exact.ndim and all(
        isinstance(dim, str) or dim == own for dim, own in zip(declared, exact.shape, strict=True)
    )
    if declared and not fits:
        raise UsageError(f"'inputs' gives {takes}, an array of {list(exact.shape)}")
    return array


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
