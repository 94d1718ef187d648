"""JSON from a file that may say anything: each value is asked for with the type and the range that it must have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

LARGEST = 2**53 - 1
"""The largest integer that every reader of JSON has."""


_LONGEST = 400
"""Characters of a message that may quote a file."""


class HeaderError(Exception):
    """What a header says is impossible: where in it, and how.

    One line of printable characters, whatever names and words of a file are in ``what``.
    """

    def __init__(self, what: str) -> None:
        line = what if len(what) <= _LONGEST else what[: _LONGEST - 1] + "…"
        super().__init__(
            "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
        )


def parse(text: bytes) -> Any:
    """The JSON in ``text``, in which no name stands twice, no number is infinite and no surrogate is alone.

    A number without a fraction is an integer however it is written, ``1.0`` and ``1e0`` too: readers in other languages
    cannot tell.

    Raises HeaderError.
    """
    try:
        document = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_int=_integer,
            parse_constant=_finite,
        )
        if re.search(rb"\\u[dD][89a-fA-F]", text):
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # ValueError: of JSON, of UTF-8, of these
        raise HeaderError(f"is no JSON: {error}") from error
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return names


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is not finite")
    return number


def _integer(text: str) -> int:
    """The integer, where it is one of those that a float can come near."""
    if len(text) > 300:
        _finite(text)
    return int(text)


class Fields:
    """An object of JSON at ``place``, which error messages name. Every reader raises HeaderError."""

    def __init__(self, value: object, place: str = "") -> None:
        if not isinstance(value, dict):
            raise HeaderError(f"{place or 'it'} is no object")
        self._values = value
        self._place = place

    def only(self, names: frozenset[str]) -> Fields:
        """Itself, where it has exactly these fields."""
        if self._values.keys() != names:
            missing, unknown = sorted(names - self._values.keys()), sorted(self._values.keys() - names)
            raise HeaderError(
                f"{self._place or 'it'} " + (f"has no '{missing[0]}'" if missing else f"has an unknown '{unknown[0]}'")
            )
        return self

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def place(self, name: str) -> str:
        """What messages call a field."""
        return f"{self._place}.{name}" if self._place else name

    def integer(self, name: str, least: int = 0, most: int = LARGEST) -> int:
        """An integer within ``least`` and ``most``."""
        return integer(self._values.get(name), self.place(name), least, most)

    def text(self, name: str) -> str:
        """A string."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise HeaderError(f"{self.place(name)} is no string")
        return value

    def choice(self, name: str, *choices: str) -> str:
        """One of these strings."""
        value = self.text(name)
        if value not in choices:
            raise HeaderError(f"{self.place(name)} is '{value[:40]}', none of {', '.join(choices)}")
        return value

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise HeaderError(f"{self.place(name)} is neither true nor false")
        return value

    def array(self, name: str) -> list[Any]:
        """An array of anything."""
        return array(self._values.get(name), self.place(name))

    def integers(self, name: str, least: int = 0, most: int = LARGEST) -> tuple[int, ...]:
        """An array of integers."""
        place = self.place(name)
        return tuple(integer(value, place, least, most) for value in self.array(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings."""
        values = self.array(name)
        if not all(isinstance(value, str) for value in values):
            raise HeaderError(f"{self.place(name)} is no array of strings")
        return tuple(values)

    def fields(self, name: str) -> Fields:
        """An object."""
        return Fields(self._values.get(name), self.place(name))

    def objects(self, name: str) -> list[Fields]:
        """An array of objects."""
        place = self.place(name)
        return [Fields(value, f"{place}[{index}]") for index, value in enumerate(self.array(name))]

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object whose content is not looked at."""
        return self.fields(name)._values

    def counts(self, name: str) -> Mapping[str, int]:
        """An object of integers."""
        fields = self.fields(name)
        return {key: fields.integer(key) for key in fields}

    def is_null(self, name: str) -> bool:
        """Whether a field is null."""
        return name in self._values and self._values[name] is None


def integer(value: object, place: str, least: int = 0, most: int = LARGEST) -> int:
    """``value``, where it is an integer within ``least`` and ``most``. Raises HeaderError, which names ``place``."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:  # a bool is none
        raise HeaderError(f"{place} is no integer")
    if not least <= value <= most:
        raise HeaderError(f"{place} is {value if abs(value) <= LARGEST else 'huge'}, not within {least} and {most}")
    return value


def array(value: object, place: str) -> list[Any]:
    """``value``, where it is an array. Raises HeaderError, which names ``place``."""
    if not isinstance(value, list):
        raise HeaderError(f"{place} is no array")
    return value
