"""What the tests of help texts and of docs/commands.md share: the options of each command, as declared and as shown."""

from __future__ import annotations

import re
from typing import Any

import typer

from nss.cli.main import app


def commands(group: Any = None, prefix: str = "") -> dict[str, Any]:
    """Every command by its name, ``"models list"`` for one of a group."""
    result = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        result.update(commands(command, f"{name} ") if hasattr(command, "commands") else {prefix + name: command})
    return result


def options(name: str, *, hidden: bool = False) -> set[str]:
    """The long names of a command's options that its help shows, or hides; ``--help`` is one that is shown."""
    own = [parameter for parameter in commands()[name].params if parameter.param_type_name == "option"]
    names = {_long_name(parameter.opts) for parameter in own if parameter.hidden == hidden}
    return names if hidden else names | {"--help"}


def hidden_options(name: str) -> set[str]:
    """The long names of a command's options that its help does not show."""
    return options(name, hidden=True)


def shown_options(lines: list[str]) -> dict[str, list[str]]:
    """The long names of the options in each section of a help text, by the section's title."""
    sections: dict[str, list[str]] = {}
    for line in lines:
        if title := re.fullmatch(r"(\S.*):", line):
            sections[title[1]] = []
        elif option := re.match(r"  (?:-\w, )?(--[a-z-]+)", line):
            list(sections.values())[-1].append(option[1])
    return sections


def _long_name(names: list[str]) -> str:
    return next(name for name in names if name.startswith("--"))
