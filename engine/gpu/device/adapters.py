"""The adapters that the implementations of WebGPU show."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.caps import PORTABLE_LIMITS
from engine.errors import BackendError
from engine.gpu.device.implementations import IMPLEMENTATIONS, installed_implementations, library_lock

LIMITS = tuple(PORTABLE_LIMITS)
"""The limits that are asked of an adapter, by WebGPU's names."""

KINDS = ("discrete", "integrated", "other", "software")
"""The kinds of adapters, in the order in which they are preferred."""

ADAPTER_TYPES = {"DiscreteGPU": "discrete", "IntegratedGPU": "integrated", "CPU": "software"}


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter as one implementation shows it.

    ``position`` counts from 0 over the adapters of its implementation. ``kind`` is one of ``KINDS``; "software" runs on
    the processor. ``features`` are those that a device is opened with, by WebGPU's names. ``subgroup`` is its range of
    subgroup sizes, or None. ``matrix_shapes`` names the matrix-unit shapes that it advertises; ``probe.py`` tests
    whether they compute. ``make`` is the vendor's number and the vendor's number of the model, which are the same in
    every implementation. ``ordinal`` counts from 0 over the ``equals`` adapters that this implementation describes in
    the same words: two cards of one make.
    """

    position: int
    implementation: str
    name: str
    backend: str
    driver: str
    kind: str
    features: tuple[str, ...]
    subgroup: tuple[int, int] | None
    matrix_shapes: tuple[str, ...]
    limits: Mapping[str, int]
    handle: Any
    make: tuple[int, int] = (0, 0)
    ordinal: int = 0
    equals: int = 1

    @property
    def index(self) -> int:
        """Its position in ``adapters()``. Asks the implementations before its own."""
        earlier = itertools.takewhile(lambda name: name != self.implementation, installed_implementations())
        return sum(len(implementation_list(name).adapters) for name in earlier) + self.position

    @property
    def software(self) -> bool:
        """Whether it runs on the processor."""
        return self.kind == "software"

    @property
    def f16(self) -> bool:
        """Whether shaders may use float16."""
        return "shader-f16" in self.features

    @property
    def timestamps(self) -> bool:
        """Whether it can say what each kernel takes."""
        return "timestamp-query" in self.features

    def __str__(self) -> str:
        number = f" #{self.ordinal + 1}" if self.equals > 1 else ""
        return f"{self.name}{number} ({self.backend}, {self.implementation}{', software' if self.software else ''})"


@dataclass(frozen=True, slots=True)
class AdapterList:
    """The adapters that can compute, and for each implementation without one the reason, in its own words."""

    adapters: tuple[Adapter, ...]
    failures: Mapping[str, str]


def adapters() -> tuple[Adapter, ...]:
    """Every adapter that can compute, of every installed implementation; empty without a driver."""
    return adapter_list().adapters


def adapter_list() -> AdapterList:
    """The adapters of every installed implementation, one implementation behind the other."""
    lists = [implementation_list(name) for name in installed_implementations()]
    failures = {name: text for each in lists for name, text in each.failures.items()}
    return AdapterList(tuple(adapter for each in lists for adapter in each.adapters), failures)


def implementation_list(implementation: str) -> AdapterList:
    """The adapters of one implementation, memoised for the process; loads it.

    Those that are known are given at once, also while another thread opens a device.
    """
    if (members := _lists.get(implementation)) is None:
        with library_lock():
            if (members := _lists.get(implementation)) is None:
                members = _lists[implementation] = _list(implementation)
    return members


_lists: dict[str, AdapterList] = {}


def _list(implementation: str) -> AdapterList:
    try:
        IMPLEMENTATIONS[implementation].module  # noqa: B018 (imports it)
    except Exception as error:
        return AdapterList((), {implementation: f"cannot be loaded ({_in_one_line(error)})"})
    try:
        handles = IMPLEMENTATIONS[implementation].handles()
    except Exception as error:  # no loader or no driver; each implementation says it in its own way
        return AdapterList((), {implementation: f"found no driver ({_in_one_line(error)})"})
    counts, ordinals = Counter(_description(handle) for handle in handles), Counter[object]()
    members: list[Adapter] = []
    for position, handle in enumerate(handles):
        description = _description(handle)
        ordinal, equals = ordinals[description], counts[description]
        members.append(_adapter(position, implementation, handle, ordinal=ordinal, equals=equals))
        ordinals[description] += 1
    return AdapterList(tuple(members), {} if members else {implementation: "found no driver"})


def forget_lists() -> None:
    """Have the drivers asked anew. Tests use it."""
    _lists.clear()


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _description(handle: Any) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(dict(handle.info).items()))


def fresh_handle(adapter: Adapter) -> Any:
    """A new handle of the adapter: WebGPU opens only one device for each handle.

    Of several adapters that the implementation describes in the same words it is the one with the same ordinal. Raises
    BackendError where that adapter is gone.
    """
    with library_lock():
        handles = IMPLEMENTATIONS[adapter.implementation].handles()
    equal_handles = [handle for handle in handles if _description(handle) == _description(adapter.handle)]
    if len(equal_handles) <= adapter.ordinal:
        raise BackendError(f"{adapter} is not there any more; `engine.devices()` lists what is")
    return equal_handles[adapter.ordinal]


def _adapter(position: int, implementation: str, handle: Any, *, ordinal: int, equals: int) -> Adapter:
    info, own = handle.info, IMPLEMENTATIONS[implementation]
    sizes = int(info.get("stackgroup_min_size", 0)), int(info.get("stackgroup_max_size", 0))
    return Adapter(
        position=position,
        implementation=implementation,
        name=info["device"] or info["description"],
        backend=info["backend_type"],
        driver=info["description"],
        kind=ADAPTER_TYPES.get(info["adapter_type"], "other"),
        features=own.features(handle),
        subgroup=sizes if handle.features & {"subgroups", "subgroup"} else None,
        matrix_shapes=own.matrix_shapes(handle),
        limits={name: int(handle.limits[name]) for name in LIMITS},
        handle=handle,
        make=(int(info.get("vendor_id", 0)), int(info.get("device_id", 0))),
        ordinal=ordinal,
        equals=equals,
    )


def required_limits(adapter: Adapter) -> dict[str, int]:
    """The limits that a device is opened with: all that the adapter has."""
    return {name: limit for name, limit in adapter.limits.items() if name != "min-storage-buffer-offset-alignment"}


def card_count(all_adapters: Sequence[Adapter]) -> int:
    """The number of hardware adapters of this machine, each counted once however many implementations show it.

    Where implementations show different numbers of one make, the largest counts: Dawn shows one of equal cards.
    """
    counts_by_implementation = Counter(
        (adapter.implementation, adapter.make) for adapter in all_adapters if not adapter.software
    )
    card_counts: dict[tuple[int, int], int] = {}
    for (_, make), count in counts_by_implementation.items():
        card_counts[make] = max(count, card_counts.get(make, 0))
    return sum(card_counts.values())
