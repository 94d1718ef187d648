"""A model's interface as data: what it wants of a photo, and where its mask is.

A `Description` is what one source says: options, a configuration file, the catalogue, the model file. Sources are laid
over each other (`merge`), and what they leave open is guessed, until an `Interface` is complete.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, cast, get_args

from nss.arrays.filters import Filter
from nss.errors import UsageError, check_kind, one_line, quoted

Layout = Literal["NCHW", "NHWC"]
DType = Literal["float32", "float16", "uint8"]
Channels = Literal["RGB", "BGR", "RGBA", "grey"]
Activation = Literal["none", "sigmoid", "softmax"]
Values = float | Sequence[Any]
"""A constant input: one number for all of its elements, or nested lists of its shape."""

CHANNELS: dict[Channels, int] = {"RGB": 3, "BGR": 3, "RGBA": 4, "grey": 1}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FixedSize:
    """Every photo is resized to this height and width in pixels, whatever its shape."""

    height: int
    width: int

    def of(self, height: int, width: int) -> tuple[int, int]:  # noqa: ARG002 - the other size has to know them
        """Height and width of the network's input for a photo of that height and width."""
        return self.height, self.width

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True)
class EdgeSize:
    """The photo keeps its shape: one of its edges gets this length, and both become multiples of a number."""

    edge: Literal["shortest", "longest"]
    length: int
    multiple_of: int = 1

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for a photo of that height and width."""
        edge = min(height, width) if self.edge == "shortest" else max(height, width)
        return self._round(height * self.length / edge), self._round(width * self.length / edge)

    def _round(self, length: float) -> int:
        return max(1, math.floor(length / self.multiple_of + 0.5)) * self.multiple_of

    def __str__(self) -> str:
        return f"{self.edge}:{self.length}" + (f"/{self.multiple_of}" if self.multiple_of != 1 else "")


Size = FixedSize | EdgeSize


class Description(TypedDict, total=False):
    """What one source says of a model's interface; a key that is not there is left open. See `Interface`."""

    input: str
    layout: Layout
    dtype: DType
    channels: Channels
    size: Size
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    filter: Filter
    output: str | int
    channel: int
    activation: Activation
    range: float
    inputs: Mapping[str, Values]


@dataclass(frozen=True)
class Interface:
    """How a photo becomes the network's input, and the network's output a mask.

    A photo, 0..255 in sRGB, is resized by ``filter`` to ``size``; then ``(x * scale - mean) / std``, each channel for
    itself.
    The mask is ``channel`` of ``output`` after ``activation``, divided by ``range``.

    Attributes:
        input: the input that takes the photo.
        layout: the order of its axes.
        dtype: of its elements.
        channels: which they are, in their order; "grey" is one channel of Rec. 601 luma.
        size: in pixels.
        scale: of the photo's 0..255.
        mean: one number a channel, or one for all.
        std: likewise.
        filter: how the photo is resized; those with antialias widen where they reduce, as Pillow's do.
        output: the output's name, or its index in the file; negative ones count from the end in a `Description`.
        channel: of an output with several, the one that is the foreground; negative ones count from the end.
        activation: what is applied to the output.
        range: the output's value for full foreground.
        inputs: constants for the model's other inputs, by name.
    """

    input: str
    layout: Layout
    dtype: DType
    channels: Channels
    size: Size
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    filter: Filter
    output: str | int
    channel: int
    activation: Activation
    range: float
    inputs: Mapping[str, Values]


USUAL: Description = {
    "layout": "NCHW",
    "dtype": "float32",
    "channels": "RGB",
    "scale": 1 / 255,
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "filter": "bilinear-antialias",
    "channel": 0,
    "activation": "none",
    "range": 1.0,
    "inputs": {},
}
"""What most models have, and what is guessed where nothing else says it; tensors and size are each one's own."""


def complete(description: Description) -> Interface:
    """The interface of a description that says ``input``, ``output`` and ``size``, and what is usual for the rest."""
    whole: Description = {**USUAL, **description}
    return Interface(**whole)


