"""What the cache's entries say of themselves, in their metadata: how to open them, and what tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import engine
from nss.removal.resolved_interface import OPTION, ResolvedInterface


def metadata(interface: ResolvedInterface, tuning: str, place: engine.Place) -> dict[str, Any]:
    """The metadata of a model that was compiled for ``place``; ``tuning`` is as `engine.SessionInfo` has it."""
    return {
        "interface": interface.as_json(),
        "notices": list(interface.guesses),
        "tuning": tuning,
        "precision": str(place.facts.get("precision", "")),
        "device": place.device,
        "driver": str(place.facts.get("driver", "")),
        "code": engine.cache_key(),
    }


def facts(entry: engine.CacheEntry) -> dict[str, Any]:
    """What tells an entry from others of the same model, as JSON; of a damaged one its key alone.

    Returns:
        ``key``, with which its folder's name begins; ``precision``, as it ran, or "f32-strict" where that was asked
        for; ``device`` and its ``driver``, "" on a processor; ``tuning``, as `engine.SessionInfo` has it; ``options``,
        what the user said of the interface; ``engine``, the version that compiled it, and ``code``, a digest of that
        version and of its source tree; ``is_current``, whether that is the code that asks.
    """
    values = entry.metadata
    interface = _object(values, "interface")
    says, origins = _object(interface, "values"), _object(interface, "origins")
    return {
        "key": entry.key,
        "precision": "f32-strict" if values.get("precision") == "f32-strict" else entry.precision,
        **{name: str(values.get(name, "")) for name in ("device", "driver", "tuning")},
        "options": {key: says.get(key) for key in sorted(origins) if origins[key] == OPTION},
        "engine": entry.engine,
        "code": str(values.get("code", "")),
        "is_current": values.get("code") == engine.cache_key(),
    }


def _object(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object within JSON that anybody may have written; empty where it is none."""
    value = values.get(name)
    return value if isinstance(value, dict) else {}
