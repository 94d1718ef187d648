"""The device that everything on the GPU goes through, and its lock.

The implementations of WebGPU differ in how they compile a trusted shader, in how they wait for results, and in how a
recorded pass is replayed without the wrapper's cost. These differences are here; the others are in ``adapters.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from engine.compiled.model import CompiledProgram, Piece
from engine.errors import BackendError, DeviceLostError, EngineError, TooLargeError
from engine.forks import check_process, is_foreign
from engine.gpu.device.adapters import (
    DAWN_MATRIX_FEATURE,
    LIMITS,
    Adapter,
    fresh_handle,
    implementation_module,
    library_lock,
)

LIBRARIES = {"wgpu": "wgpu.backends.wgpu_native._api", "dawn": "wgpudawn.backends.dawn._api"}
"""The modules with the C functions (``lib``, ``libf`` that raises errors, ``ffi``) behind the Python API."""

DAWN_LOCKING_FEATURE = "implicit-device-synchronization"
"""The feature that gives Dawn a lock, which it needs to free what Python collects in any thread."""

ALIVE_S = 1.0
"""Seconds to wait for a result before checking that the device still answers."""


class Device:
    """A device, its compiled kernels, and the calls that go through it.

    Devices are shared: ``open_device`` returns the same one for the same adapter until it is lost. Any thread may use
    one: each call holds the device's lock, and ``guarded`` holds it over several calls. Public members take and return
    the implementation's own handles, and raise BackendError or DeviceLostError.
    """

    def __init__(self, adapter: Adapter, *, checked: bool = False) -> None:
        self.adapter, self.checked = adapter, checked
        self.limits = dict(adapter.limits)
        self._pipelines: dict[str, Any] = {}
        self._lost: str | None = None
        self._lock = threading.RLock()
        self.handle: Any = None
        dawn = adapter.implementation == "dawn"
        matrix_features = ("subgroups", DAWN_MATRIX_FEATURE) if dawn and adapter.matrix_shapes else ()
        names = "shader-f16", "timestamp-query", *((DAWN_LOCKING_FEATURE,) if dawn else ()), *matrix_features
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
        """Mark the device as lost, so that ``open_device`` opens another. Tests use it."""
        self._lost = reason

    @contextlib.contextmanager
    def guarded(self, activity: str) -> Iterator[None]:
        """Hold the device's lock, and turn errors of the implementation into engine errors that name ``activity``.

        Raises BackendError in a child of the process that uses the device: a driver does not survive a fork.
        """
        check_process(activity)
        with self._lock:
            if self._lost:
                raise DeviceLostError(f"{activity}: the device is lost ({self._lost})")
            try:
                yield
            except EngineError:
                raise
            except MemoryError as error:
                raise TooLargeError(f"{activity}: the adapter is out of memory") from error
            except Exception as error:
                raise self._translate(activity, error) from error

    def _translate(self, activity: str, error: Exception) -> BackendError:
        text = " ".join(str(error).split())
        if self._lost or not self.answers():
            return DeviceLostError(f"{activity}: the device is lost ({self._lost})")
        if "OutOfMemory" in type(error).__name__ or "out of memory" in text.casefold():
            return TooLargeError(f"{activity}: the adapter is out of memory; use a smaller model or backend 'numpy'")
        return BackendError(f"{activity}: {type(error).__name__}: {text[:600]}")

    def answers(self) -> bool:
        """Whether the device still works; one that does not is lost from then on.

        A loss may show in any call, as any error, so the check is two calls that fail for no other reason. A device
        that another thread holds is not checked.
        """
        if self._lost is None and self.handle is not None and self._lock.acquire(blocking=False):
            try:
                usage = self.module.BufferUsage
                buffer = self.handle.create_buffer(size=16, usage=usage.MAP_READ | usage.COPY_DST)
                self._map_to_read(buffer, 16)  # the thread that waits for results may be gone too
                buffer.destroy()
            except Exception as error:
                text = " ".join(str(error).split())
                if "memory" not in text.casefold():
                    self._lost = text[:200]
            finally:
                self._lock.release()
        return self._lost is None

    def pipeline(self, source: str, label: str, *, trusted: bool) -> Any:
        """The compute pipeline of ``source``, whose entry point is ``main``; memoised.

        ``trusted`` says that the kernel stays within its own bounds: wgpu-native then omits its clamps and loop limits,
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

    def compile(self, program: CompiledProgram, *, trusted: bool) -> Future[Any]:
        """The compute pipeline of a program, once it is compiled."""
        future: Future[Any] = Future()
        try:
            future.set_result(self.pipeline(program.wgsl, f"kernel {program.kernel}", trusted=trusted))
        except EngineError as error:
            future.set_exception(error)
        return future

    def upload(self, buffers: Sequence[Any], pieces: Iterable[Piece]) -> None:
        """Copy the pieces, each a whole number of words, to their offsets of ``buffers``."""
        for piece in pieces:
            self.write(buffers[piece.buffer], piece.offset, piece.data)

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
        """Seconds of one tick of a timestamp; wgpu-native passes on the driver's own unit."""
        if self.adapter.implementation != "wgpu":
            return 1e-9
        api = importlib.import_module("wgpu.backends.wgpu_native._api")
        return float(api.libf.wgpuQueueGetTimestampPeriod(self.handle.queue._internal)) * 1e-9

    def write(self, buffer: Any, offset: int, data: np.ndarray) -> None:
        """Copy an array, a whole number of 4-byte words, to a byte offset of a buffer."""
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
        """The bytes, uint8, of a MAP_READ buffer. Waits for what was submitted."""
        with self.guarded("reading back"):
            self._wait(self._map_to_read(staging, nbytes))
            try:
                return np.frombuffer(staging.read_mapped(0, nbytes), np.uint8)
            finally:
                staging.unmap()

    def _map_to_read(self, buffer: Any, nbytes: int) -> Any:
        """The promise of a MAP_READ buffer's content.

        wgpu-py's plain READ first submits an empty command buffer, for callers that have submitted nothing, and a
        submission to a lost device ends the process.
        """
        mode = "READ_NOSYNC" if self.adapter.implementation == "wgpu" else "READ"
        return buffer.map_async(mode, 0, nbytes)

    def _wait(self, promise: Any) -> None:
        """Wait for the promise while the device answers.

        wgpu-py waits for a thread that polls the device, which ends when another thread destroys the device.
        """
        event = getattr(promise, "_thread_event", None)
        if event is not None and self.adapter.implementation == "wgpu":
            while not event.wait(ALIVE_S):
                if not self.answers():
                    raise RuntimeError(self._lost)
        promise.sync_wait()

    def free(self, handles: Sequence[Any]) -> None:
        """Destroy buffers and queries. Those of a lost device are gone already; a child leaves those of its parent."""
        if is_foreign():
            return
        with self._lock:
            for handle in handles:
                with contextlib.suppress(Exception):
                    handle.destroy()


_devices: dict[tuple[int, bool], Device] = {}
"""The open device of each adapter, for the whole process: opening one takes longer than most runs."""


def open_device(adapter: Adapter, *, checked: bool = False) -> Device:
    """The device of that adapter, one for all sessions of the process; a lost one is replaced.

    Raises BackendError where the adapter opens none, and in a child of a process that used WebGPU.
    """
    check_process(f"opening {adapter}")
    with library_lock():
        device = _devices.get((adapter.index, checked))
        if device is None or device.lost or not device.answers():
            device = Device(adapter, checked=checked)
            _devices[adapter.index, checked] = device
        return device