def merge(sources: Iterable[tuple[str, Description]]) -> tuple[Description, dict[str, str]]:
    """Descriptions merged, where the first source with a key wins; and the winning source by key.

    ``sources`` are names, such as "option" or "catalogue", with what each says. ``inputs`` are joined name by name.
    """
    whole: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, description in sources:
        for key, value in description.items():
            if key == "inputs" and key in whole:
                whole[key] = {**cast("Mapping[str, Values]", value), **whole[key]}
            elif key not in whole:
                whole[key], origins[key] = value, origin
    return cast("Description", whole), origins


def parse_description(values: Mapping[str, Any], where: str) -> Description:
    """A description from JSON: the keys of `Interface`, each optional; or ``model_config`` as `--json` has it.

    ``size`` is ``[height, width]``, a number for both, ``{"shortest_edge": n, "multiple_of": m}``, likewise
    ``longest_edge``, or what `parse_size` reads. Arrays of NumPy and its numbers stand for lists and numbers. Raises
    UsageError, which begins with ``where``, for an unknown key or a value that is none.
    """
    if set(values) == {"values", "origins"} and isinstance(values["values"], Mapping):
        values = values["values"]
    keys = Description.__annotations__
    description: dict[str, Any] = {}
    for key, value in values.items():
        if key not in keys:
            raise UsageError(f"{where}: {quoted(key)} is no part of a model's interface; there are {', '.join(keys)}")
        try:
            description[key] = _READERS[key](_native(value))
        except (TypeError, ValueError, OverflowError, KeyError):
            raise UsageError(f"{where}: {key} {one_line(quoted(value))}: {POSSIBLE[key]} is possible") from None
    return cast("Description", description)


def _either(choices: Any) -> str:
    *first, last = get_args(choices)
    return f"{', '.join(first)} or {last}"


POSSIBLE = {
    "input": "a name",
    "layout": _either(Layout),
    "dtype": _either(DType),
    "channels": _either(Channels),
    "size": "512, 384x512 (height x width), shortest:512/32 or longest:1024/32",
    "scale": "a number other than 0",
    "mean": "a number, or one for each channel,",
    "std": "a number other than 0, or one for each channel,",
    "filter": _either(Filter),
    "output": "a name, or an index,",
    "channel": "a whole number",
    "activation": _either(Activation),
    "range": "a number other than 0",
    "inputs": "a number, or an array, for each name",
}
"""What the values of a key are, in words."""


def as_json(interface: Interface | Description) -> dict[str, Any]:
    """The JSON that `parse_description` reads."""
    values = dict(interface) if isinstance(interface, dict) else vars(interface)
    return {key: _plain(value) for key, value in values.items()}


def parse_size(text: str) -> Size:
    """``512``, ``512x384`` (height x width), ``shortest:512`` or ``longest:1024/32``. Raises ValueError."""
    edge, colon, rest = text.strip().partition(":")
    if colon:
        length, _, multiple = rest.partition("/")
        if edge not in ("shortest", "longest"):
            raise ValueError(edge)
        return EdgeSize(cast(Literal["shortest", "longest"], edge), _positive(length), _positive(multiple or 1))
    height, x, width = text.lower().partition("x")
    return FixedSize(_positive(height), _positive(width if x else height))


def parse_number(text: str) -> float:
    """A number, or a fraction such as ``1/255``. Raises ValueError."""
    over, slash, under = text.partition("/")
    return _finite(float(over) / float(under) if slash and float(under) else float(text if slash else over))


