"""Colours as CSS writes them (CSS Color Module Level 4, sections 4 to 8): sRGB in red, green, blue and alpha.

Read are names, ``#`` with 3, 4, 6 or 8 digits, ``rgb()``, ``hsl()``, ``hwb()`` and ``transparent``, with spaces as well
as commas. Colours of other spaces (``lab()``, ``oklch()``, ``color()`` and so on) are refused by name.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_FUNCTION = re.compile(r"\s*([a-z][a-z-]*)\((.*)\)\s*", re.IGNORECASE | re.DOTALL)
_HEX = re.compile(r"#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(%|deg|grad|rad|turn)?", re.IGNORECASE)
_DEGREES = {"": 1.0, "deg": 1.0, "grad": 0.9, "rad": 180 / math.pi, "turn": 360.0}
_FORMS = {"rgb": "rgb(255 136 0 / 50%)", "hsl": "hsl(32 100% 50% / 50%)", "hwb": "hwb(32 0% 0% / 50%)"}
_OTHER_SPACES = ("lab", "lch", "oklab", "oklch", "color", "color-mix", "device-cmyk", "light-dark")


class Colour(NamedTuple):
    """``rgb``: 0 to 255 each, sRGB, straight. ``alpha``: 0 to 1."""

    rgb: tuple[int, int, int]
    alpha: float


def parse(text: str) -> Colour | None:
    """The colour that ``text`` is; None where it is not written like one.

    Values out of range are clamped, as CSS has it.
    Raises ValueError, with what is wrong, where it is written like a colour and is none that can be read.
    """
    word = text.strip().lower()
    if word.startswith("#"):
        return _hexadecimal(word)
    if function := _FUNCTION.fullmatch(text):
        return _call(function[1].lower(), function[2])
    if word == "transparent":
        return Colour((0, 0, 0), 0.0)
    from PIL import ImageColor

    value = ImageColor.colormap.get(word)
    if value is None:
        return None
    return _hexadecimal(value) if isinstance(value, str) else Colour(value[:3], 1.0)


def _hexadecimal(word: str) -> Colour | None:
    if not _HEX.fullmatch(word):
        if re.fullmatch(r"#[0-9a-f]*", word):
            raise ValueError("# is followed by 3, 4, 6 or 8 hexadecimal digits")
        return None
    digits = word[1:]
    if len(digits) < 6:
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue, *alpha = bytes.fromhex(digits)
    return Colour((red, green, blue), alpha[0] / 255 if alpha else 1.0)


def _call(name: str, arguments: str) -> Colour | None:
    if name in _OTHER_SPACES:
        raise ValueError(f"{name}() is not read; give the colour as rgb(), hsl(), hwb(), #rrggbb or a name")
    kind = name[:3]
    if name not in ("rgb", "rgba", "hsl", "hsla", "hwb"):
        return None
    fault = ValueError(f"{name}() is written like {_FORMS[kind]}")
    legacy = "," in arguments
    if legacy:
        parts = [part.strip() for part in arguments.split(",")]
        if kind == "hwb" or "/" in arguments:
            raise fault
    else:
        head, slash, alpha_part = arguments.partition("/")
        parts = head.split()
        if len(parts) != 3:
            raise fault
        parts += [alpha_part.strip()] if slash else []
    if len(parts) not in (3, 4):
        raise fault
    try:
        # the commas of CSS 3 know no "none"
        numbers = [(0.0, "none") if part.lower() == "none" and not legacy else _number(part) for part in parts]
        alpha = _part(*numbers[3], whole=1.0) if len(numbers) == 4 else 1.0
        if kind == "rgb":
            return Colour(_rgb(numbers[:3], legacy), alpha)
        hue = numbers[0][0] * _DEGREES.get(numbers[0][1], 1.0)
        if numbers[0][1] == "%" or (legacy and {unit for _, unit in numbers[1:3]} != {"%"}):
            raise ValueError
        first, second = (_part(value, unit or "%", whole=1.0) for value, unit in numbers[1:3])
    except ValueError as error:
        raise fault from error
    return Colour(_from_hsl(hue, first, second) if kind == "hsl" else _from_hwb(hue, first, second), alpha)


def _number(text: str) -> tuple[float, str]:
    """A number and its unit. Raises ValueError where it is none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(text)
    value = float(match[1])
    if not math.isfinite(value):
        raise ValueError(text)
    return value, (match[2] or "").lower()


def _part(value: float, unit: str, *, whole: float) -> float:
    """A number or a percentage as a part of ``whole``, in 0 to 1. Raises ValueError for another unit."""
    if unit not in ("", "%", "none"):
        raise ValueError(unit)
    return min(max(value / (100 if unit == "%" else whole), 0.0), 1.0)


def _rgb(numbers: list[tuple[float, str]], legacy: bool) -> tuple[int, int, int]:
    if legacy and len({unit for _, unit in numbers}) > 1:
        raise ValueError
    return _bytes(*(_part(value, unit, whole=255.0) for value, unit in numbers))


def _from_hsl(hue: float, saturation: float, lightness: float) -> tuple[int, int, int]:
    """CSS Color 4, 7.1."""

    def channel(offset: int) -> float:
        k = (offset + hue / 30) % 12
        return lightness - saturation * min(lightness, 1 - lightness) * max(-1, min(k - 3, 9 - k, 1))

    return _bytes(channel(0), channel(8), channel(4))


def _from_hwb(hue: float, white: float, black: float) -> tuple[int, int, int]:
    """CSS Color 4, 8.1."""
    if white + black >= 1:
        return _bytes(*[white / (white + black)] * 3)
    pure = _from_hsl(hue, 1, 0.5)
    return _bytes(*(value / 255 * (1 - white - black) + white for value in pure))


def _bytes(*parts: float) -> tuple[int, int, int]:
    # rounded half up, as browsers do
    red, green, blue = (math.floor(part * 255 + 0.5) for part in parts)
    return red, green, blue
