"""Which rows of the tables an adapter's layers get: a user's own tuning, then what comes with the package.

Both say nothing of most layers: these get the table's own order. Neither is asked to be right: a row that the present
table does not have, or that does not support a layer, is passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.tuning import store
from engine.tuning.defaults import defaults_of

if TYPE_CHECKING:
    from engine.gpu.device.adapters import Adapter


@dataclass(frozen=True, slots=True)
class Choices:
    """The rows of an adapter's layers in a precision, by tuning key.

    ``own`` are those that a tuning of this machine measured, ``defaults`` those that come with the package; ``origin``
    is the adapter that these were measured on, "" where there are none. ``note`` says in a line why stored ones were
    passed over.
    """

    own: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    note: str = ""

    @property
    def rows(self) -> dict[str, str]:
        """The row of each key: a user's own, or else the default."""
        return {**self.defaults, **self.own}

    @property
    def digest(self) -> str:
        """What tells them from others: compiled models are kept by it. "" without any."""
        if not (rows := self.rows):
            return ""
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode("ascii")).hexdigest()

    def describe(self, keys: Collection[str]) -> str:
        """What is known of the layers with those keys, in a line: whether they were tuned, or what their order is of.

        ``keys`` are those of which the tables had more than one row to offer.
        """
        tuned = sum(key in self.own for key in keys)
        origin = f"defaults measured on {self.origin}" if self.origin else "the tables' order, not measured here"
        if keys and tuned == len(keys):
            return "tuned on this adapter"
        partly = f"{tuned} of {len(keys)} kinds of layers tuned; the others: " if tuned else "not tuned; "
        return f"{partly}{origin}{f' ({self.note})' if self.note else ''}"


def choices_of(adapter: Adapter, precision: str) -> Choices:
    """The choices for models in a precision on an adapter."""
    own, note = store.stored(adapter, precision)
    defaults = defaults_of(adapter)
    return Choices(own, defaults.choices.get(precision, {}), defaults.origin.get("adapter", ""), note)
