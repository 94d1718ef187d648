"""The rows of a benchmark: methods of one object, chosen by their names, of which each may fail by itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

Row = TypeVar("Row")


class FailedError(Exception):
    """A process failed, or what it needs is missing; the text is one line, such as the last that it said."""


def row_names(known: Collection[str]) -> Callable[[str], list[str]]:
    """A type for argparse: names of ``known``, with commas between them."""

    def names_of(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(known)}")
        return names

    return names_of


def measure_rows(bench: object, names: Sequence[str], empty: Callable[[str, str], Row]) -> list[Row]:
    """What the methods of ``bench`` give; ``empty`` makes a row of the name, and why the tree or the machine cannot."""
    results: list[Row] = []
    for name in names:
        try:
            results += getattr(bench, name)()
        except FailedError as error:
            results.append(empty(name, str(error)))
        print(f"{name}: done", file=sys.stderr, flush=True)
    return results
