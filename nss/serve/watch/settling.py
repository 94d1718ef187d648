"""When a photo that has appeared is whole: nobody writes to it any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from nss.serve.watch.scan import State

DOUBT = 3
"""So many intervals a photo is to rest whose time of modification is of now, or of the future."""

PATIENCE = 30
"""So many an empty file, and one that cannot be opened, before it is taken as it is, and fails."""


class Clock(Protocol):
    """The module ``time``, or what stands for it."""

    def time(self) -> float:
        """Seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds since some time, which nobody sets."""
        ...


@dataclass(frozen=True)
class _Seen:
    state: State
    since: float


class Settling:
    """The photos that have appeared or changed, and since when each has been at rest.

    A photo has settled when two looks, at least an interval apart, found the same size and time of modification, which
    is no newer than an interval, and it can be opened. Whether it is newer, this machine's clock cannot tell of a share
    whose own goes otherwise: where it seems so, `DOUBT` intervals of rest are enough.
    """

    def __init__(self, interval: float, clock: Clock, opens: Callable[[str, State], bool]) -> None:
        """``interval``: in seconds; ``opens``: whether a photo can be opened, and is in this state."""
        self._interval, self._clock, self._opens = interval, clock, opens
        self._seen: dict[str, _Seen] = {}

    def look(self, photos: Mapping[str, State], now: float) -> list[str]:
        """Those of ``photos`` that have settled; any other one is forgotten. ``now``: when the look began."""
        settled, seen = [], {}
        for photo, state in photos.items():
            before = self._seen.get(photo)
            if before is None or before.state != state:
                seen[photo] = _Seen(state, now)
            elif self._has_settled(photo, state, now - before.since):
                settled.append(photo)
            else:
                seen[photo] = before
        self._seen = seen
        return settled

    def _has_settled(self, photo: str, state: State, rest: float) -> bool:
        size, mtime_ns = state
        is_old = self._clock.time() - mtime_ns / 1e9 >= self._interval
        if rest < (1 if is_old else DOUBT) * self._interval:
            return False
        return rest >= PATIENCE * self._interval or (size > 0 and self._opens(photo, state))
