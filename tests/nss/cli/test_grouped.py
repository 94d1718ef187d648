"""A group of options becomes one object, in the place of the parameter that asks for it."""

from __future__ import annotations

import inspect
from typing import Annotated, get_args

import pytest
import typer

from nss.cli.grouped import Command, grouped, moved
from nss.errors import UsageError


class Pair(tuple[int, str]):
    """The object of the group."""


def pair(
    number: Annotated[int, typer.Option("--number")] = 1, word: Annotated[str, typer.Option("--word")] = "one"
) -> Pair:
    """Two options."""
    return Pair((number, word))


calls: list[tuple[str, Pair, bool]] = []


@grouped(both=pair)
def command(
    name: str,
    *,
    both: Pair,
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    """What it does."""
    calls.append((name, both, loud))


def run(*arguments: str, command: Command = command) -> int:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(command)
    return app(list(arguments), standalone_mode=False) or 0


def test_options_of_a_group_come_as_one_object() -> None:
    calls.clear()
    assert run("x") == 0
    assert run("y", "--word", "two", "--loud", "--number", "2") == 0
    assert calls == [("x", Pair((1, "one")), False), ("y", Pair((2, "two")), True)]
    assert list(inspect.signature(command).parameters) == ["name", "number", "word", "loud"]
    assert command.__doc__ == "What it does."


def test_an_option_of_a_group_that_a_command_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    @grouped({"word": "it counts"}, both=pair)
    def counting(*, both: Pair) -> None:
        calls.append(("counting", both, False))

    calls.clear()
    assert run("--number", "3", command=counting) == 0
    assert calls == [("counting", Pair((3, "one")), False)]
    with pytest.raises(UsageError, match=r"^--word is not for counting: it counts$"):
        run("--word", "two", command=counting)
    assert run("--help", command=counting) == 0
    text = capsys.readouterr().out
    assert "--number" in text
    assert "--word" not in text
    assert run("y", "--word", "two") == 0  # the other command's is as it was


def test_a_groups_options_in_another_section_of_the_help() -> None:
    def group(
        first: Annotated[int, typer.Option("--first", rich_help_panel="old")] = 1,
        second: Annotated[int, typer.Option("--second", rich_help_panel="other")] = 2,
    ) -> Pair:
        return Pair((first, str(second)))

    elsewhere = moved(group, {"old": "new"})
    parameters = inspect.signature(elsewhere).parameters.values()
    assert [get_args(p.annotation)[1].rich_help_panel for p in parameters] == ["new", "other"]
    assert [p.default for p in parameters] == [1, 2]

    @grouped(both=elsewhere)
    def moving(*, both: Pair) -> None:
        calls.append(("moving", both, False))

    calls.clear()
    assert run("--second", "5", command=moving) == 0
    assert calls == [("moving", Pair((1, "5")), False)]
