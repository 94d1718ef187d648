"""The device that everything on the GPU goes through, and its lock.

Where the implementations of WebGPU differ, in how a shader is trusted, in what is waited for, in how a recorded pass is
replayed without the wrapper's cost, the difference is here; the rest of it is in ``adapters.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import BackendError, DeviceLostError, EngineError, TooLargeError
from engine.forks import check_process, is_foreign
from engine.gpu.adapters import (
    DAWN_MATRIX_FEATURE,
    LIMITS,
    Adapter,
    fresh_handle,
    implementation_module,
    library_lock,
)

LIBRARIES = {"wgpu": "wgpu.backends.wgpu_native._api", "dawn": "wgpudawn.backends.dawn._api"}
"""The modules that hold the C functions (``lib``, ``libf`` with errors raised, ``ffi``) behind the Python API."""

DAWN_LOCKING_FEATURE = "implicit-device-synchronization"
"""Dawn frees what Python collects, in whatever thread that happens, only under a lock that this feature gives it."""

ALIVE_S = 1.0
"""How long a result is waited for before the device is asked whether it still answers."""


class Device:
    """A device, its compiled kernels, and the calls that go through it.

    Devices are shared: ``open_device`` hands out the same one for the same adapter until it is lost. Any thread may use
    one: each call holds the device's lock, and ``guarded`` holds it over several. The members that are public take and
    return the implementation's own handles; errors come out as BackendError or DeviceLostError.
    """

    def __init__(self, adapter: Adapter, *, checked: bool = False) -> None:
        self.adapter, self.checked = adapter, checked
        self.limits = dict(adapter.limits)
        self._pipelines: dict[str, Any] = {}
        self._lost: str | None = None
        self._lock = threading.RLock()
        self.handle: Any = None
        dawn = adapter.implementation == "dawn"
        matrix = ("subgroups", DAWN_MATRIX_FEATURE) if dawn and adapter.matrix_shapes else ()
        names = "shader-f16", "timestamp-query", *((DAWN_LOCKING_FEATURE,) if dawn else ()), *matrix
        features = [name for name in names if name in adapter.handle.features]
        limits = {name: adapter.limits[name] for name in LIMITS if name != "min-storage-buffer-offset-alignment"}
        with self.guarded(f"opening {adapter}"):
            self.module = implementation_module(adapter.implementation)
            self._library = importlib.import_module(LIBRARIES[adapter.implementation])
            handle = fresh_handle(adapter)
            self.handle = handle.request_device_sync(required_features=features, required_limits=limits)
        self.f16, self.timestamps = "shader-f16" in features, "timestamp-query" in features
        self.matrix_units = DAWN_MATRIX_FEATURE in features

    @property
    def lost(self) -> str | None:
        """Why the device is lost, or None."""
        return self._lost

    def lose(self, reason: str) -> None:
        """Mark the device as lost: whoever opens one gets another. Tests lose devices by it."""
        self._lost = reason

    @contextlib.contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Hold the device, and turn what the implementation raises into an engine error that says what was being done.

        Raises BackendError in a child of the process that uses the device: a driver does not survive a fork.
        """
        check_process(doing)
        with self._lock:
            if self._lost:
                raise DeviceLostError(f"{doing}: the device is lost ({self._lost})")
            try:
                yield
            except EngineError:
                raise
            except MemoryError as error:
                raise TooLargeError(f"{doing}: the adapter is out of memory") from error
            except Exception as error:
                raise self._translated(doing, error) from error

    def _translated(self, doing: str, error: Exception) -> BackendError:
        text = " ".join(str(error).split())
        if self._lost or not self.answers():
            return DeviceLostError(f"{doing}: the device is lost ({self._lost})")
        if "OutOfMemory" in type(error).__name__ or "out of memory" in text.casefold():
            return TooLargeError(f"{doing}: the adapter is out of memory; use a smaller model or backend 'numpy'")
        return BackendError(f"{doing}: {type(error).__name__}: {text[:600]}")

    def answers(self) -> bool:
        """Whether the device still does what it is asked to; one that does not is lost from then on.

        A loss shows in any call and in any words, so that the question is two calls that nothing else can make fail. A
        device that another thread has at work is not asked.
        """
        if self._lost is None and self.handle is not None and self._lock.acquire(blocking=False):
            try:
                usage = self.module.BufferUsage
                buffer = self.handle.create_buffer(size=16, usage=usage.MAP_READ | usage.COPY_DST)
                self._map_to_read(buffer, 16)  # also what waits for results may be gone
                buffer.destroy()
            except Exception as error:
                text = " ".join(str(error).split())
                if "memory" not in text.casefold():
                    self._lost = text[:200]
            finally:
                self._lock.release()
        return self._lost is None

    def pipeline(self, source: str, label: str, *, trusted: bool) -> Any:
        """The compute pipeline of ``source``, whose entry point is ``main``; compiled once.

        ``trusted`` says that the kernel proves its own bounds: wgpu-native then leaves out its clamps and loop limits,
        unless the device is ``checked``.
        """
        with self.guarded(f"compiling {label}"):
            pipeline = self._pipelines.get(source)
            if pipeline is None:
                module = self._shader(source, label, trusted and not self.checked)
                pipeline = self._pipelines[source] = self.handle.create_compute_pipeline(
                    label=label, layout="auto", compute={"module": module, "entry_point": "main"}
                )
        return pipeline

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
                self._wait(staging.map_async("WRITE", 0, nbytes))
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
            self._wait(self._map_to_read(staging, nbytes))
            try:
                return np.frombuffer(staging.read_mapped(0, nbytes), np.uint8)
            finally:
                staging.unmap()

    def _map_to_read(self, buffer: Any, nbytes: int) -> Any:
        """The promise of a MAP_READ buffer's content.

        wgpu-py's plain READ submits an empty command buffer first, for callers that have submitted nothing, and a
        submission to a device that is lost ends the process.
        """
        mode = "READ_NOSYNC" if self.adapter.implementation == "wgpu" else "READ"
        return buffer.map_async(mode, 0, nbytes)

    def _wait(self, promise: Any) -> None:
        """Wait for the promise, as long as the device answers.

        wgpu-py waits for a thread that asks the device, which ends when another thread destroys the device.
        """
        event = getattr(promise, "_thread_event", None)
        if event is not None and self.adapter.implementation == "wgpu":
            while not event.wait(ALIVE_S):
                if not self.answers():
                    raise RuntimeError(self._lost)
        promise.sync_wait()

    def free(self, handles: Sequence[Any]) -> None:
        """Destroy buffers and queries. Those of a lost device are gone already, those of a parent are not ours."""
        if is_foreign():
            return
        with self._lock:
            for handle in handles:
                with contextlib.suppress(Exception):
                    handle.destroy()


_devices: dict[tuple[int, bool], Device] = {}
"""One device for each adapter, kept for the process: opening one takes longer than most runs."""


def open_device(adapter: Adapter, *, checked: bool = False) -> Device:
    """The device of that adapter, the same for every session of the process; a lost one is left behind.

    Raises BackendError where the adapter does not give one, and in a child of a process that used WebGPU.
    """
    check_process(f"opening {adapter}")
    with library_lock():
        device = _devices.get((adapter.index, checked))
        if device is None or device.lost or not device.answers():
            device = Device(adapter, checked=checked)
            _devices[adapter.index, checked] = device
        return device
