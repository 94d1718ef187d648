"""Stages on a device: bound once for each kind of picture, over scratch memory that all of them share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.compiled.model import ALIGNMENT, TensorPlace
from engine.gpu.device.base import BoundCommand
from engine.gpu.device.device import Device
from engine.gpu.images.stage import CONSTANTS, LEAST_FLOPS, MOST_FLOPS, SCRATCH, Stage, input_stage, output_stage
from engine.images import MaskOutput, PixelInput

KEPT = 8
"""Kinds of pictures whose tables stay on the device: sizes, and what is done to them."""


@dataclass(frozen=True, slots=True)
class BoundStage:
    """What a run records for a stage: its commands, and the part of a buffer that the host's bytes come to or from."""

    commands: Sequence[BoundCommand]
    buffer: Any
    offset: int
    nbytes: int


@dataclass(slots=True)
class _Entry:
    stage: Stage
    handles: list[Any] = field(default_factory=list)
    """The uniforms and the constants."""
    bound: BoundStage | None = None
    network: Any = None
    """The buffer that ``bound`` holds."""


class ImageStages:
    """The stages around one network on one device; any thread may ask for them.

    A picture's bytes, planes and numbers lie in scratch memory that every stage uses from its beginning. The commands
    of one picture come before those of the next, since a queue runs in order, so one such memory serves runs in flight.
    What is replaced is let go of and not destroyed: a run that another thread is about to submit still holds it.
    """

    def __init__(self, device: Device, limits: Mapping[str, int] | None = None) -> None:
        """``limits`` replaces the device's own, by name. Tests use it."""
        self._device = device
        self._limits = {**device.caps.limits, **(limits or {})}
        self._flops = MOST_FLOPS if device.adapter.kind == "discrete" else LEAST_FLOPS
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._scratch: list[tuple[Any, int]] = []
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """The bytes of the scratch memory."""
        return sum(size for _, size in self._scratch)

    def input(self, source: PixelInput, place: TensorPlace, network: Any) -> BoundStage:
        """The stage that makes the input at ``place`` of the buffer ``network`` of pixels.

        Raises InputError where they do not become this input, TooLargeError where they are too many for the device, and
        BackendError where the device fails.
        """
        key = "input", source.rows, source.columns, source.matrix, source.offset, source.layout, place
        return self._bound(key, network, lambda: input_stage(source, place, self._limits, self._flops))

    def output(self, mask: MaskOutput, place: TensorPlace, network: Any) -> BoundStage:
        """The stage that makes whole numbers of the output at ``place`` of the buffer ``network``. Raises likewise."""
        return self._bound(
            ("output", mask, place), network, lambda: output_stage(mask, place, self._limits, self._flops)
        )

    def _bound(self, key: Hashable, network: Any, make: Callable[[], Stage]) -> BoundStage:
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None:
                entry = self._opened(make())
            self._entries[key] = entry
            while len(self._entries) > KEPT:
                self._entries.popitem(last=False)
            self._grow(entry.stage.scratch)
            if entry.bound is None or entry.network is not network:
                entry.bound, entry.network = self._bind(entry, network), network
            return entry.bound

    def _opened(self, stage: Stage) -> _Entry:
        device, entry = self._device, _Entry(stage)
        for program in stage.programs:
            device.compile(program, trusted=True)  # all at once, in as many threads
        try:
            for data, usage in ((stage.uniforms, "UNIFORM"), (stage.constants, "STORAGE")):
                content = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
                entry.handles.append(device.buffer(max(content.size, ALIGNMENT), f"{usage}|COPY_DST", "tables"))
                device.write(entry.handles[-1], 0, content)
        except BaseException:
            device.free(entry.handles)
            raise
        return entry

    def _grow(self, sizes: Sequence[int]) -> None:
        """Have buffers of at least these sizes."""
        for index, size in enumerate(sizes):
            if index == len(self._scratch):
                self._scratch.append((None, 0))
            if self._scratch[index][1] < size:
                self._scratch[index] = None, 0
                for entry in self._entries.values():
                    entry.bound = None  # with bind groups that hold the buffer
                size = max(size, ALIGNMENT)
                self._scratch[index] = self._device.buffer(size, "STORAGE|COPY_SRC|COPY_DST", "pictures"), size

    def _bind(self, entry: _Entry, network: Any) -> BoundStage:
        device, stage = self._device, entry.stage
        uniforms, constants = entry.handles
        buffers = [network, constants, *(buffer for buffer, _ in self._scratch)]
        assert (CONSTANTS, SCRATCH) == (1, 2)
        commands: list[BoundCommand] = []
        for command in stage.commands:
            pipeline = device.compile(stage.programs[command.program], trusted=True).result()
            entries = [(uniforms, command.uniform, command.uniform_bytes)]
            entries += [(buffers[binding.buffer], binding.offset, binding.size) for binding in command.bindings]
            commands.append((pipeline, device.bind_group(pipeline, entries, command.label), command.grid))
        return BoundStage(commands, buffers[stage.host.buffer], stage.host.offset, stage.host_bytes)

    def close(self) -> None:
        """Free the buffers."""
        with self._lock:
            self._device.free([handle for entry in self._entries.values() for handle in entry.handles])
            self._device.free([buffer for buffer, _ in self._scratch if buffer is not None])
            self._entries.clear()
            self._scratch.clear()
