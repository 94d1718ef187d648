"""A model's interface with the source of each of its values; `nss.removal.description` finds it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nss.errors import ModelUnavailableError
from nss.interfaces.interface import Description, Interface, as_json, parse_description

OPTION, BY_HASH, BY_NAME = "option", "catalogue (hash)", "catalogue"
METADATA, BY_TENSORS, BY_GRAPH = "metadata", "catalogue (names)", "catalogue (graph)"
GRAPH, FILE, TRIAL, GUESS = "graph", "file", "trial", "guess"
"""Where a value comes from, besides the name of a file beside the model's."""


@dataclass(frozen=True)
class ResolvedInterface:
    """A model's interface, and the source of each of its values.

    Attributes:
        interface: all of it.
        origins: where each of its values comes from, by key.
        guesses: the notices for the user, one line each: what was guessed or tried, and what was ignored.
    """

    interface: Interface
    origins: dict[str, str]
    guesses: tuple[str, ...] = ()

    @property
    def used_trial(self) -> bool:
        """Whether a trial had a say, so that a photo may contradict it."""
        return TRIAL in self.origins.values()

    @contextmanager
    def blaming_guesses(self) -> Iterator[None]:
        """Where the model cannot be opened at a size that was guessed, say so in its error."""
        try:
            yield
        except ModelUnavailableError as error:
            if self.origins["size"] != GUESS:
                raise
            raise ModelUnavailableError(
                f"{error}; {self.interface.size} is a guess: say by 'size' what the model was made for"
            ) from error

    @staticmethod
    def from_json(record: Mapping[str, Any], guesses: Sequence[str] = ()) -> ResolvedInterface:
        """What `as_json` gave, with its notices. Raises UsageError, TypeError or KeyError where it is no interface."""
        interface = Interface(**parse_description(record, "an interface"))
        origins = {str(key): str(record["origins"][key]) for key in Description.__annotations__}
        return ResolvedInterface(interface, origins, tuple(map(str, guesses)))

    def as_json(self) -> dict[str, Any]:
        """``values`` and their ``origins``, which `nss.interfaces.interface.parse_description` reads."""
        return {"values": as_json(self.interface), "origins": self.origins}
