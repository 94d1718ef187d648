"""What a model's inputs get, checked against what its file declares: the photo, and constants for the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

import engine
from nss.errors import ModelUnavailableError, UsageError, quoted
from nss.interfaces.interface import CHANNELS, POSSIBLE, DType, EdgeSize

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
    name, shapes = interface.input, file.inputs
    if name not in shapes:
        inputs = _join(shapes) or "none"
        return f"has no input {quoted(name)}, it has {inputs}: say which one takes the photo by 'input'"
    kind = file.input_type(name)
    takes = f"takes {name} of {kind}[{', '.join(map(str, shapes[name]))}]"
    if kind != interface.dtype:
        if kind not in get_args(DType):
            return f"{takes}, and a photo is given as {POSSIBLE['dtype']}; export it with such an input"
        return f"{takes}, which 'dtype' {interface.dtype} is not"
    if why := _misfit(shapes[name], interface):
        return f"{takes}, {why}"
    if without := [other for other in shapes if other != name and other not in interface.inputs]:
        return f"takes {_join(without)} beside {name}, the photo: say by 'inputs' which value each has"
    return None


def _misfit(dims: Sequence[int | str], interface: Interface) -> str | None:
    """Why the declared shape is not that of the photo's input, its batch of one left out or not."""
    if not dims:
        return None  # it says nothing, and the engine takes what comes
    shape = image_shape(interface)
    channel = 1 if interface.layout == "NCHW" else 3
    if len(dims) not in (3, 4):
        return "not one image [1, 3, height, width]; say by 'input' which one takes the photo"
    dims = [1, *dims][-4:]
    if isinstance(dims[0], int) and dims[0] != 1:
        return f"{dims[0]} images at a time; export it with a batch of 1"
    if isinstance(dims[channel], int) and dims[channel] != shape[channel]:
        count = shape[channel]
        form = f"1, {count}, height, width" if interface.layout == "NCHW" else f"1, height, width, {count}"
        return (
            f"not one image [{form}] as 'layout' {interface.layout} and 'channels' {interface.channels} say; "
            "say both as the model has them"
        )
    sides = {axis: dim for axis, dim in enumerate(dims) if isinstance(dim, int) and axis not in (0, channel)}
    follows_photo = isinstance(interface.size, EdgeSize)
    if any(follows_photo or dim != shape[axis] for axis, dim in sides.items()):
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
    shapes = file.optional_inputs | file.inputs
    arrays = {}
    for name, value in interface.inputs.items():
        if name not in shapes:
            raise ModelUnavailableError(
                f"'inputs' gives {quoted(name)} a value, and the model has only {_join(shapes)}"
            )
        if name == interface.input:
            raise ModelUnavailableError(f"'inputs' gives {quoted(name)} a value, which takes the photo")
        arrays[name] = _constant(name, value, file.input_dtype(name), shapes[name])
    return arrays


def _constant(name: str, value: Values, dtype: np.dtype[Any], dims: Sequence[int | str]) -> np.ndarray:
    takes = f"{name}, {dtype.name}[{', '.join(map(str, dims))}]"
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
        return np.full([dim if isinstance(dim, int) else 1 for dim in dims], array, dtype)
    fits = len(dims) == exact.ndim and all(
        isinstance(dim, str) or dim == own for dim, own in zip(dims, exact.shape, strict=True)
    )
    if dims and not fits:
        raise ModelUnavailableError(f"'inputs' gives {takes}, an array of {list(exact.shape)}")
    return array


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)
