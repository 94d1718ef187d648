"""Adapters, what each can do, the choice among them, and the device that everything else runs on.

The only file that knows which implementation of WebGPU is in use: wgpu (wgpu-native, the dependency) or wgpudawn (Dawn,
the extra ``dawn``), which share one Python API. Where they differ, in how a shader is trusted, in the names of
features, in how a recorded pass is replayed without the wrapper's cost, the difference is here.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from engine.errors import BackendError, DeviceLostError, TooLargeError
from engine.gpu.silence import silenced

IMPLEMENTATIONS = {"wgpu": "wgpu", "dawn": "wgpudawn"}
"""The implementations of WebGPU, in the order in which they are tried, and the packages that hold them."""

LIBRARIES = {"wgpu": "wgpu.backends.wgpu_native._api", "dawn": "wgpudawn.backends.dawn._api"}
"""The modules that hold the C functions (``lib``, ``libf`` with errors raised, ``ffi``) behind the Python API."""

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


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter as one implementation shows it.

    ``index`` counts over all that ``adapters`` lists, ``software`` is true of an adapter that runs on the processor,
    ``subgroup`` is its range of subgroup sizes or None, ``matrix_shapes`` names the matrix-unit shapes that it
    advertises (whether a device can be had with them is for ``probe.py`` to find out).
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

    def __str__(self) -> str:
        return f"{self.name} ({self.backend}, {self.implementation}{', software' if self.software else ''})"


@dataclass(frozen=True, slots=True)
class Choice:
    """The adapter that a session would get, or None, and why."""

    adapter: Adapter | None
    reason: str


def installed() -> list[str]:
    """The implementations whose package is there."""
    return [name for name, package in IMPLEMENTATIONS.items() if importlib.util.find_spec(package)]


@cache
def _module(implementation: str) -> ModuleType:
    # one of the drivers complains on standard error when this is not set, whatever is asked of it
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    module = importlib.import_module(IMPLEMENTATIONS[implementation])
    if implementation == "dawn":
        extras = importlib.import_module("wgpudawn.backends.dawn.extras")
        # once the instance exists its toggles are what they are
        with contextlib.suppress(RuntimeError):
            extras.set_instance_extras(enable_toggles=DAWN_TOGGLES, disable_toggles=DAWN_TOGGLES_OFF)
    return module


@cache
def adapters() -> tuple[Adapter, ...]:
    """Every adapter that can compute, of every installed implementation; empty where there is no driver."""
    found: list[Adapter] = []
    for implementation in installed():
        try:
            with silenced() if implementation == "dawn" else contextlib.nullcontext():
                handles = _module(implementation).gpu.enumerate_adapters_sync()
        except Exception:  # no loader or no driver; each implementation says it in its own way
            continue
        found += [_adapter(len(found) + i, implementation, handle) for i, handle in enumerate(_usable(handles))]
    return tuple(found)


def _fresh_handle(adapter: Adapter) -> Any:
    """The implementation's adapter, asked for anew: WebGPU lets an adapter give one device only."""
    handles = _usable(_module(adapter.implementation).gpu.enumerate_adapters_sync())
    same = [handle for handle in handles if dict(handle.info) == dict(adapter.handle.info)]
    return same[0] if same else adapter.handle


def _usable(handles: Sequence[Any]) -> list[Any]:
    # OpenGL shows the same devices again, with fewer features
    native = [handle for handle in handles if handle.info["backend_type"] not in ("OpenGL", "OpenGLES", "Null")]
    return native or [handle for handle in handles if handle.info["backend_type"] != "Null"]


def _adapter(index: int, implementation: str, handle: Any) -> Adapter:
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
    )


def _matrix_shape(config: Mapping[str, Any]) -> str:
    component = config.get("component_type", "?"), config.get("result_component_type", "?")
    return f"{component[0]}→{component[1]} {config.get('m')}x{config.get('n')}x{config.get('k')}"


def choose(wanted: str | None = None) -> Choice:
    """The adapter for a session: the one asked for, or the first hardware adapter, or None with the reason.

    ``wanted`` is an index, an implementation ("wgpu", "dawn"), or part of an adapter's name or driver. A software
    adapter is taken only when it is asked for: NumPy is many times faster than one. BackendError when nothing fits.
    """
    found = adapters()
    if wanted is not None:
        fitting = [adapter for adapter in found if _matches(adapter, wanted)]
        if not fitting:
            listed = "; ".join(f"{adapter.index}: {adapter}" for adapter in found) or no_adapter()
            raise BackendError(f"no adapter is '{wanted}'; there are {listed}")
        hardware_first = sorted(fitting, key=lambda adapter: adapter.software)
        return Choice(hardware_first[0], "asked for")
    for adapter in found:
        if not adapter.software:
            return Choice(adapter, "the first hardware adapter")
    if found:
        return Choice(None, f"there is only a software adapter ({found[0]}), and NumPy is faster")
    return Choice(None, no_adapter())


