"""What becomes of the photos of a watched folder: which have been dealt with, which wait, and which are in work."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from nss.serve.watch.retries import Retries
from nss.serve.watch.scan import State
from nss.serve.watch.settling import Clock


class Hands:
    """For any thread. A photo stands in one place at most: dealt with, waiting, or in work."""

    def __init__(self, at_once: int, clock: Clock) -> None:
        """``at_once``: how many are in work at a time."""
        self._at_once, self._clock = at_once, clock
        self._lock = threading.Lock()
        self._dealt_with: dict[str, State] = {}
        self._suspects: dict[str, State] = {}
        self._waiting: dict[str, State] = {}
        self._in_work: dict[str, State] = {}
        self._retries = Retries()
        self._is_stopping = False

    @property
    def is_stopping(self) -> bool:
        """Whether nothing is begun any more."""
        return self._is_stopping

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in work."""
        return not self._in_work

    def stop(self) -> None:
        """Let nothing be begun any more."""
        with self._lock:
            self._is_stopping = True

    def deal_with(self, photo: str, state: State) -> None:
        """Leave a photo alone until its state changes."""
        with self._lock:
            self._dealt_with[photo] = state
            self._suspects.pop(photo, None)

    def has_dealt_with(self, photo: str, state: State) -> bool:
        """Whether a photo is left alone in this state."""
        return self._dealt_with.get(photo) == state

    def suspect(self, photo: str, state: State) -> None:
        """Do a photo alone: it was in work when the server ended by itself, and may end it again."""
        with self._lock:
            self._suspects[photo] = state

    def known(self) -> set[str]:
        """Those that have been dealt with, and the suspects."""
        with self._lock:
            return set(self._dealt_with) | set(self._suspects)

    def forget(self, photos: Iterable[str]) -> None:
        """Nothing is known of these any longer."""
        with self._lock:
            for photo in photos:
                self._dealt_with.pop(photo, None)
                self._suspects.pop(photo, None)

    def unsettled(self, photos: Mapping[str, State]) -> dict[str, State]:
        """Those of a look that are new or have changed. What waits, and has gone or changed, waits no longer."""
        with self._lock:
            self._waiting = {photo: state for photo, state in self._waiting.items() if photos.get(photo) == state}
            known, waiting, in_work = self._dealt_with, self._waiting, self._in_work
            return {
                photo: state
                for photo, state in photos.items()
                if known.get(photo) != state and photo not in waiting and photo not in in_work
            }

    def add(self, photos: Mapping[str, State]) -> None:
        """These have settled, and wait for room."""
        with self._lock:
            self._waiting.update(photos)

    def next(self) -> tuple[str, State] | None:
        """A photo that waited, and is in work from now on; None where there is none, or no room."""
        with self._lock:
            if self._is_stopping or not self._waiting:
                return None
            if not self._retries.room(self._clock.monotonic(), self._at_once, len(self._in_work)):
                return None
            if any(self._is_suspect(photo, state) for photo, state in self._in_work.items()):
                return None
            suspects = (photo for photo, state in self._waiting.items() if self._is_suspect(photo, state))
            photo = next(suspects, None) if self._suspects else None
            if photo is None:
                photo = next(iter(self._waiting))
            elif self._in_work:  # what ends the server then, must have been the suspect
                return None
            state = self._in_work[photo] = self._waiting.pop(photo)
            return photo, state

    def put_back(self, photo: str, state: State) -> None:
        """It could not be begun, and waits as the first one."""
        with self._lock:
            self._in_work.pop(photo, None)
            self._waiting = {photo: state, **self._waiting}

    def drop(self, photo: str) -> None:
        """It is in work no longer; unless it has been dealt with, the next look finds it like any other."""
        with self._lock:
            self._in_work.pop(photo, None)

    def try_again(self, photo: str) -> float | None:
        """It failed by no fault of its own: in how many seconds it is tried again; None where it has been too often."""
        with self._lock:
            return self._retries.failed(photo, self._clock.monotonic())

    def tried(self, photo: str, *, well: bool) -> None:
        """It has come to its end; ``well``: through all stages."""
        with self._lock:
            self._retries.ended(photo, well=well)

    def _is_suspect(self, photo: str, state: State) -> bool:
        return self._suspects.get(photo) == state
