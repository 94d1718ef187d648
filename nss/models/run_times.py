"""How long models take for a photo on this machine, remembered for `nss.models.auto`.

``seconds/<SHA-256 of the model>.json`` in the state folder maps a backend, with the device of a GPU, to seconds. What
cannot be written or read is as though the model had never run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nss.models import catalogue
from nss.models.weights import model_store

if TYPE_CHECKING:
    from nss.models.local_models import ResolvedModel


WARM_UP_S = 10.0
"""The most that a first run on a GPU takes for what later runs find done."""


def record_seconds(sha256: str, backend: str, device: str, seconds: float) -> None:
    """Remember what a model, by its file's SHA-256, took for a photo there; the last one counts."""
    model_store.write_state(_file(sha256), {**_read_seconds(sha256), _key(backend, device): round(seconds, 6)})


def seconds(sha256: str, backend: str, device: str | None) -> float:
    """What the model took for a photo there, the last time; 0 where it has not run there.

    device: as `engine.SessionInfo` has it, of backend "webgpu"; the others are one place each.
    """
    return _read_seconds(sha256).get(_key(backend, device), 0.0)


def slowest(sha256: str) -> float:
    """The most that is remembered of the model, on whatever it ran; 0 where it has not run."""
    return max(_read_seconds(sha256).values(), default=0.0)


class Recorder:
    """Records what one loaded model takes, where "auto" might choose it; threads may share it.

    The first run on a GPU is left out, since the driver may compile in it, unless it took longer than that explains. So
    that a batch does not write a file for each photo, only what is clearly faster than what was recorded is recorded
    again: a run is slow by accident, not fast.
    """

    def __init__(self, model: ResolvedModel) -> None:
        self._model = model
        self._counts = not model.spec.builtin and model.spec.name in catalogue.AUTO_ORDER
        self._fastest: dict[tuple[str, str], float] = {}
        self._warm: set[tuple[str, str]] = set()

    def add(self, backend: str, device: str, seconds: float) -> None:
        """A run took so many seconds."""
        if not self._counts:
            return
        place = (backend, device)
        warm_up = backend == "webgpu" and place not in self._warm and seconds < WARM_UP_S
        self._warm.add(place)
        if not warm_up and seconds < 0.8 * self._fastest.get(place, float("inf")):
            self._fastest[place] = seconds
            record_seconds(self._model.sha256, backend, device, seconds)


def _file(sha256: str) -> str:
    return f"seconds/{sha256}.json"


def _key(backend: str, device: str | None) -> str:
    return f"{backend} {device}" if backend == "webgpu" else backend


def _read_seconds(sha256: str) -> dict[str, float]:
    entries = model_store.read_state(_file(sha256))
    return {key: value for key, value in entries.items() if isinstance(value, (int, float))}
