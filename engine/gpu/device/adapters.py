"""The implementations of WebGPU that are installed, the adapters that they show, and the choice among them.

Only this file and ``device.py`` know which implementation is in use: wgpu (wgpu-native, the dependency) or wgpudawn
(Dawn, the extra ``dawn``). Both have one Python API.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from engine.errors import BackendError
from engine.forks import in_child, note_use
from engine.gpu.device.silence import silence_stderr

IMPLEMENTATIONS = {"wgpu": "wgpu", "dawn": "wgpudawn"}
"""The implementations of WebGPU, in the order in which they are tried, and the packages that hold them."""

DAWN_TOGGLES = ("allow_unsafe_apis", "vulkan_enable_f16_on_nvidia")
"""Features that Dawn disables by default: experimental ones, and float16 on NVIDIA's Vulkan driver."""

DAWN_TOGGLES_OFF = ("timestamp_quantization",)
"""Dawn rounds timestamps to 0.1 ms, for the privacy of web pages; most kernels take less."""

DAWN_MATRIX_FEATURE = "chromium-experimental-subgroup-matrix"
"""Matrix units, which only Dawn has. Kernels that use them need subgroups too."""

LIMITS = (
    "max-buffer-size",
    "max-storage-buffer-binding-size",
    "max-storage-buffers-per-shader-stage",
    "max-compute-workgroup-storage-size",
    "max-compute-invocations-per-workgroup",
    "max-compute-workgroups-per-dimension",
    "min-storage-buffer-offset-alignment",
)

BASELINE: Mapping[str, int] = {
    "max-storage-buffers-per-shader-stage": 8,
    "max-compute-workgroup-storage-size": 16384,
    "max-compute-invocations-per-workgroup": 256,
}
"""Limits that every implementation of WebGPU guarantees. Every kernel stays within them."""

_library_lock = threading.RLock()


def _renew_lock() -> None:
    global _library_lock
    _library_lock = threading.RLock()


in_child(_renew_lock)


def library_lock() -> threading.RLock:
    """The lock for what belongs to a whole implementation: listing adapters, opening devices.

    A thread that holds a device's lock does not acquire this one.
    """
    return _library_lock


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter as one implementation shows it.

    ``index`` is its position in ``adapters()``. ``software`` is true of an adapter that runs on the processor.
    ``subgroup`` is its range of subgroup sizes, or None. ``matrix_shapes`` names the matrix-unit shapes that it
    advertises; ``probe.py`` tests whether a device opens with them. ``make`` is the vendor's number and the vendor's
    number of the model, which are the same in every implementation. ``ordinal`` counts from 0 over the ``equals``
    adapters that this implementation describes in the same words: two cards of one make.
    """

    index: int
    implementation: str
    name: str
    backend: str
    driver: str
    software: bool
    f16: bool
    timestamps: bool
    subgroup: tuple[int, int] | None
    matrix_shapes: tuple[str, ...]
    limits: Mapping[str, int]
    handle: Any
    make: tuple[int, int] = (0, 0)
    ordinal: int = 0
    equals: int = 1

    def __str__(self) -> str:
        number = f" #{self.ordinal + 1}" if self.equals > 1 else ""
        return f"{self.name}{number} ({self.backend}, {self.implementation}{', software' if self.software else ''})"


@dataclass(frozen=True, slots=True)
class Choice:
    """The adapter for a session, or None, and the reason."""

    adapter: Adapter | None
    reason: str


def installed_implementations() -> list[str]:
    """The names of the implementations whose package is installed."""
    return [name for name, package in IMPLEMENTATIONS.items() if importlib.util.find_spec(package)]


@cache
def implementation_module(implementation: str) -> ModuleType:
    """The package of an implementation, ready for use. Raises whatever its import raises."""
    # one of the drivers warns on standard error at every call when this is not set
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    package = IMPLEMENTATIONS[implementation]
    module = importlib.import_module(package)
    # without a handler Python prints what the package logs of a lost device
    logging.getLogger(package).addHandler(logging.NullHandler())
    if implementation == "dawn":
        extras = importlib.import_module("wgpudawn.backends.dawn.extras")
        # toggles cannot change once the instance exists
        with contextlib.suppress(RuntimeError):
            extras.set_instance_extras(enable_toggles=DAWN_TOGGLES, disable_toggles=DAWN_TOGGLES_OFF)
    return module


@dataclass(frozen=True, slots=True)
class AdapterList:
    """The adapters that can compute, and for each implementation without one the reason, in its own words."""

    adapters: tuple[Adapter, ...]
    failures: Mapping[str, str]


def adapters() -> tuple[Adapter, ...]:
    """Every adapter that can compute, of every installed implementation; empty without a driver."""
    return adapter_list().adapters


def adapter_list() -> AdapterList:
    """The adapters of every installed implementation, memoised for the process."""
    with library_lock():
        return _adapter_list()


@cache
def _adapter_list() -> AdapterList:
    all_adapters: list[Adapter] = []
    failures = {}
    for implementation in installed_implementations():
        try:
            implementation_module(implementation)
        except Exception as error:
            failures[implementation] = f"cannot be loaded ({_in_one_line(error)})"
            continue
        try:
            handles = _handles(implementation)
        except Exception as error:  # no loader or no driver; each implementation says it in its own way
            failures[implementation] = f"found no driver ({_in_one_line(error)})"
            continue
        if not handles:
            failures[implementation] = "found no driver"
        counts = Counter(_description(handle) for handle in handles)
        ordinals: Counter[object] = Counter()
        for handle in handles:
            description = _description(handle)
            ordinal, equals = ordinals[description], counts[description]
            all_adapters.append(_adapter(len(all_adapters), implementation, handle, ordinal=ordinal, equals=equals))
            ordinals[description] += 1
    return AdapterList(tuple(all_adapters), failures)


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _handles(implementation: str) -> list[Any]:
    """The implementation's own adapters that can compute."""
    module = implementation_module(implementation)
    note_use(module)
    with silence_stderr() if implementation == "dawn" else contextlib.nullcontext():
        handles = module.gpu.enumerate_adapters_sync()
    # OpenGL shows the same devices again, with fewer features
    native = [handle for handle in handles if handle.info["backend_type"] not in ("OpenGL", "OpenGLES", "Null")]
    return native or [handle for handle in handles if handle.info["backend_type"] != "Null"]


