"""The public list of the adapters of this machine, without opening a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.gpu.device.adapters import Adapter, adapter_list, adapters, card_count
from engine.gpu.device.choice import choose


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One adapter, as one implementation of WebGPU shows it.

    ``kind`` is "discrete", "integrated", "other" or "software", in the order in which adapters are preferred.
    ``subgroup`` is its smallest and largest subgroup size. ``matrix_shapes`` are the products that its matrix units
    claim, ``matrix_works`` whether one was tried and came out right (None: not tried), ``matrix_reason`` one line on
    that; without ``probe`` both are empty. ``limits`` have WebGPU's names, in bytes and counts. ``ordinal`` counts from
    0 over the ``equals`` adapters that the implementation describes in the same words: cards of one make.
    ``description`` is what a session that runs on it calls its device. ``make`` is the vendor's number, and its number
    of the model, which are the same in every implementation.
    """

    index: int
    name: str
    implementation: str
    api: str
    driver: str
    software: bool
    f16: bool
    timestamps: bool
    subgroup: tuple[int, int] | None
    matrix_shapes: tuple[str, ...]
    matrix_works: bool | None
    matrix_reason: str
    limits: Mapping[str, int]
    ordinal: int = 0
    equals: int = 1
    description: str = ""
    kind: str = "other"
    make: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Devices:
    """The adapters of a machine; ``chosen`` is the index of the one that a session takes, or None, ``reason`` why.

    ``cards`` counts the hardware adapters that the drivers have, whichever implementations show each. ``failures`` says
    for each implementation that shows no adapter what is wrong with it.
    """

    adapters: tuple[DeviceInfo, ...]
    chosen: int | None
    reason: str
    cards: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)


def devices(wanted: str | int | None = None, *, probe: bool = False) -> Devices:
    """The adapters, and which one a session would get: with ``adapter=wanted``, or by "auto".

    ``probe`` opens a device where that is needed to know whether matrix units work. Raises BackendError where there
    are adapters, and none of them is ``wanted``.
    """
    all_adapters = adapters()
    choice = choose(wanted) if wanted is None or all_adapters else choose()
    return Devices(
        adapters=tuple(_info(adapter, probe) for adapter in all_adapters),
        chosen=choice.adapter.index if choice.adapter else None,
        reason=choice.reason,
        cards=card_count(all_adapters),
        failures=dict(adapter_list().failures),
    )


def _info(adapter: Adapter, probe: bool) -> DeviceInfo:
    works, reason = None, ""
    if probe:
        from engine.gpu.device.probe import probe_matrix_units

        units = probe_matrix_units(adapter)
        works, reason = units.works, units.reason
    return DeviceInfo(
        index=adapter.index,
        name=adapter.name,
        implementation=adapter.implementation,
        api=adapter.backend,
        driver=adapter.driver,
        kind=adapter.kind,
        software=adapter.software,
        f16=adapter.f16,
        timestamps=adapter.timestamps,
        subgroup=adapter.subgroup,
        matrix_shapes=adapter.matrix_shapes,
        matrix_works=works,
        matrix_reason=reason,
        limits=dict(adapter.limits),
        ordinal=adapter.ordinal,
        equals=adapter.equals,
        description=str(adapter),
        make=adapter.make,
    )
