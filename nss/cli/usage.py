"""What typer says of a command line that it cannot take, in one line: what is wrong, with what, what to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from nss.cli.terminal import PROGRAM
from nss.errors import one_line, quoted

_PYDANTIC = {
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "float_parsing": "is no number",
    "greater_than_equal": "is not {ge:g} or more",
    "less_than_equal": "is not {le:g} or less",
}
"""Kinds of errors of pydantic, which typer has values checked by from 0.29 on, in words that go behind the value."""


def usage_line(error: Any, arguments: Sequence[str]) -> str:
    """One line for a usage error of typer's, of a command that was called with ``arguments``."""
    try:
        message = one_line(error.format_message())
    except Exception:  # typer before 0.16 with a later click
        message = one_line(error)
    if (option := getattr(error, "option_name", None)) and (file := _file_like_an_option(arguments, option)):
        return f"{file}: is taken for an option; write ./{file} for the file of that name"
    message = _with_value(message, error.__cause__).rstrip(".")
    return f"{message}{'' if message.endswith('?') else '.'} See `{_command(error, arguments)} --help`."


def _with_value(message: str, cause: Any) -> str:
    """``message`` with the value that is wrong, which pydantic's sentences leave out."""
    for problem in cause.errors() if hasattr(cause, "errors") else ():
        if words := _PYDANTIC.get(problem["type"]):
            value = one_line(quoted(str(problem["input"])))
            return message.replace(problem["msg"], f"{value} {words.format_map(problem.get('ctx', {}))}", 1)
    return message.replace("Value error, ", "", 1)


def _file_like_an_option(arguments: Sequence[str], option: str) -> str | None:
    """The first argument with a dash in front that names a file which is there, and was read as ``option``."""
    letters = option.lstrip("-")  # of one dash each letter is an option
    return next(
        (text for text in arguments if text.startswith("-") and letters in text and os.path.lexists(text)), None
    )


def _command(error: Any, arguments: Sequence[str]) -> str:
    """The command that was called; an option at its end without a value comes with no context."""
    if context := getattr(error, "ctx", None):
        return str(context.command_path)
    return f"{PROGRAM} {arguments[0]}" if arguments and not arguments[0].startswith("-") else PROGRAM
