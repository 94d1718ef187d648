"""The implementations of WebGPU that are installed, the adapters that they show, and the choice among them.

Together with ``device.py`` the only files that know which implementation is in use: wgpu (wgpu-native, the dependency)
or wgpudawn (Dawn, the extra ``dawn``), which share one Python API.
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
from engine.gpu.silence import silenced

IMPLEMENTATIONS = {"wgpu": "wgpu", "dawn": "wgpudawn"}
"""The implementations of WebGPU, in the order in which they are tried, and the packages that hold them."""

DAWN_TOGGLES = ("allow_unsafe_apis", "vulkan_enable_f16_on_nvidia")
"""What Dawn keeps back by default: experimental features, and float16 on NVIDIA's Vulkan driver."""

DAWN_TOGGLES_OFF = ("timestamp_quantization",)
"""Dawn rounds timestamps to 0.1 ms, more than most kernels take, lest a web page learn too much."""

DAWN_MATRIX_FEATURE = "chromium-experimental-subgroup-matrix"
"""Matrix units, which only Dawn has; its kernels need subgroups too."""

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
"""Limits that every implementation of WebGPU guarantees, and that every kernel stays within."""

_library_lock = threading.RLock()


def _renew_lock() -> None:
    global _library_lock
    _library_lock = threading.RLock()


in_child(_renew_lock)


def library_lock() -> threading.RLock:
    """Held over what belongs to a whole implementation: listing adapters, opening devices.

    Whoever holds a device's lock does not ask for this one.
    """
    return _library_lock


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter as one implementation shows it.

    ``index`` counts over all that ``adapters`` lists, ``software`` is true of an adapter that runs on the processor,
    ``subgroup`` is its range of subgroup sizes or None, ``matrix_shapes`` names the matrix-unit shapes that it
    advertises (whether a device can be had with them is for ``probe.py`` to find out). ``make`` is the number of its
    vendor and the vendor's of its kind, which are the same in every implementation. ``ordinal`` counts from 0 over the
    ``equals`` adapters that this implementation describes in the same words: two cards of one make.
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
    """The adapter that a session would get, or None, and why."""

    adapter: Adapter | None
    reason: str


def installed() -> list[str]:
    """The implementations whose package is there."""
    return [name for name, package in IMPLEMENTATIONS.items() if importlib.util.find_spec(package)]


@cache
def implementation_module(implementation: str) -> ModuleType:
    """The package of an implementation, ready for use. Raises whatever its loading ends in."""
    # one of the drivers complains on standard error when this is not set, whatever is asked of it
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    package = IMPLEMENTATIONS[implementation]
    module = importlib.import_module(package)
    # what it logs of a lost device, Python would print where nobody has said what to do with logs
    logging.getLogger(package).addHandler(logging.NullHandler())
    if implementation == "dawn":
        extras = importlib.import_module("wgpudawn.backends.dawn.extras")
        # once the instance exists its toggles are what they are
        with contextlib.suppress(RuntimeError):
            extras.set_instance_extras(enable_toggles=DAWN_TOGGLES, disable_toggles=DAWN_TOGGLES_OFF)
    return module


@dataclass(frozen=True, slots=True)
class Available:
    """The adapters that can compute, and what is wrong with the implementations that show none, in their words."""

    adapters: tuple[Adapter, ...]
    failures: Mapping[str, str]


def adapters() -> tuple[Adapter, ...]:
    """Every adapter that can compute, of every installed implementation; empty where there is no driver."""
    return available().adapters


def available() -> Available:
    """The adapters of every installed implementation, asked for once a process."""
    with library_lock():
        return _available()


@cache
def _available() -> Available:
    listed: list[Adapter] = []
    failures = {}
    for implementation in installed():
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
        seen: Counter[object] = Counter()
        for handle in handles:
            description = _description(handle)
            ordinal, equals = seen[description], counts[description]
            listed.append(_adapter(len(listed), implementation, handle, ordinal=ordinal, equals=equals))
            seen[description] += 1
    return Available(tuple(listed), failures)


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _handles(implementation: str) -> list[Any]:
    """The implementation's own adapters that can compute."""
    module = implementation_module(implementation)
    note_use(module)
    with silenced() if implementation == "dawn" else contextlib.nullcontext():
        handles = module.gpu.enumerate_adapters_sync()
    # OpenGL shows the same devices again, with fewer features
    native = [handle for handle in handles if handle.info["backend_type"] not in ("OpenGL", "OpenGLES", "Null")]
    return native or [handle for handle in handles if handle.info["backend_type"] != "Null"]


def _description(handle: Any) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(dict(handle.info).items()))


def fresh_handle(adapter: Adapter) -> Any:
    """The implementation's adapter, asked for anew: WebGPU lets an adapter give one device only.

    Of several that the implementation describes in the same words it is the one with the same number. Raises
    BackendError where that is not there any more.
    """
    with library_lock():
        handles = _handles(adapter.implementation)
    equals = [handle for handle in handles if _description(handle) == _description(adapter.handle)]
    if len(equals) <= adapter.ordinal:
        raise BackendError(f"{adapter} is not there any more; `engine.devices()` lists what is")
    return equals[adapter.ordinal]


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


def card_count(listed: Sequence[Adapter]) -> int:
    """Hardware adapters that the drivers of this machine have: one may be shown by each of several implementations.

    Where implementations show different numbers of one kind, the largest counts: Dawn shows one of equals.
    """
    shown = Counter((adapter.implementation, adapter.make) for adapter in listed if not adapter.software)
    most: dict[tuple[int, int], int] = {}
    for (_, make), count in shown.items():
        most[make] = max(count, most.get(make, 0))
    return sum(most.values())


def choose(wanted: str | int | None = None) -> Choice:
    """The adapter for a session: the one asked for, or the first hardware adapter, or None with the reason.

    ``wanted`` is an index, an implementation ("wgpu", "dawn"), or part of an adapter's name or driver. A software
    adapter is taken only when it is asked for: NumPy is many times faster than one. BackendError when nothing fits.
    """
    listed = adapters()
    if wanted is not None:
        fitting = [adapter for adapter in listed if _matches(adapter, str(wanted))]
        if not fitting:
            names = "; ".join(f"{adapter.index}: {adapter}" for adapter in listed) or no_adapter()
            raise BackendError(f"no adapter is '{wanted}'; there are {names}{_broken()}")
        hardware_first = sorted(fitting, key=lambda adapter: adapter.software)
        return Choice(hardware_first[0], "asked for")
    for adapter in listed:
        if not adapter.software:
            return Choice(adapter, "the first hardware adapter")
    if listed:
        return Choice(None, f"there is only a software adapter ({listed[0]}), and NumPy is faster{_broken()}")
    return Choice(None, no_adapter())


def _matches(adapter: Adapter, wanted: str) -> bool:
    if wanted.isdecimal():
        return adapter.index == int(wanted)
    text = wanted.casefold()
    return text == adapter.implementation or text in f"{adapter.name} {adapter.driver}".casefold()


def _broken() -> str:
    """What is to be added where another implementation's adapters are spoken of: those that cannot be loaded."""
    failures = available().failures
    return "".join(f"; {name} {words}" for name, words in failures.items() if words.startswith("cannot be loaded"))


def no_adapter() -> str:
    """Why there is no adapter at all, as one line."""
    failures = available().failures
    if not failures:
        return "no WebGPU implementation is installed; pip install wgpu"
    words = " and ".join(f"{name} {failure}" for name, failure in failures.items())
    return f"no WebGPU adapter: {words} (see 'Drivers' in the README)"