def parse_numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas or spaces between them. Raises ValueError."""
    return _numbers([parse_number(part) for part in text.replace(",", " ").split()])


def _native(value: Any) -> Any:
    """The value with Python's numbers and lists for NumPy's."""
    if isinstance(value, Mapping):
        return {key: _native(item) for key, item in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _plain(value: Any) -> Any:
    if isinstance(value, FixedSize):
        return [value.height, value.width]
    if isinstance(value, EdgeSize):
        return {f"{value.edge}_edge": value.length, "multiple_of": value.multiple_of}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _read_size(value: Any) -> Size:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, Mapping):
        rest = dict(value)
        multiple = _positive(rest.pop("multiple_of", 1))
        if set(rest) == {"height", "width"} and multiple == 1:
            return FixedSize(_positive(rest["height"]), _positive(rest["width"]))
        ((key, length),) = rest.items()
        return EdgeSize({"shortest_edge": "shortest", "longest_edge": "longest"}[key], _positive(length), multiple)  # type: ignore[arg-type]
    height, width = value if isinstance(value, Sequence) else (value, value)
    return FixedSize(_positive(height), _positive(width))


def _positive(value: Any) -> int:
    try:
        number = 0 if isinstance(value, bool) or int(value) != float(value) else int(value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if not 1 <= number <= 1 << 20:
        raise ValueError(value)
    return number


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _not_zero(value: Any) -> float:
    if not (number := _finite(value)):
        raise ValueError(value)
    return number


def _numbers(value: Any) -> tuple[float, ...]:
    numbers = tuple(map(_finite, value)) if isinstance(value, (list, tuple)) else (_finite(value),)
    if len(numbers) not in (1, 3, 4):
        raise ValueError(value)
    return numbers


def _divisors(value: Any) -> tuple[float, ...]:
    return tuple(map(_not_zero, _numbers(value)))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def _index(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(value)
    return value


def _one_of(choices: Any) -> Any:
    by_name = {choice.lower(): choice for choice in get_args(choices)}

    def parse(value: Any) -> Any:
        if isinstance(value, str) and value.lower() in by_name:
            return by_name[value.lower()]
        raise ValueError(value)

    return parse


def _read_inputs(value: Any) -> dict[str, Values]:
    if not isinstance(value, Mapping):
        raise ValueError(value)
    return {_text(name): _constant(item) for name, item in value.items()}


def _constant(value: Any) -> Values:
    if isinstance(value, str):
        raise ValueError(value)
    if not isinstance(value, Sequence):
        return _finite(value)
    rest = list(value)
    while rest:  # whatever is no number is found when there is an array to make
        item = rest.pop()
        if isinstance(item, (list, tuple)):
            rest.extend(item)
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            _finite(item)
    return value


_READERS: dict[str, Any] = {
    "input": _text,
    "layout": _one_of(Layout),
    "dtype": _one_of(DType),
    "channels": _one_of(Channels),
    "size": _read_size,
    "scale": _not_zero,
    "mean": _numbers,
    "std": _divisors,
    "filter": _one_of(Filter),
    "output": lambda value: _text(value) if isinstance(value, str) else _index(value),
    "channel": _index,
    "activation": _one_of(Activation),
    "range": _not_zero,
    "inputs": _read_inputs,
}

ModelConfig = Mapping[str, Any] | str | os.PathLike[str]
"""A description as programs give it: JSON's keys and values, or the path of a JSON file."""


def read_config(config: ModelConfig | None) -> Description:
    """What a program says of a model's interface: `parse_description` of a mapping, or of a file; None says nothing.

    Raises UsageError where the file cannot be read or is no JSON object, and what `parse_description` does.
    """
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return parse_description(config, "model_config")
    check_kind("model_config", config, (str, os.PathLike), "a mapping or the path of a JSON file")
    path = os.fspath(config)
    try:
        values = json.loads(Path(path).read_bytes())  # UTF-8, or the UTF-16 of Windows' PowerShell
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no JSON, no Unicode, or a NUL in the name
        why: object = "it is no JSON text"
        if isinstance(error, OSError):
            why = error.strerror or error
        elif isinstance(error, json.JSONDecodeError) or "\0" in path:
            why = one_line(error)
        raise UsageError(f"{path}: the description of a model's interface cannot be read: {why}") from error
    if not isinstance(values, Mapping):
        raise UsageError(f"{path}: the description of a model's interface is a JSON object, and this is none")
    return parse_description(values, path)
