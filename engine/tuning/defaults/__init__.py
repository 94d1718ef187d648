"""Choices that come with the package: one file of JSON for each make of adapters and implementation of WebGPU.

A file holds the tuning keys where another row than the table's first was faster, and on what that was measured.
``tools/tuning_defaults.py`` makes it of records. It is used on every adapter of the make: what it names and an adapter
does not support is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.gpu.device.adapters import Adapter

FOLDER = Path(__file__).parent

VENDORS = {0x10DE: "nvidia"}
"""Makes of hardware by the vendor's number in PCI."""

PROGRAMS = {"llvmpipe": "llvmpipe", "SwiftShader": "swiftshader"}
"""Makes of software adapters by the beginning of their names."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """The rows of a make of adapters by precision and tuning key, and on what they were measured.

    ``origin`` has ``adapter``, ``driver``, ``implementation``, ``engine``, ``date`` and ``command``; it is empty where
    nothing was measured.
    """

    origin: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


NOTHING = Defaults()


def defaults_of(adapter: Adapter) -> Defaults:
    """What comes with the package for adapters of that make in that implementation."""
    name = make_of(adapter.name, adapter.make)
    return load(FOLDER / f"{name}-{adapter.implementation}.json") if name else NOTHING


def make_of(name: str, make: tuple[int, int]) -> str | None:
    """The word for the make of an adapter of that name and vendor, or None for one that nothing was measured on."""
    return next((word for start, word in PROGRAMS.items() if name.startswith(start)), VENDORS.get(make[0]))


@cache
def load(path: Path) -> Defaults:
    """The defaults in a file of the package; none without a file."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return NOTHING
    return Defaults(document["origin"], document["choices"])
