"""What a session runs on, decided before a model is read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from threading import Thread
from typing import TYPE_CHECKING, Any

from engine.errors import BackendError, EngineError

if TYPE_CHECKING:
    # what runs on the processor loads nothing of WebGPU: it is imported where it is used
    from engine.gpu.device.adapters import Adapter

BACKENDS = ("auto", "webgpu", "numpy", "reference")
PRECISIONS = ("f32", "f32-strict", "f16")
"""What may be asked for (``engine.caps.Precision``)."""

_NO_FACTS = ("handle", "position", "ordinal", "equals")


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """The backend that a session runs on, why, and for webgpu the adapter."""

    backend: str
    reason: str
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What a session would run on.

    ``backend`` is "webgpu", "numpy" or "reference", ``reason`` why. ``facts`` are JSON of all that a model compiled for
    it depends on: of an adapter its implementation, driver, limits, features and tuning; nothing of a processor.
    ``device`` is what a session calls the adapter, "" on a processor.
    """

    backend: str
    reason: str
    facts: Mapping[str, Any]
    device: str = ""


def place(backend: str = "auto", precision: str = "f32", adapter: str | int | None = None) -> Place:
    """What a Session with these arguments would run on. No device is opened.

    Raises BackendError where the backend, the adapter or the precision is not there.
    """
    choice = resolve(backend, precision, adapter)
    facts: dict[str, Any] = {"backend": choice.backend, "precision": precision}
    if choice.adapter is None:
        return Place(choice.backend, choice.reason, facts)
    from engine.tuning.choices import choices_of

    facts |= _facts(choice.adapter) | {"tuning": choices_of(choice.adapter, precision).digest}
    return Place(choice.backend, choice.reason, facts, device=str(choice.adapter))


def open_ahead(backend: str = "auto", precision: str = "f32", adapter: str | int | None = None) -> None:
    """Open the device that a Session with these arguments would open, for the next one; errors are the session's."""
    try:
        choice = resolve(backend, precision, adapter)
    except EngineError:
        return
    if choice.adapter is not None:
        _open(choice.adapter)


def begin_opening(adapter: Adapter) -> None:
    """Open the device of an adapter in a thread, for the session that asks for it next; errors are that session's."""
    # no daemon: a process that ends within a driver's call may crash there
    Thread(target=_open, args=(adapter,), name="engine-device").start()


def _open(adapter: Adapter) -> None:
    from engine.gpu.device.device import open_device

    with suppress(EngineError):
        open_device(adapter)


def _facts(adapter: Adapter) -> dict[str, Any]:
    """All that says what an adapter can do, and whose driver it has; not which of several equals it is."""
    from engine.gpu.device.implementations import package_version

    values = {field.name: getattr(adapter, field.name) for field in fields(adapter) if field.name not in _NO_FACTS}
    return {**values, "limits": dict(adapter.limits), "package": package_version(adapter.implementation)}


def resolve(backend: str, precision: str, adapter: str | int | None) -> BackendChoice:
    """What ``backend`` means on this machine; BackendError where it, the adapter or the precision is not there."""
    if backend not in BACKENDS:
        raise BackendError(f"backend '{backend}' is unknown; choose one of {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise BackendError(f"precision '{precision}' is unknown; choose one of {', '.join(PRECISIONS)}")
    choice = _on_gpu(backend, adapter) if backend in ("auto", "webgpu") else BackendChoice(backend, "asked for")
    if choice.adapter is None and adapter is not None:
        raise BackendError(f"an adapter is for backend 'webgpu'; '{choice.backend}' runs on the processor")
    if precision == "f16" and not (choice.adapter and choice.adapter.f16):
        where = f"adapter {choice.adapter} has no shader-f16" if choice.adapter else "the CPU computes in f32"
        raise BackendError(f"precision 'f16' is not available: {where}; use 'f32'")
    return choice


def _on_gpu(backend: str, adapter: str | int | None) -> BackendChoice:
    from engine.gpu.device.adapters import adapters
    from engine.gpu.device.choice import choose, no_adapter

    choice = choose(adapter, remembered=backend == "auto")
    if choice.adapter is not None:
        return BackendChoice("webgpu", choice.reason, choice.adapter)
    if backend == "auto":
        return BackendChoice("numpy", choice.reason)
    # asked for by name: a software adapter is slow, not wrong
    software = choose("0") if adapters() else None
    if software is None:
        raise BackendError(f"backend 'webgpu' cannot run here: {no_adapter()}; use backend 'numpy'")
    return BackendChoice("webgpu", "asked for; a software adapter", software.adapter)
