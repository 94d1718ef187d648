"""A model's interface as people write it, a text for each key: ``--model-mean 0.5`` on a command line and its kin."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from nss.errors import UsageError, quoted
from nss.interfaces.interface import POSSIBLE, Description, parse_description, parse_number, parse_numbers

TEXT_KEYS = tuple(key for key in Description.__annotations__ if key not in ("dtype", "inputs"))
"""The keys that are one text each: ``inputs`` are several, and ``dtype`` the file alone decides."""


def parse_texts(texts: Mapping[str, str | None], constants: Iterable[str] | None = None) -> Description:
    """A description from texts; None leaves a key open.

    Args:
        texts: by keys of `TEXT_KEYS`.
        constants: ``NAME=VALUE`` for other inputs, where the value is a number or JSON; of two with one name the last
            one stands.

    Raises:
        UsageError: a value is none. It names the key.
    """
    description: dict[str, Any] = {}
    for key, text in texts.items():
        if text is not None:
            description[key] = _value(key, text, _PARSERS.get(key, str))
    if values := dict(_constant(text) for text in constants or ()):
        description["inputs"] = _value("inputs", values, dict)
    return cast("Description", description)


def _plain(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """``parse`` without what Python alone takes for a number: digits of other scripts, and underscores between them."""

    def parse_plain(text: str) -> Any:
        if not text.isascii() or "_" in text:
            raise ValueError(text)
        return parse(text)

    return parse_plain


_PARSERS: dict[str, Callable[[str], Any]] = {
    "size": _plain(str),
    "scale": _plain(parse_number),
    "mean": _plain(parse_numbers),
    "std": _plain(parse_numbers),
    "channel": _plain(int),
    "range": _plain(parse_number),
}


def _value(key: str, text: Any, parse: Callable[[Any], Any]) -> Any:
    """The value of one key as a description has it."""
    try:
        description: Mapping[str, Any] = parse_description({key: parse(text)}, key)
    except (ValueError, ArithmeticError, UsageError):
        raise UsageError(f"'{key}' {quoted(text)}: {POSSIBLE[key]} is possible") from None
    return description[key]


def _constant(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if not (name and equals):
            raise ValueError
        return name, json.loads(value)
    except (ValueError, RecursionError):
        raise UsageError(f"'inputs' {quoted(text)}: NAME=VALUE is possible, such as r1i=0, ratio=[0.25]") from None
