"""Times by the GPU's own clock, of each command alone and of a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import BackendError
from engine.gpu.device.base import BoundCommand

if TYPE_CHECKING:
    from engine.gpu.device.device import Device

QUERIES = 4096
"""Timestamps that one query set holds at the most, on every implementation."""


class Stopwatch:
    """Timestamps around ``passes`` compute passes, for reading back after they have run.

    Raises BackendError where the device has no timestamps.
    """

    def __init__(self, device: Device, passes: int) -> None:
        if not device.timestamps:
            raise BackendError(f"{device.adapter} has no timestamp queries: it cannot say what each kernel takes")
        self._device, self._passes = device, passes
        self._sets: list[Any] = []
        counts = [min(QUERIES, 2 * passes - first) for first in range(0, 2 * passes, QUERIES)]
        self._nbytes = 16 * passes
        with device.guarded("making timestamp queries"):
            self._sets = [device.handle.create_query_set(type="timestamp", count=count) for count in counts]
        self._resolve_buffer = device.buffer(self._nbytes, "QUERY_RESOLVE|COPY_SRC", "timestamps")
        self._staging = device.buffer(self._nbytes, "MAP_READ|COPY_DST", "timestamps")

    def writes(self, index: int) -> dict[str, Any]:
        """The ``timestamp_writes`` of pass ``index``."""
        set_index, query = divmod(2 * index, QUERIES)
        return {
            "query_set": self._sets[set_index],
            "beginning_of_pass_write_index": query,
            "end_of_pass_write_index": query + 1,
        }

    def resolve(self, encoder: Any) -> None:
        """Record the end of the measurement, behind the last pass."""
        for index, queries in enumerate(self._sets):
            first = index * QUERIES
            encoder.resolve_query_set(
                queries, 0, min(QUERIES, 2 * self._passes - first), self._resolve_buffer, first * 8
            )
        encoder.copy_buffer_to_buffer(self._resolve_buffer, 0, self._staging, 0, self._nbytes)

    def seconds(self) -> list[float]:
        """The seconds of each pass. Waits for what was submitted."""
        ticks = self._device.read(self._staging, self._nbytes).view(np.uint64).astype(np.int64).reshape(-1, 2)
        # drivers may let a pass begin before the one ahead of it has ended; no time is counted twice
        ends = np.concatenate([ticks[:1, 0], np.maximum.accumulate(ticks[:, 1])])
        durations = np.maximum(0, ticks[:, 1] - np.maximum(ticks[:, 0], ends[:-1]))
        return [float(seconds) for seconds in durations * self._device.tick_seconds]

    def close(self) -> None:
        """Free the queries and buffers."""
        self._device.free((*self._sets, self._resolve_buffer, self._staging))


def command_seconds(device: Device, submissions: Sequence[Sequence[BoundCommand]]) -> list[float]:
    """The seconds of each command, from a run with one pass for each."""
    return _pass_seconds(device, [[[command] for command in commands] for commands in submissions])


def run_seconds(device: Device, submissions: Sequence[Sequence[BoundCommand]], runs: int = 1) -> list[float]:
    """The seconds of ``runs`` whole runs, each submission one pass, on the inputs of the last one."""
    seconds = _pass_seconds(device, [[commands] for commands in submissions] * runs)
    count = len(submissions)
    return [sum(seconds[run * count : (run + 1) * count]) for run in range(runs)]


def _pass_seconds(device: Device, submissions: Sequence[Sequence[Sequence[BoundCommand]]]) -> list[float]:
    """The seconds of each pass; submissions hold passes, and these commands."""
    passes = sum(map(len, submissions))
    if not passes:
        return []
    with device.guarded("measuring the model"):
        watch = Stopwatch(device, passes)
        try:
            index = 0
            encoder = device.handle.create_command_encoder()
            for submission in submissions:
                for commands in submission:
                    device.replay(encoder, commands, timestamp_writes=watch.writes(index))
                    index += 1
                device.handle.queue.submit([encoder.finish()])
                encoder = device.handle.create_command_encoder()
            watch.resolve(encoder)
            device.handle.queue.submit([encoder.finish()])
            seconds = watch.seconds()
            device.core_clock.worked(sum(seconds))
            return seconds
        finally:
            watch.close()
