"""Which adapters a Remover runs on: one, several that are named, or all."""

from __future__ import annotations

from collections.abc import Sequence

import engine
from nss.errors import UsageError, quoted
from nss.removal.run_options import RunOptions

Device = str | int | Sequence[str | int] | None
"""As `nss.Remover` takes it."""

ALL = "all"


def run_options(
    backend: str = "auto", device: Device = None, precision: str = "f32", *, require_gpu: bool = False
) -> list[RunOptions]:
    """What each network of a Remover runs on, one or more.

    Args:
        backend: of all.
        device: one adapter, as `engine.Session` takes it, or None; numbers with commas between them; a sequence of
            adapters; or "all": every hardware adapter, each card once.
        precision: of all.
        require_gpu: of all.

    Raises:
        UsageError: ``device`` is nothing of that, or names an adapter twice, or one that is not there.
        GpuUnavailableError: ``require_gpu``, and one of them is no hardware adapter.
    """
    names = _names(backend, device)
    every = [RunOptions(backend, name, precision, require_gpu) for name in names]
    for options in every:
        options.check()
    if len(every) > 1:
        _check_different(names)
    return every


def _names(backend: str, device: Device) -> list[str | int | None]:
    if device == ALL and backend in ("auto", "webgpu"):
        cards = hardware_adapters()
        return [*cards] if len(cards) > 1 else [None]
    if isinstance(device, str) and "," in device and all(part.strip().isdecimal() for part in device.split(",")):
        return [int(part) for part in device.split(",")]
    # a name is any part of an adapter's, and one that says nothing would be part of all: a software adapter's too
    if device is None or isinstance(device, int) or (isinstance(device, str) and device.strip(" ,")):
        return [device]
    names: list[str | int | None] = (
        list(device) if isinstance(device, Sequence) and not isinstance(device, (str, bytes)) else []
    )
    if not names or not all(isinstance(name, (str, int)) for name in names):
        raise UsageError(f"'device' is an adapter's number or name, \"all\", or several, not {quoted(str(device))}")
    return names


def hardware_adapters() -> list[int]:
    """The numbers of the hardware adapters, each card once, in their order.

    Where implementations show different numbers of one make, those of the one that shows the most: cards of one make
    cannot be told apart across implementations, and Dawn shows one of them. Where they show as many, those of the one
    that "auto" takes.
    """
    cards: dict[tuple[int, int], dict[str, list[int]]] = {}
    for adapter in engine.devices().adapters:
        if not adapter.software:
            cards.setdefault(adapter.make, {}).setdefault(adapter.implementation, []).append(adapter.index)
    # of equally many the first, as the implementations come in the order in which "auto" asks them
    return sorted(index for each in cards.values() for index in max(each.values(), key=len))


def _check_different(names: Sequence[str | int | None]) -> None:
    """Raise UsageError where two name the same adapter."""
    seen: dict[int | None, str | int | None] = {}
    for name in names:
        try:
            index = engine.devices(name).chosen
        except engine.BackendError as error:
            raise UsageError(str(error)) from error
        if index in seen:
            raise UsageError(f"'device' names one adapter twice: {quoted(seen[index])} and {quoted(name)}")
        seen[index] = name
