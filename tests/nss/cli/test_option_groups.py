"""A group of options becomes one object, in the place of the parameter that asks for it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import pytest
import typer

from nss.cli import option_groups
from nss.cli.option_groups import EncodingOptions, grouped
from nss.errors import UsageError


class Pair(tuple[int, str]):
    """What the group makes."""


def pair(
    number: Annotated[int, typer.Option("--number")] = 1, word: Annotated[str, typer.Option("--word")] = "one"
) -> Pair:
    """Two options."""
    return Pair((number, word))


seen: list[tuple[str, Pair, bool]] = []


@grouped(both=pair)
def command(
    name: str,
    *,
    both: Pair,
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    """What it does."""
    seen.append((name, both, loud))


def run(*arguments: str) -> int:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return app(list(arguments), standalone_mode=False) or 0


def test_options_of_a_group_come_as_one_object() -> None:
    seen.clear()
    assert run("x") == 0
    assert run("y", "--word", "two", "--loud", "--number", "2") == 0
    assert seen == [("x", Pair((1, "one")), False), ("y", Pair((2, "two")), True)]
    assert list(inspect.signature(command).parameters) == ["name", "number", "word", "loud"]
    assert command.__doc__ == "What it does."


def test_a_mask_takes_the_place_of_a_network(tmp_path: object) -> None:
    assert option_groups.mask_source(mask=str(tmp_path)).open(quiet=True) is None
    for fields in ({"model": "u2netp"}, {"require_gpu": True}):
        with pytest.raises(UsageError, match="--mask takes the place of a network"):
            option_groups.mask_source(mask=str(tmp_path), **fields)  # type: ignore[arg-type]
    for name in ("nowhere", "", "x" * 300, "a\0b"):
        with pytest.raises(UsageError, match="no such file or directory"):
            option_groups.mask_source(mask=name)


def test_a_threshold_is_both_points_in_one() -> None:
    made = option_groups.refinement(threshold=0.4)
    assert (made.black, made.white) == (0.4, 0.4)
    with pytest.raises(UsageError, match="--threshold is --black and --white in one"):
        option_groups.refinement(threshold=0.4, black=0.1)


def test_the_encoding_follows_the_output() -> None:
    for name, format_, expected in (
        (None, None, "png"),
        (None, "webp", "webp"),
        ("x.avif", None, "avif"),
        ("x.JPG", "jpeg", "jpeg"),
    ):
        assert EncodingOptions(format_, None, None).encoding(Path(name) if name else None).format == expected
    for name in ("x.webp", "x"):
        with pytest.raises(UsageError):
            EncodingOptions("png" if name == "x.webp" else None, None, None).encoding(Path(name))
    assert (EncodingOptions(None, None, None).suffix, EncodingOptions("jpg", None, None).suffix) == (".png", ".jpg")
