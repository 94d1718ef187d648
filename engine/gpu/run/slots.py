"""Staging memory, and the runs that are in flight through it.

A run in flight has a slot: a buffer that the processor writes inputs into and one that it reads results from. What the
network computes in is the device's, and shared, since a queue runs in order. The buffer of a free slot is mapped, so
that the next run's inputs go up by one copy, which needs no lock.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.errors import BackendError
from engine.gpu.device.device import Device

WAIT_S = 0.05
"""Seconds between two looks for a slot, where all are with threads that are filling them."""


LOOKED_BACK = 16
"""Runs by which it is told what slots are still needed for."""

SPARE_BYTES = 64 << 20
"""Of a slot, beyond twice what these runs needed, that are kept: making a buffer takes longer than filling it."""


class Slot:
    """The staging buffers of one run at a time, which grow with what they are asked to hold."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._upload: Any = None
        self._results: Any = None
        self._memory: np.ndarray | None = None
        self._mappings: tuple[Any, Any] = (None, None)
        self._room = [0, 0]
        self._read = 0
        self.needed = 0
        """Bytes that the last run asked for."""

    @property
    def nbytes(self) -> int:
        """Bytes of both buffers."""
        return sum(self._room)

    def reserve(self, upload: int, results: int) -> np.ndarray:
        """Room for that many bytes of each, and the mapped memory, uint8, of what goes up. For a free slot."""
        device = self._device
        self.needed = upload + results
        if self._results is None or self._room[1] < results:
            device.free([self._results])
            self._results = None
            self._room[1] = max(results, 8)
            self._results = device.buffer(self._room[1], "MAP_READ|COPY_DST", "results")
        if self._memory is None or self._room[0] < upload:
            device.free([self._upload])
            self._upload = self._memory = None
            nbytes = self._room[0] = max(upload, 8)
            with device.guarded("mapping what goes up"):
                self._upload = device.buffer(nbytes, "MAP_WRITE|COPY_SRC", "inputs", mapped=True)
                self._memory = device.mapped(self._upload, "WRITE", nbytes)
        return self._memory

    def hand_over(self) -> tuple[Any, Any]:
        """Give what was written to the device; the two buffers. The caller holds the device."""
        self._device.unmap(self._upload, self._memory)
        self._memory = None
        return self._upload, self._results

    def ask_back(self, nbytes: int) -> None:
        """Ask for both buffers, once what was submitted has used them. The caller holds the device."""
        self._read = max(nbytes, 8)
        results = self._device.map(self._results, "READ", self._read)
        self._mappings = results, self._device.map(self._upload, "WRITE", self._room[0])

    def wait(self) -> bool:
        """Wait until the results are there; whether they were not there yet."""
        return self._device.wait(self._mappings[0], "running the model")

    def is_ready(self) -> bool:
        """Whether the results are there."""
        return self._device.is_mapped(self._mappings[0])

    def results(self) -> np.ndarray:
        """The results, uint8, in the mapped memory, which ``free`` takes away."""
        return self._device.mapped(self._results, "READ", self._read)

    def uploaded(self) -> np.ndarray:
        """What went up, uint8, in the memory that is mapped again."""
        if self._memory is None:
            self._device.wait(self._mappings[1], "running the model")
            self._memory = self._device.mapped(self._upload, "WRITE", self._room[0])
        return self._memory

    def free(self) -> None:
        """Make it ready for another run."""
        self.uploaded()
        with self._device.guarded("running the model"):
            self._device.unmap(self._results)

    def close(self) -> None:
        """Free both buffers, whatever they are used for."""
        self._memory = None
        self._device.free([self._upload, self._results])
        self._upload = self._results = None
        self._room = [0, 0]


