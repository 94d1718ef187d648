"""The device that everything on the GPU goes through, and its lock."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from engine.caps import Caps
from engine.compiled.model import CompiledProgram, Piece
from engine.errors import BackendError, DeviceLostError, EngineError, TooLargeError
from engine.forks import check_process, is_foreign
from engine.gpu.device.adapters import Adapter, fresh_handle, required_limits
from engine.gpu.device.base import BoundCommand, MapMode
from engine.gpu.device.capabilities import caps_of
from engine.gpu.device.compiler import Compiler
from engine.gpu.device.core_clock import CoreClock
from engine.gpu.device.implementations import IMPLEMENTATIONS, library_lock
from engine.gpu.device.uploads import upload


class Run(Protocol):
    """What a device remembers of a run: whether it has been computed."""

    @property
    def done(self) -> bool: ...


ALIVE_S = 1.0
"""Seconds to wait for a result before checking that the device still answers."""

PAUSE_S = 2e-5, 2e-3
"""Seconds between two looks whether a buffer is mapped: at the least, and at the most."""

PAUSE_SHARE = 0.01
"""Of the time waited so far, the next pause: what a look costs and what it comes too late are small beside the wait."""

_compiler = Compiler()


class Device:
    """A device, its compiled kernels, and the calls that go through it.

    Devices are shared: ``open_device`` returns the same one for the same adapter until it is lost. Any thread may use
    one: each call holds the device's lock, and ``guarded`` holds it over several calls. Public members take and return
    the implementation's own handles, and raise BackendError or DeviceLostError.
    """

    def __init__(self, adapter: Adapter, *, checked: bool = False) -> None:
        self.adapter, self.checked = adapter, checked
        self.implementation = IMPLEMENTATIONS[adapter.implementation]
        self.f16, self.timestamps = adapter.f16, adapter.timestamps
        self.core_clock = CoreClock(varies=not adapter.software)
        self._pipelines: dict[tuple[str, bool], Future[Any]] = {}
        self._lost: str | None = None
        self._lock, self._table_lock = threading.RLock(), threading.Lock()
        self.latest: Callable[[], Run | None] = lambda: None
        """The run that was submitted last, of whichever executor; None where nobody waits for it any more."""
        self.handle: Any = None
        with self.guarded(f"opening {adapter}"):
            self.module = self.implementation.module
            self.handle = self.implementation.open_device(fresh_handle(adapter), required_limits(adapter))

    @cached_property
    def caps(self) -> Caps:
        """What kernels may use on it."""
        return caps_of(self.adapter)

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
            with self._translated(activity):
                yield

    @contextlib.contextmanager
    def _translated(self, activity: str) -> Iterator[None]:
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
        that takes no threads is not checked while another one holds it.
        """
        if self._lost is not None or self.handle is None:
            return self._lost is None
        is_held = self._lock.acquire(blocking=False)
        if is_held or self._takes_threads:
            try:
                usage = self.module.BufferUsage
                buffer = self.handle.create_buffer(size=16, usage=usage.MAP_READ | usage.COPY_DST)
                self.implementation.map(buffer, "READ", 16)
                buffer.destroy()
            except Exception as error:
                text = " ".join(str(error).split())
                if "memory" not in text.casefold():
                    self._lost = text[:200]
            finally:
                if is_held:
                    self._lock.release()
        return self._lost is None

    def compile(self, program: CompiledProgram, *, trusted: bool) -> Future[Any]:
        """The future of the program's compute pipeline; memoised.

        Pipelines are compiled by a pool of threads, while any thread uses the device. Where ``trusted``, which says
        that the program's word is to be believed, a program that stays within its own bounds is compiled without the
        implementation's checks, unless the device is ``checked``. The future raises BackendError, which names the
        kernel; compiling it is then tried anew when it is asked for again.
        """
        check_process(f"compiling {program.kernel}")
        key = program.wgsl, program.trusted and trusted and not self.checked
        with self._table_lock:
            future = self._pipelines.get(key)
            if future is None:
                future = self._pipelines[key] = _compiler.submit(lambda: self._pipeline(program.kernel, *key))
        future.add_done_callback(lambda done: self._forget_failure(key, done))
        return future

    def _pipeline(self, kernel: str, wgsl: str, trusted: bool) -> Any:
        activity = f"compiling {kernel}"
        in_threads = self._lost is None and self.implementation.takes_threads(self.handle)
        with self._translated(activity) if in_threads else self.guarded(activity):
            module = self.implementation.shader(self.handle, wgsl, kernel, trusted=trusted)
            compute = {"module": module, "entry_point": "main"}
            return self.handle.create_compute_pipeline(label=kernel, layout="auto", compute=compute)

    def _forget_failure(self, key: tuple[str, bool], future: Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            with self._table_lock:
                if self._pipelines.get(key) is future:
                    del self._pipelines[key]

    def buffer(self, nbytes: int, usage: str, label: str, *, mapped: bool = False) -> Any:
        """A buffer of that many bytes; ``usage`` joins names of BufferUsage by ``|``. ``mapped`` has it mapped."""
        flags = 0
        for name in usage.split("|"):
            flags |= getattr(self.module.BufferUsage, name)
        with self.guarded(f"allocating {nbytes} bytes ({label})"):
            return self.handle.create_buffer(size=nbytes, usage=flags, label=label, mapped_at_creation=mapped)

    @property
    def tick_seconds(self) -> float:
        """Seconds of one tick of a timestamp."""
        return self.implementation.tick_seconds(self.handle)

    def upload(self, buffers: Sequence[Any], pieces: Iterable[Piece]) -> None:
        """Copy the pieces to their offsets of ``buffers``, by way of a few megabytes of staging memory.

        Offsets are multiples of 4; bytes that make up no 4-byte word are filled up with zeros. No lock is held while a
        piece is made. What is submitted later sees all of it.
        """
        upload(self, buffers, pieces)

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
                self._wait(self.map(staging, "WRITE", nbytes))
                memory = self.mapped(staging, "WRITE", nbytes)
                offset = 0
                for array in arrays:
                    memory[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)
                    offset += array.nbytes
                self.unmap(staging, memory)

    @property
    def is_idle(self) -> bool:
        """Whether the runs that were submitted have been computed, as far as anybody waits for them."""
        latest = self.latest()
        return latest is None or latest.done

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
        commands: Sequence[BoundCommand],
        timestamp_writes: Mapping[str, Any] | None = None,
    ) -> None:
        """Record one compute pass of (pipeline, bind group, workgroups)."""
        compute = encoder.begin_compute_pass(timestamp_writes=timestamp_writes)
        self.implementation.replay(compute, commands)
        compute.end()

    def read(self, staging: Any, nbytes: int) -> np.ndarray:
        """The bytes, uint8, of a MAP_READ buffer. Waits for what was submitted."""
        with self.guarded("reading back"):
            self._wait(self.map(staging, "READ", nbytes))
            data = self.mapped(staging, "READ", nbytes).copy()
            self.unmap(staging)
            return data

    # maps of staging buffers, for callers that hold the lock with ``guarded``, and where they say so for any

    def map(self, buffer: Any, mode: MapMode, nbytes: int) -> Any:
        """Ask for the first bytes of a buffer to be mapped, once what was submitted no longer uses it."""
        return self.implementation.map(buffer, mode, nbytes)

    def mapped(self, buffer: Any, mode: MapMode, nbytes: int) -> np.ndarray:
        """The first bytes of a mapped buffer, uint8: the memory itself, to be used without the lock until ``unmap``.

        Raises DeviceLostError where the device is lost, also to callers without the lock.
        """
        with self._translated("reading mapped memory"):
            return self.implementation.mapped(buffer, mode, nbytes)

    def unmap(self, buffer: Any, written: np.ndarray | None = None) -> None:
        """Give a mapped buffer back to the device; ``written`` is what ``mapped`` gave to write into."""
        self.implementation.unmap(buffer, written)

    def is_mapped(self, mapping: Any) -> bool:
        """Whether what ``map`` was asked for is there; needs no lock."""
        with contextlib.nullcontext() if self._takes_threads else self._lock:
            return self.implementation.is_mapped(self.handle, mapping)

    def wait(self, mapping: Any, activity: str) -> bool:
        """Wait until what ``map`` was asked for is there; whether it was not there yet. Needs no lock, and takes none.

        Others use the device meanwhile, and an interrupt is seen. Raises DeviceLostError where the device is lost.
        """
        check_process(activity)
        with self._translated(activity):
            return self._wait(mapping)

    def _wait(self, mapping: Any) -> bool:
        start = last_check = time.perf_counter()
        has_waited = False
        while True:
            if self._lost:
                raise RuntimeError(self._lost)
            if self.is_mapped(mapping):
                return has_waited
            has_waited, now = True, time.perf_counter()
            if now - last_check > ALIVE_S:
                last_check = now
                self.answers()
            time.sleep(min(max((now - start) * PAUSE_SHARE, PAUSE_S[0]), PAUSE_S[1]))

    @cached_property
    def _takes_threads(self) -> bool:
        return self.implementation.takes_threads(self.handle)

    def free(self, handles: Sequence[Any]) -> None:
        """Destroy buffers and queries. Those of a lost device are gone already; a child leaves those of its parent."""
        if is_foreign():
            return
        with self._lock:
            for handle in handles:
                with contextlib.suppress(Exception):
                    handle.destroy()


_devices: dict[tuple[str, int, bool], Device] = {}
"""The open device of each adapter, for the whole process: opening one takes longer than most runs."""


def open_device(adapter: Adapter, *, checked: bool = False) -> Device:
    """The device of that adapter, one for all sessions of the process; a lost one is replaced.

    Raises BackendError where the adapter opens none, and in a child of a process that used WebGPU.
    """
    check_process(f"opening {adapter}")
    key = adapter.implementation, adapter.position, checked
    with library_lock():
        device = _devices.get(key)
        if device is None or device.lost or not device.answers():
            device = _devices[key] = Device(adapter, checked=checked)
        return device
