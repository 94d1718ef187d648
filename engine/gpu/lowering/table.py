"""Tables of implementations: for an operator family the ways to compute a layer, the preferred first.

A row is taken where it supports the layer on a device of those capabilities, and suits it: the first such row, unless
one is forced. Tests, benchmarks and a tuner force rows by name (``Lowering(choices=…)``): for one tuning key, or for a
family wherever the row supports a layer. What a tuner has found is preferred (``Lowering(preferences=…)``). Each choice
is kept as a ``Decision``, which says what else there was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.caps import Caps
from engine.errors import InputError, UnsupportedError
from engine.graph.ir import Node

Layer = TypeVar("Layer")


def always(*_: Any) -> bool:
    """A condition that every layer meets."""
    return True


def never(*_: Any) -> bool:
    """A condition that no layer meets."""
    return False


@dataclass(frozen=True, slots=True)
class Implementation(Generic[Layer]):
    """One way to compute the layers of a family.

    ``reason`` says in a sentence when it is the one to take. ``supports`` says whether it can compute a layer on a
    device, ``suits`` whether it is meant for it; a row that is forced need not suit. ``emit`` lowers a layer: what it
    takes is the family's matter. ``normalizes`` says whether it can compute the LayerNormalization of a layer's input.
    """

    name: str
    reason: str
    supports: Callable[[Layer, Caps], bool]
    emit: Callable[..., Any]
    suits: Callable[[Layer], bool] = always
    normalizes: Callable[[Layer, Caps], bool] = never


class Table(Generic[Layer]):
    """The implementations of a family, in order of preference, and the tuning key of a layer.

    ``key`` gives what decides how fast a row is: shapes, types, taps, strides. Equal layers of any model have equal
    keys, and a key begins with the family's name.
    """

    def __init__(self, family: str, rows: tuple[Implementation[Layer], ...], key: Callable[[Layer], str]) -> None:
        self.family, self.rows, self._key = family, rows, key
        TABLES[family] = self

    def key(self, layer: Layer) -> str:
        """The tuning key of a layer."""
        return f"{self.family} {self._key(layer)}"

    def row(self, name: str) -> Implementation[Layer]:
        """The row of that name. Raises InputError where there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        names = ", ".join(row.name for row in self.rows)
        raise InputError(f"family '{self.family}' has no implementation '{name}'; it has {names}")

    def choose(
        self, layer: Layer, caps: Caps, choices: Mapping[str, str], preferences: Mapping[str, str]
    ) -> Implementation[Layer]:
        """The row for a layer: the one that ``choices`` name by the layer's key or by the family, else the first.

        A row that a key names must support the layer, or UnsupportedError is raised; one that a family names is passed
        over for layers that it does not support. ``preferences`` name rows by key, too, which come before the first
        that suits: they were measured, perhaps by another version, so that what is not there, or does not support the
        layer, is passed over.
        """
        key = self.key(layer) if choices or preferences else ""
        if key in choices:
            row = self.row(choices[key])
            if not row.supports(layer, caps):
                raise UnsupportedError(f"implementation '{row.name}' does not support '{key}'; choose another")
            return row
        if self.family in choices:
            row = self.row(choices[self.family])
            if row.supports(layer, caps):
                return row
        preferred = preferences.get(key)
        for row in self.rows:
            if row.name == preferred and row.supports(layer, caps):
                return row
        for row in self.rows:
            if row.supports(layer, caps) and row.suits(layer):
                return row
        raise UnsupportedError(f"no implementation supports '{self.key(layer)}' on this device; use backend 'numpy'")


TABLES: dict[str, Table[Any]] = {}
"""All tables, by family."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[Layer]):
    """That a layer got a row of its family's table.

    ``node`` is the node whose layer it is; a family may choose for a part of what another one computes, as the tile of
    a product does. ``choices`` are the caller's.
    """

    node: Node
    table: Table[Layer]
    layer: Layer
    row: Implementation[Layer]
    caps: Caps
    choices: Mapping[str, str]

    @property
    def family(self) -> str:
        """The family's name."""
        return self.table.family

    @property
    def key(self) -> str:
        """The tuning key of the layer."""
        return self.table.key(self.layer)

    @property
    def forced(self) -> bool:
        """Whether the choices name the row, by the layer's key or by the family."""
        return self.row.name in (self.choices.get(self.key), self.choices.get(self.family))

    @property
    def alternatives(self) -> list[str]:
        """The other rows that support the layer, in the table's order: those that could be forced."""
        rows = (row for row in self.table.rows if row is not self.row)
        return [row.name for row in rows if row.supports(self.layer, self.caps)]

    @property
    def passed_over(self) -> dict[str, str]:
        """The rows that stand before the one that was taken, and why each was not."""
        reasons: dict[str, str] = {}
        for row in self.table.rows[: self.table.rows.index(self.row)]:
            if not row.supports(self.layer, self.caps):
                reasons[row.name] = "does not support the layer"
            elif not row.suits(self.layer):
                reasons[row.name] = "is not meant for such a layer"
            else:
                reasons[row.name] = "another was asked for" if self.forced else "another was measured to be faster"
        return reasons


def check_choices(choices: Mapping[str, str]) -> None:
    """Raise InputError where choices name a family or an implementation that is not there."""
    for key, name in choices.items():
        family = key.split(" ", 1)[0]
        if family not in TABLES:
            raise InputError(f"there is no family '{family}' of implementations; there are {', '.join(TABLES)}")
        TABLES[family].row(name)
