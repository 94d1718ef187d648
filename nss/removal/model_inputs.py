"""What a model's inputs get, held against what its file declares: the photo, and constants for the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import engine
from nss.errors import ModelUnavailableError, UsageError, quoted
from nss.interfaces.interface import CHANNELS, EdgeSize

if TYPE_CHECKING:
    from nss.interfaces.interface import Interface, Values


def image_shape(interface: Interface, size: tuple[int, int] | None = None) -> tuple[int, int, int, int]:
    """The shape of the photo's input, for a height and width; by default what a square photo gets."""
    side = interface.size.length if isinstance(interface.size, EdgeSize) else 1
    height, width = size or interface.size.of(side, side)
    channels = CHANNELS[interface.channels]
    return (1, channels, height, width) if interface.layout == "NCHW" else (1, height, width, channels)


def fault(file: engine.ModelFile, interface: Interface) -> str | None:
    """Why the file's inputs do not take what the interface gives them, as the rest of a sentence; None where they do.

    Raises UnsupportedError for an input whose type the engine does not hold.
    """
    name, declared = interface.input, file.inputs
    if name not in declared:
        inputs = _listed(declared) or "none"
        return f"has no input {quoted(name)}, it has {inputs}: say which one takes the photo by 'input'"
    takes = f"takes {name} of {file.input_dtype(name).name}[{', '.join(map(str, declared[name]))}]"
    if file.input_dtype(name) != np.dtype(interface.dtype):
        return f"{takes}, which 'dtype' {interface.dtype} is not"
    if why := _misfit(declared[name], interface):
        return f"{takes}, {why}"
    if without := [other for other in declared if other != name and other not in interface.inputs]:
        return f"takes {_listed(without)} beside {name}, the photo: say by 'inputs' which value each has"
    return None


def _misfit(declared: Sequence[int | str], interface: Interface) -> str | None:
    """Why the declared shape is not that of the photo's input, its batch of one left out or not."""
    if not declared:
        return None  # it says nothing, and the engine takes what comes
    wanted = image_shape(interface)
    channel = 1 if interface.layout == "NCHW" else 3
    if len(declared) not in (3, 4):
        return "not one image [1, 3, height, width]; say by 'input' which one takes the photo"
    declared = [1, *declared][-4:]
    if isinstance(declared[0], int) and declared[0] != 1:
        return f"{declared[0]} images at a time; export it with a batch of 1"
    if isinstance(declared[channel], int) and declared[channel] != wanted[channel]:
        count = wanted[channel]
        form = f"1, {count}, height, width" if interface.layout == "NCHW" else f"1, height, width, {count}"
        return (
            f"not one image [{form}] as 'layout' {interface.layout} and 'channels' {interface.channels} say; "
            "say both as the model has them"
        )
    fixed = {axis: dim for axis, dim in enumerate(declared) if isinstance(dim, int) and axis not in (0, channel)}
    follows_photo = isinstance(interface.size, EdgeSize)
    if any(follows_photo or dim != wanted[axis] for axis, dim in fixed.items()):
        return f"which 'size' {interface.size} does not fit"
    return None


def constants(file: engine.ModelFile, interface: Interface) -> dict[str, np.ndarray]:
    """The values of the model's other inputs, in the dtype that the file declares.

    A number fills the declared shape, in which an open dimension is 1; nested lists are the array itself. An input that
    has a default in the file may get another value.

    Raises:
        ModelUnavailableError: the file has no such input, or the value does not fit it.
        UsageError: the value is no array of numbers.
        UnsupportedError: the engine does not hold the input's type.
    """
    known = file.optional_inputs | file.inputs
    arrays = {}
    for name, value in interface.inputs.items():
        if name not in known:
            raise ModelUnavailableError(
                f"'inputs' gives {quoted(name)} a value, and the model has only {_listed(known)}"
            )
        if name == interface.input:
            raise ModelUnavailableError(f"'inputs' gives {quoted(name)} a value, which takes the photo")
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
        raise UsageError(
            f"'inputs' gives {takes}, what is no array of numbers: its rows differ in length, or it holds text"
        ) from error
    if not same.all():
        raise ModelUnavailableError(f"'inputs' gives {takes}, a value that {dtype.name} does not have")
    if exact.ndim == 0:
        return np.full([dim if isinstance(dim, int) else 1 for dim in declared], array, dtype)
    fits = len(declared) == exact.ndim and all(
        isinstance(dim, str) or dim == own for dim, own in zip(declared, exact.shape, strict=True)
    )
    if declared and not fits:
        raise ModelUnavailableError(f"'inputs' gives {takes}, an array of {list(exact.shape)}")
    return array


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
