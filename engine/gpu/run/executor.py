"""A compiled model on a device: load uploads and records everything; a run is an upload, submissions and a readback."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from math import prod
from typing import Any

import numpy as np

from engine.caps import MATRIX_FEATURE
from engine.compiled.model import ALIGNMENT, CompiledModel, GpuPlan, TensorPlace
from engine.errors import TooLargeError
from engine.gpu.device.base import BoundCommand
from engine.gpu.device.capabilities import caps_of
from engine.gpu.device.device import Device
from engine.gpu.plan.limits import check_needs, staged
from engine.gpu.program.tensor import ITEM_BYTES, NUMPY_TYPES, storage_array
from engine.gpu.run.profile import command_seconds, run_seconds
from engine.gpu.run.submissions import Submissions
from engine.kernel_time import KernelTime

Observer = Callable[[str, str, float], None]

MARKER_BYTES = 8
"""Bytes that are copied at the end of a submission, so that reading them waits for it."""


class GpuExecutor:
    """Runs a compiled model on a device.

    The weights go up while the programs compile; the model is not held afterwards. ``submissions`` says how runs
    are cut.

    Raises BackendError, which names the limit or feature, where the device lacks what the model needs, or fails, and
    TooLargeError where its memory does not hold the model.
    """

    def __init__(self, model: CompiledModel, device: Device) -> None:
        if not isinstance(model.plan, GpuPlan):
            raise TypeError(f"a model compiled for '{model.backend}' has no commands for a device")
        plan = self.plan = model.plan
        self.device = device
        check_needs(
            plan.needs, caps_of(device.adapter, matrix_units=plan.needs.subgroup_lanes > 0), str(device.adapter)
        )
        self._inputs, self._outputs = model.inputs, model.outputs
        self._uploads = [place for place in model.inputs if place.buffer is not None]
        self.weight_bytes = sum(plan.buffers[: plan.constant_buffers])
        self.activation_bytes = sum(plan.buffers[plan.constant_buffers :])
        self.scratch_bytes = len(plan.uniforms) + _total(self._outputs) + _total(self._uploads)
        self.peak_bytes = plan.peak_bytes
        self.matrix_units = MATRIX_FEATURE in plan.needs.features
        self.milliseconds: dict[str, float] = {}
        self.submissions = Submissions(plan.commands, software=device.adapter.software)
        self._buffers: list[Any] = []
        self._staging: tuple[Any, ...] = ()
        self._commands: list[BoundCommand] = []
        self._run_unfinished = False
        try:
            pipelines = [
                device.compile(program, trusted=program.trusted and model.trusted) for program in plan.programs
            ]
            self._allocate()
            device.upload(self._buffers, model.weights.pieces())
            device.write(self._uniforms, 0, np.frombuffer(plan.uniforms, np.uint8))
            self._bind(pipelines)
        except TooLargeError as error:
            self.close()
            raise TooLargeError(f"{error}; the model takes {sum(plan.buffers):,} bytes there") from error
        except BaseException:
            self.close()
            raise

    # --- load ---------------------------------------------------------------------------------------------------

    def _allocate(self) -> None:
        plan, device = self.plan, self.device
        usage = "STORAGE|COPY_SRC|COPY_DST"
        for index, nbytes in enumerate(plan.buffers):
            label = "weights" if index < plan.constant_buffers else "activations"
            self._buffers.append(device.buffer(max(nbytes, ALIGNMENT), usage, label))
        self._uniforms = device.buffer(max(len(plan.uniforms), ALIGNMENT), "UNIFORM|COPY_SRC|COPY_DST", "parameters")
        self._buffers.append(self._uniforms)
        self._stage()

    def _stage(self) -> None:
        """Allocate the staging buffers that the processor writes inputs into and reads results from."""
        device = self.device
        results = device.buffer(max(_total(self._outputs), ALIGNMENT), "MAP_READ|COPY_DST", "results")
        inputs = device.buffer(max(_total(self._uploads), ALIGNMENT), "MAP_WRITE|COPY_SRC", "inputs")
        self._staging = inputs, results, device.buffer(MARKER_BYTES, "MAP_READ|COPY_DST", "end of a submission")

    def _bind(self, pipelines: Sequence[Future[Any]]) -> None:
        """Make each command's bind group, as soon as its pipeline is there."""
        for command in self.plan.commands:
            pipeline = pipelines[command.program].result()
            entries = [(self._uniforms, command.uniform, command.uniform_bytes)]
            entries += [(self._buffers[binding.buffer], binding.offset, binding.size) for binding in command.bindings]
            group = self.device.bind_group(pipeline, entries, command.label)
            self._commands.append((pipeline, group, command.grid))

    # --- run ----------------------------------------------------------------------------------------------------

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]:
        """Compute the outputs. Runs on one device take turns, whichever thread and executor they are of.

        ``observe`` is called for each command, with its operator, its node and its seconds by the GPU's own clock. An
        interrupt is seen between two submissions, and the next run finds all as it was.
        """
        with self.device.guarded("running the model"):
            if self._run_unfinished:
                # an interrupted run left its buffers mapped, or about to be
                self.device.free(self._staging)
                self._stage()
            self._run_unfinished = True
            results = self._run(inputs, observe)
            self._run_unfinished = False
            return results

    def profile(self, inputs: Sequence[np.ndarray]) -> list[KernelTime]:
        """Run once; each command of the plan, in order, with what it took by the GPU's own clock.

        Raises BackendError where the device has no timestamps.
        """
        seconds: list[float] = []
        self.run(inputs, lambda _op, _node, duration: seconds.append(duration))
        return [
            KernelTime(
                op=command.op,
                node=command.node,
                kernel=self.plan.programs[command.program].kernel,
                seconds=duration,
                flops=command.flops,
                nbytes=command.bytes,
            )
            for command, duration in zip(self.plan.commands, seconds, strict=True)
        ]

    def gpu_seconds(self, runs: int = 1) -> list[float]:
        """What each of ``runs`` runs takes by the GPU's own clock, on the inputs of the last one.

        Raises BackendError where the device has no timestamps.
        """
        return run_seconds(self.device, self._parts(), runs)

    def _parts(self) -> list[list[BoundCommand]]:
        """The commands, in submissions."""
        return [self._commands[first:end] for first, end in self.submissions.ranges()]

    def _run(self, inputs: Sequence[np.ndarray], observe: Observer | None) -> list[np.ndarray]:
        start = time.perf_counter()
        self._write(inputs)
        upload_end = time.perf_counter()
        results, encode_seconds = self._compute() if observe is None else (self._observed(observe), 0.0)
        end = time.perf_counter()
        self.milliseconds = {
            "upload": (upload_end - start) * 1e3,
            "encode": encode_seconds * 1e3,
            "wait": (end - upload_end - encode_seconds) * 1e3,
        }
        return results

    def _compute(self) -> tuple[list[np.ndarray], float]:
        """The outputs, and the seconds that recording and submitting took."""
        device, submissions = self.device, self.submissions
        encode_seconds, first = 0.0, 0
        submissions.begin()
        while True:
            end = submissions.end(first)
            is_last = end == len(self._commands)
            encode_start = time.perf_counter()
            encoder = device.handle.create_command_encoder()
            if first == 0:
                self._copy_in(encoder)
            device.replay(encoder, self._commands[first:end])
            if is_last:
                self._copy_out(encoder)
            else:
                encoder.copy_buffer_to_buffer(self._uniforms, 0, self._staging[2], 0, MARKER_BYTES)
            device.handle.queue.submit([encoder.finish()])
            submit_end = time.perf_counter()
            encode_seconds += submit_end - encode_start
            results = self._download() if is_last else []
            if not is_last:
                device.read(self._staging[2], MARKER_BYTES)
            submissions.finished(first, end, time.perf_counter() - submit_end)
            if is_last:
                return results, encode_seconds
            first = end

    def _observed(self, observe: Observer) -> list[np.ndarray]:
        """The outputs, each command measured by itself."""
        device = self.device
        encoder = device.handle.create_command_encoder()
        self._copy_in(encoder)
        device.handle.queue.submit([encoder.finish()])
        for command, seconds in zip(self.plan.commands, command_seconds(device, self._parts()), strict=True):
            observe(command.op, command.node, seconds)
        encoder = device.handle.create_command_encoder()
        self._copy_out(encoder)
        device.handle.queue.submit([encoder.finish()])
        return self._download()

    def _write(self, inputs: Sequence[np.ndarray]) -> None:
        """Write the inputs into their staging buffer."""
        arrays = [
            _staged_array(storage_array(array, place.storage, f"input '{place.name}'"))
            for place, array in zip(self._inputs, inputs, strict=True)
            if place.buffer is not None
        ]
        self.device.fill(self._staging[0], arrays)

    def _copy_in(self, encoder: Any) -> None:
        offset = 0
        for place in self._uploads:
            size = staged(_nbytes(place))
            if _nbytes(place):
                encoder.copy_buffer_to_buffer(self._staging[0], offset, self._buffer(place), place.offset, size)
            offset += size

    def _copy_out(self, encoder: Any) -> None:
        offset = 0
        for place in self._outputs:
            size = staged(_nbytes(place))
            encoder.copy_buffer_to_buffer(self._buffer(place), place.offset, self._staging[1], offset, size)
            offset += size

    def _buffer(self, place: TensorPlace) -> Any:
        assert place.buffer is not None
        return self._buffers[place.buffer]

    def _download(self) -> list[np.ndarray]:
        data = self.device.read(self._staging[1], max(_total(self._outputs), 4))
        results, offset = [], 0
        for place in self._outputs:
            raw = data[offset : offset + _nbytes(place)].view(NUMPY_TYPES[place.storage])
            results.append(_as_model_type(raw.reshape(place.shape), np.dtype(place.dtype)))
            offset += staged(_nbytes(place))
        return results

    def close(self) -> None:
        """Free the buffers."""
        self._commands = []
        self.device.free([*self._buffers, *self._staging])
        self._buffers, self._staging = [], ()


def _as_model_type(raw: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return raw != 0 if dtype == np.bool_ else raw.astype(dtype, copy=False)


def _nbytes(place: TensorPlace) -> int:
    """The bytes of an input or output as it is stored."""
    return prod(place.shape) * ITEM_BYTES[place.storage]


def _total(places: Sequence[TensorPlace]) -> int:
    """The bytes of the staging buffer of these inputs or outputs."""
    return sum(staged(_nbytes(place)) for place in places)


def _staged_array(data: np.ndarray) -> np.ndarray:
    """The bytes of the array, padded to its size in a staging buffer."""
    flat = np.ascontiguousarray(data).reshape(-1)
    padding = staged(flat.nbytes) - flat.nbytes
    return np.concatenate([flat.view(np.uint8), np.zeros(padding, np.uint8)]) if padding else flat