class Run:
    """A run that was submitted. Any thread may ask for its results, once and again."""

    def __init__(
        self,
        slots: Slots,
        slot: Slot,
        take: Callable[[Slot], tuple[Any, bool]],
        ended: Callable[[bool, float], None],
    ) -> None:
        """``take`` makes results of what is mapped, and says whether float16 did not hold what is between them and
        their inputs; ``ended`` hears whether it was waited for, and at what time.
        """
        self.overflowed = False
        self.dropped = False
        self._slots, self._take, self._ended = slots, take, ended
        self._slot: Slot | None = slot
        self._lock = threading.RLock()
        self._results: Any = None
        self._error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether ``result`` would not wait."""
        slot = self._slot
        if slot is None:
            return True
        try:
            return slot.is_ready()
        except Exception:
            return True  # and raises

    def result(self) -> Any:
        """What ``take`` made of it. Waits; raises BackendError, or DeviceLostError where the device is lost."""
        self.collect()
        if self._error is not None:
            raise self._error
        return self._results

    def drop(self) -> None:
        """Have nobody ask for the results any more."""
        self.dropped = True

    def collect(self) -> None:
        """Wait for the results, take them, and free the slot. An interrupt leaves what another call can take up."""
        with self._lock:
            slot = self._slot
            if slot is None:
                return
            try:
                waited = slot.wait()
                self._ended(waited, time.perf_counter())
                if not self.dropped:
                    self._results, self.overflowed = self._take(slot)
            except Exception as error:
                self._error = error
                self._finish(slot, is_usable=False)
                return
            self._finish(slot, is_usable=True)

    def _finish(self, slot: Slot, *, is_usable: bool) -> None:
        freed: Slot | None = None
        try:
            if is_usable:
                with contextlib.suppress(BackendError):
                    slot.free()
                    freed = slot
        finally:
            # after an error, or an interrupt on the way, another slot is made when one is needed
            self._slot = None
            self._slots.give_back(self, freed)
            if freed is None:
                slot.close()

    def abandon(self, error: Exception) -> None:
        """Have it end in this error, unless its results are there."""
        with self._lock:
            if self._slot is not None:
                slot, self._slot, self._error = self._slot, None, error
                slot.close()


class Slots:
    """At most ``limit`` slots, made when they are needed."""

    def __init__(self, device: Device, limit: int) -> None:
        self._device, self._limit = device, limit
        self._count = 0
        self._free: list[Slot] = []
        self._runs: deque[Run] = deque()
        self._condition = threading.Condition()
        self._needed: deque[int] = deque(maxlen=LOOKED_BACK)

    def acquire(self) -> Slot:
        """A free slot. Where there is none, waits for the oldest run, whose results are then taken."""
        while True:
            self._collect_dropped()
            with self._condition:
                if self._free:
                    return self._free.pop()
                if self._count < self._limit:
                    self._count += 1
                    return Slot(self._device)
                oldest = self._runs[0] if self._runs else None
                if oldest is None:
                    self._condition.wait(WAIT_S)
            if oldest is not None:
                oldest.collect()

    def _collect_dropped(self) -> None:
        """Take back the slots of runs that nobody asks for any more, where they have ended."""
        with self._condition:
            dropped = [run for run in self._runs if run.dropped]
        for run in dropped:
            if run.done:
                run.collect()

    def submitted(self, run: Run) -> None:
        """Note a run; the caller holds the device, so that they stand in the order of the queue."""
        with self._condition:
            self._runs.append(run)
        self._device.latest = weakref.ref(run)

    def give_back(self, run: Run | None, slot: Slot | None) -> None:
        """Take a slot back, and with None make room for another one; ``run`` has ended."""
        if slot is not None and self._is_too_large(slot):
            slot.close()  # the next run makes buffers of its size
        with self._condition:
            if run is not None and run in self._runs:
                self._runs.remove(run)
            if slot is None:
                self._count -= 1
            else:
                self._free.append(slot)
            self._condition.notify_all()

    def _is_too_large(self, slot: Slot) -> bool:
        """Whether it holds much more than any run needed of late: those of one large photo would stay for good."""
        with self._condition:
            self._needed.append(slot.needed)
            return slot.nbytes > 2 * max(self._needed) + SPARE_BYTES

    @property
    def in_flight(self) -> int:
        """Runs whose results have not been taken."""
        return len(self._runs)

    def close(self, error: Exception) -> None:
        """Give up what is in flight, whose ``result`` then raises ``error``, and free all."""
        with self._condition:
            runs, slots = list(self._runs), list(self._free)
            self._runs.clear()
            self._free.clear()
            self._count = 0
        for run in runs:
            run.abandon(error)
        for slot in slots:
            slot.close()
