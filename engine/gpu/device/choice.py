"""Which adapter a session gets, and why; implementations are asked in their order, and no further than needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.errors import BackendError
from engine.gpu.device import memory
from engine.gpu.device.adapters import KINDS, Adapter, adapter_list, adapters, implementation_list
from engine.gpu.device.implementations import IMPLEMENTATIONS, installed_implementations


@dataclass(frozen=True, slots=True)
class Choice:
    """The adapter for a session, or None, and the reason."""

    adapter: Adapter | None
    reason: str


def choose(requested: str | int | None = None, *, remembered: bool = False) -> Choice:
    """The adapter for a session: the requested one, or the best hardware adapter, or None with the reason.

    The first implementation that has a hardware adapter that fits gives it, a discrete one before an integrated one,
    and those behind it are not loaded. ``requested`` is an index, an implementation ("dawn", "wgpu"), or a part of an
    adapter's name or driver. A software adapter must be requested: NumPy is many times faster than one. With
    ``remembered`` nothing is loaded where an earlier search found no hardware adapter (``memory.py``). Raises
    BackendError where no adapter matches.
    """
    if requested is not None:
        return _requested(str(requested))
    reason = memory.absence() if remembered else None
    if reason is not None:
        return Choice(None, reason)
    choice = _best()
    if choice.adapter is None:
        memory.note_absence(choice.reason)
    return choice


def _best() -> Choice:
    for implementation in installed_implementations():
        hardware = [adapter for adapter in implementation_list(implementation).adapters if not adapter.software]
        if hardware:
            best = _preferred(hardware)
            return Choice(best, f"the first {best.kind} adapter" if best.kind != "other" else "the first adapter")
    all_adapters = adapters()
    if all_adapters:
        reason = f"there is only a software adapter ({all_adapters[0]}), and NumPy is faster{_load_failures()}"
        return Choice(None, reason)
    return Choice(None, no_adapter())


def _requested(requested: str) -> Choice:
    software_adapters: list[Adapter] = []
    text, index = requested.casefold(), int(requested) if requested.isdecimal() else None
    first_index = 0
    for implementation in [text] if text in IMPLEMENTATIONS else installed_implementations():
        members = implementation_list(implementation).adapters
        if index is not None:
            fitting_adapters = [adapter for adapter in members if first_index + adapter.position == index]
            first_index += len(members)
        else:
            fitting_adapters = [adapter for adapter in members if _matches(adapter, text)]
        if any(not adapter.software for adapter in fitting_adapters):
            return Choice(_preferred(fitting_adapters), "asked for")
        software_adapters += fitting_adapters
    if software_adapters:
        return Choice(software_adapters[0], "asked for")
    names = "; ".join(f"{index}: {adapter}" for index, adapter in enumerate(adapters()))
    if not names:
        raise BackendError(f"no adapter is '{requested}': {no_adapter()}")
    raise BackendError(f"no adapter is '{requested}'; the adapters are {names}{_load_failures(text)}")


def _preferred(adapters_: Iterable[Adapter]) -> Adapter:
    return min(adapters_, key=lambda adapter: KINDS.index(adapter.kind))


def _matches(adapter: Adapter, text: str) -> bool:
    return text == adapter.implementation or text in f"{adapter.name} {adapter.driver}".casefold()


def _load_failures(requested: str = "") -> str:
    """The end of a message about adapters: why implementations have none, if they cannot be loaded or are requested."""
    failures = adapter_list().failures
    return "".join(
        f"; {name} {text}"
        for name, text in failures.items()
        if name == requested or text.startswith("cannot be loaded")
    )


def no_adapter() -> str:
    """The reason why there is no adapter at all, in one line."""
    failures = adapter_list().failures
    if not failures:
        return "no WebGPU implementation is installed; pip install wgpu"
    words = " and ".join(f"{name} {failure}" for name, failure in failures.items())
    return f"no WebGPU adapter: {words} (see 'Drivers' in docs/install.md)"