def _matches(adapter: Adapter, wanted: str) -> bool:
    if wanted.isdecimal():
        return adapter.index == int(wanted)
    text = wanted.casefold()
    return text == adapter.implementation or text in f"{adapter.name} {adapter.driver}".casefold()


def no_adapter() -> str:
    """Why there is no adapter at all, as one line."""
    packages = installed()
    if not packages:
        return "no WebGPU implementation is installed; pip install wgpu"
    return f"no WebGPU adapter: {' and '.join(packages)} found no driver (see 'Drivers' in the README)"


class Device:
    """A device, its compiled kernels, and the calls that go through it.

    Devices are shared: ``open_device`` hands out the same one for the same adapter until it is lost. The members that
    are public take and return the implementation's own handles; errors come out as BackendError or DeviceLostError.
    """

    def __init__(self, adapter: Adapter, *, checked: bool = False) -> None:
        self.adapter, self.checked = adapter, checked
        self.module = _module(adapter.implementation)
        self.limits = dict(adapter.limits)
        matrix = (
            ("subgroups", DAWN_MATRIX_FEATURE) if adapter.implementation == "dawn" and adapter.matrix_shapes else ()
        )
        features = [name for name in ("shader-f16", "timestamp-query", *matrix) if name in adapter.handle.features]
        wanted = {name: adapter.limits[name] for name in LIMITS if name != "min-storage-buffer-offset-alignment"}
        with self.guarded(f"opening {adapter}"):
            handle = _fresh_handle(adapter)
            self.handle = handle.request_device_sync(required_features=features, required_limits=wanted)
        self.f16, self.timestamps = "shader-f16" in features, "timestamp-query" in features
        self.matrix_units = DAWN_MATRIX_FEATURE in features
        self._pipelines: dict[str, Any] = {}
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._library = importlib.import_module(LIBRARIES[adapter.implementation])

    @property
    def lost(self) -> str | None:
        """Why the device is lost, or None."""
        return self._lost

    def lose(self, reason: str) -> None:
        """Mark the device as lost: whoever opens one gets another. Tests lose devices by it."""
        self._lost = reason

    @contextlib.contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Turn what the implementation raises into an engine error that says what was being done."""
        if getattr(self, "_lost", None):
            raise DeviceLostError(f"{doing}: the device is lost ({self._lost})")
        try:
            yield
        except (BackendError, KeyboardInterrupt):
            raise
        except MemoryError as error:
            raise TooLargeError(f"{doing}: the adapter is out of memory") from error
        except Exception as error:
            raise self._translated(doing, error) from error

    def _translated(self, doing: str, error: Exception) -> BackendError:
        text = " ".join(str(error).split())
        if "lost" in text.casefold() and "device" in text.casefold():
            self._lost = text[:200]
            return DeviceLostError(f"{doing}: the device is lost ({self._lost})")
        if "OutOfMemory" in type(error).__name__ or "out of memory" in text.casefold():
            return TooLargeError(f"{doing}: the adapter is out of memory; use a smaller model or backend 'numpy'")
        return BackendError(f"{doing}: {type(error).__name__}: {text[:600]}")

    def pipeline(self, source: str, label: str, *, trusted: bool) -> Any:
        """The compute pipeline of ``source``, whose entry point is ``main``; compiled once.

        ``trusted`` says that the kernel proves its own bounds: wgpu-native then leaves out its clamps and loop limits,
        unless the device is ``checked``.
        """
        with self._lock:
            found = self._pipelines.get(source)
            if found is None:
                with self.guarded(f"compiling {label}"):
                    module = self._shader(source, label, trusted and not self.checked)
                    found = self.handle.create_compute_pipeline(
                        label=label, layout="auto", compute={"module": module, "entry_point": "main"}
                    )
                self._pipelines[source] = found
        return found

    def _shader(self, source: str, label: str, trusted: bool) -> Any:
        if not trusted or self.adapter.implementation != "wgpu":
            return self.handle.create_shader_module(code=source, label=label)
        # in wgpu.h and in the library, but not among wgpu-py's methods
        api = self._library
        wgsl = api.new_struct_p("WGPUShaderSourceWGSL *", code=api.to_c_string_view(source))
        wgsl[0].chain.next, wgsl[0].chain.sType = api.ffi.NULL, api.lib.WGPUSType_ShaderSourceWGSL
        descriptor = api.new_struct_p(
            "WGPUShaderModuleDescriptor *",
            nextInChain=api.ffi.cast("WGPUChainedStruct *", wgsl),
            label=api.to_c_string_view(label),
        )
        no_checks = 0
        module = api.libf.wgpuDeviceCreateShaderModuleTrusted(self.handle._internal, descriptor, no_checks)
        return api.GPUShaderModule(label, module, self.handle)

    def buffer(self, nbytes: int, usage: str, label: str) -> Any:
        """A buffer of that many bytes; ``usage`` joins names of BufferUsage by ``|``."""
        flags = 0
        for name in usage.split("|"):
            flags |= getattr(self.module.BufferUsage, name)
        with self.guarded(f"allocating {nbytes} bytes ({label})"):
            return self.handle.create_buffer(size=nbytes, usage=flags, label=label)

    @property
    def tick_seconds(self) -> float:
        """What a timestamp counts in; wgpu-native hands on the driver's own unit."""
        if self.adapter.implementation != "wgpu":
            return 1e-9
        api = importlib.import_module("wgpu.backends.wgpu_native._api")
        return float(api.libf.wgpuQueueGetTimestampPeriod(self.handle.queue._internal)) * 1e-9

    def write(self, buffer: Any, offset: int, data: np.ndarray) -> None:
        """Copy an array, a whole number of 4-byte words, into a buffer."""
        if data.nbytes:
            with self.guarded("uploading"):
                self.handle.queue.write_buffer(buffer, offset, data)

    def fill(self, staging: Any, arrays: Sequence[np.ndarray]) -> None:
        """Write arrays, each a whole number of words, one behind the other into a MAP_WRITE buffer."""
        nbytes = sum(array.nbytes for array in arrays)
        if nbytes:
            with self.guarded("uploading"):
                staging.map_async("WRITE", 0, nbytes).sync_wait()
                try:
                    offset = 0
                    for array in arrays:
                        staging.write_mapped(array, offset)
                        offset += array.nbytes
                finally:
                    staging.unmap()

    def bind_group(self, pipeline: Any, entries: Sequence[tuple[Any, int, int]], label: str) -> Any:
        """Bindings 0, 1, … of group 0 as (buffer, offset, size)."""
        with self.guarded(f"binding {label}"):
            return self.handle.create_bind_group(
                layout=pipeline.get_bind_group_layout(0),
                entries=[
                    {"binding": index, "resource": {"buffer": buffer, "offset": offset, "size": size}}
                    for index, (buffer, offset, size) in enumerate(entries)
                ],
            )

    def replay(
        self,
        encoder: Any,
        commands: Sequence[tuple[Any, Any, tuple[int, int, int]]],
        timestamp_writes: Mapping[str, Any] | None = None,
    ) -> None:
        """Record one compute pass of (pipeline, bind group, workgroups)."""
        compute = encoder.begin_compute_pass(timestamp_writes=timestamp_writes)
        # the implementation's own functions over handles: a third of what the wrapper costs for each call
        pass_, lib, null = compute._internal, self._library.lib, self._library.ffi.NULL
        set_pipeline, set_group = lib.wgpuComputePassEncoderSetPipeline, lib.wgpuComputePassEncoderSetBindGroup
        dispatch = lib.wgpuComputePassEncoderDispatchWorkgroups
        current = None
        for pipeline, group, (x, y, z) in commands:
            if pipeline is not current:
                set_pipeline(pass_, pipeline._internal)
                current = pipeline
            set_group(pass_, 0, group._internal, 0, null)
            dispatch(pass_, x, y, z)
        compute.end()

    def read(self, staging: Any, nbytes: int) -> np.ndarray:
        """The bytes of a MAP_READ buffer, waiting for what was submitted; uint8."""
        with self.guarded("reading back"):
            # wgpu-py's plain READ submits an empty command buffer first, for callers that have submitted nothing
            mode = "READ_NOSYNC" if self.adapter.implementation == "wgpu" else "READ"
            staging.map_async(mode, 0, nbytes).sync_wait()
            try:
                return np.frombuffer(staging.read_mapped(0, nbytes), np.uint8)
            finally:
                staging.unmap()


_devices: dict[tuple[int, bool], Device] = {}
"""One device for each adapter, kept for the process: opening one takes longer than most runs."""

_opening = threading.Lock()


def open_device(adapter: Adapter, *, checked: bool = False) -> Device:
    """The device of that adapter, the same for every session of the process; a lost one is left behind."""
    with _opening:
        device = _devices.get((adapter.index, checked))
        if device is None or device.lost:
            device = Device(adapter, checked=checked)
            _devices[adapter.index, checked] = device
        return device