def _description(handle: Any) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(dict(handle.info).items()))


def fresh_handle(adapter: Adapter) -> Any:
    """A new handle of the adapter: WebGPU opens only one device for each handle.

    Of several adapters that the implementation describes in the same words it is the one with the same ordinal. Raises
    BackendError where that adapter is gone.
    """
    with library_lock():
        handles = _handles(adapter.implementation)
    equal_handles = [handle for handle in handles if _description(handle) == _description(adapter.handle)]
    if len(equal_handles) <= adapter.ordinal:
        raise BackendError(f"{adapter} is not there any more; `engine.devices()` lists what is")
    return equal_handles[adapter.ordinal]


def _adapter(index: int, implementation: str, handle: Any, *, ordinal: int, equals: int) -> Adapter:
    info, features = handle.info, handle.features
    limits = {name: int(handle.limits[name]) for name in LIMITS}
    shapes: tuple[str, ...] = ()
    if implementation == "dawn" and DAWN_MATRIX_FEATURE in features:
        extras = importlib.import_module("wgpudawn.backends.dawn.extras")
        configs = extras.get_adapter_properties(handle).get("subgroup_matrix_configs", ())
        shapes = tuple(sorted({_matrix_shape(config) for config in configs}))
    elif "cooperative-matrix" in features or "experimental-cooperative-matrix" in features:
        shapes = ("advertised",)
    sizes = int(info.get("stackgroup_min_size", 0)), int(info.get("stackgroup_max_size", 0))
    return Adapter(
        index=index,
        implementation=implementation,
        name=info["device"] or info["description"],
        backend=info["backend_type"],
        driver=info["description"],
        software=info["adapter_type"] == "CPU",
        f16="shader-f16" in features,
        timestamps="timestamp-query" in features,
        subgroup=sizes if features & {"subgroups", "subgroup"} else None,
        matrix_shapes=shapes,
        limits=limits,
        handle=handle,
        make=(int(info.get("vendor_id", 0)), int(info.get("device_id", 0))),
        ordinal=ordinal,
        equals=equals,
    )


def _matrix_shape(config: Mapping[str, Any]) -> str:
    component = config.get("component_type", "?"), config.get("result_component_type", "?")
    return f"{component[0]}→{component[1]} {config.get('m')}x{config.get('n')}x{config.get('k')}"


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


def choose(requested: str | int | None = None) -> Choice:
    """The adapter for a session: the requested one, or the first hardware adapter, or None with the reason.

    ``requested`` is an index, an implementation ("wgpu", "dawn"), or a part of an adapter's name or driver. A software
    adapter must be requested: NumPy is many times faster than one. Raises BackendError where no adapter matches.
    """
    all_adapters = adapters()
    if requested is not None:
        fitting_adapters = [adapter for adapter in all_adapters if _matches(adapter, str(requested))]
        if not fitting_adapters:
            names = "; ".join(f"{adapter.index}: {adapter}" for adapter in all_adapters) or no_adapter()
            raise BackendError(f"no adapter is '{requested}'; there are {names}{_load_failures()}")
        hardware_first = sorted(fitting_adapters, key=lambda adapter: adapter.software)
        return Choice(hardware_first[0], "asked for")
    for adapter in all_adapters:
        if not adapter.software:
            return Choice(adapter, "the first hardware adapter")
    if all_adapters:
        return Choice(
            None, f"there is only a software adapter ({all_adapters[0]}), and NumPy is faster{_load_failures()}"
        )
    return Choice(None, no_adapter())


def _matches(adapter: Adapter, requested: str) -> bool:
    if requested.isdecimal():
        return adapter.index == int(requested)
    text = requested.casefold()
    return text == adapter.implementation or text in f"{adapter.name} {adapter.driver}".casefold()


def _load_failures() -> str:
    """The end of a message about adapters: the implementations that cannot be loaded, if any."""
    failures = adapter_list().failures
    return "".join(f"; {name} {text}" for name, text in failures.items() if text.startswith("cannot be loaded"))


def no_adapter() -> str:
    """The reason why there is no adapter at all, in one line."""
    failures = adapter_list().failures
    if not failures:
        return "no WebGPU implementation is installed; pip install wgpu"
    words = " and ".join(f"{name} {failure}" for name, failure in failures.items())
    return f"no WebGPU adapter: {words} (see 'Drivers' in docs/install.md)"
