"""Arguments of public functions that are of another type than they take: one sentence, by the name of the parameter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from engine.errors import InputError


def check(name: str, value: object, kinds: type | tuple[type, ...], what: str) -> None:
    """Raise InputError where ``value``, the argument ``name``, is of none of the ``kinds``, which are ``what``.

    Numbers are of a kind of `numbers`, of which NumPy's scalars are too; a boolean is none.
    """
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise InputError(f"'{name}' is {what}, not {type(value).__name__}")


def path(name: str, value: str | PathLike[str]) -> Path:
    """The argument ``name`` as a path. Raises InputError where it is none, or holds a NUL."""
    text = os.fspath(value) if isinstance(value, PathLike) else value
    check(name, text, str, "a path")
    if "\0" in text:
        raise InputError(f"'{name}' {text!r}: a path holds no NUL; give another one")
    return Path(text)


def mapping(name: str, value: Mapping[str, Any] | None, of: str) -> Mapping[str, Any]:
    """The argument ``name``, which has ``of`` by the names of inputs; None has none of them. Raises InputError."""
    if value is None:
        return {}
    check(name, value, Mapping, f"a mapping of inputs' names to {of}")
    return value
