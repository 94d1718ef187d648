"""A plan on a device: load allocates and records everything; a run is one upload, pass, submission and readback."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from engine.compiled.model import CompiledProgram
from engine.errors import TooLargeError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.device.device import Device
from engine.gpu.lowering.lowering import Lowering, storage_array
from engine.gpu.lowering.missing_kernels import check
from engine.gpu.plan.plan import ALIGNMENT, Command, make_plan
from engine.gpu.program.tensor import NUMPY_TYPES, Tensor
from engine.graph.ir import Graph, Value
from engine.kernel_time import KernelTime, kernel_time

Observer = Callable[[str, str, float], None]


class GpuExecutor:
    """Runs a graph on a device.

    Raises UnsupportedError that lists all operators without a kernel, and BackendError where the device is too small or
    fails. ``limits`` replaces limits of the device, by name, for tests. ``outside`` are the values that stay float32 in
    half precision: the graph's inputs and outputs, unless the graph is a part of another one.
    """

    def __init__(
        self,
        graph: Graph,
        device: Device,
        *,
        half: bool = False,
        limits: dict[str, int] | None = None,
        outside: Collection[Value] | None = None,
    ) -> None:
        self._values = list(graph.inputs), list(graph.outputs)
        self.device = device
        check(graph)
        bounds = {**device.limits, **(limits or {})}
        largest = bounds["max-storage-buffer-binding-size"]
        lanes = device.caps.matrix_lanes if half else 0
        lowering = Lowering(graph, half=half, matrix_lanes=lanes, binding_limit=largest, outside=outside)
        self._inputs, self._outputs = lowering.run()
        self.plan = make_plan(
            lowering.dispatches, self._inputs, self._outputs, limits=bounds, model_name=graph.name or "the model"
        )
        self.activation_bytes = self.plan.activation_bytes
        self._uploads = [tensor for tensor in self._inputs if tensor.slot in self.plan.allocations]
        self.scratch_bytes = len(self.plan.uniforms) + _total(self._outputs) + _total(self._uploads)
        self.weight_bytes, self.peak_bytes = self.plan.weight_bytes, self.plan.peak_bytes
        self.milliseconds: dict[str, float] = {}
        self._buffers: list[Any] = []
        self._staging: tuple[Any, ...] = ()
        self._run_unfinished = False
        try:
            self._allocate()
            pipelines = [self._pipeline(command) for command in self.plan.commands]
            self._commands = [self._command(index, future.result()) for index, future in enumerate(pipelines)]
        except TooLargeError as error:
            self.close()
            raise TooLargeError(f"{error}; the model takes {sum(self.plan.buffers):,} bytes there") from error
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
        for slot, allocation in plan.constants():
            assert slot.data is not None
            device.write(self._buffers[allocation.buffer], allocation.offset, _whole_words(slot.data))
            slot.data = np.empty(0, slot.data.dtype)  # the device holds it from here on
        self._uniforms = device.buffer(max(len(plan.uniforms), ALIGNMENT), "UNIFORM|COPY_DST", "parameters")
        self._buffers.append(self._uniforms)
        device.write(self._uniforms, 0, np.frombuffer(plan.uniforms, np.uint8))
        self._stage()

    def _stage(self) -> None:
        """Allocate the staging buffers that the processor writes inputs into and reads results from."""
        device = self.device
        results = device.buffer(max(_total(self._outputs), ALIGNMENT), "MAP_READ|COPY_DST", "results")
        inputs = device.buffer(max(_total(self._uploads), ALIGNMENT), "MAP_WRITE|COPY_SRC", "inputs")
        self._staging = inputs, results

    def _pipeline(self, command: Command) -> Future[Any]:
        dispatch = command.dispatch
        return self.device.compile(CompiledProgram(dispatch.label, command.source, dispatch.trusted), trusted=True)

    def _command(self, index: int, pipeline: Any) -> tuple[Any, Any, tuple[int, int, int]]:
        command = self.plan.commands[index]
        dispatch = command.dispatch
        size = -(-(2 + len(dispatch.operands) + len(dispatch.uniforms)) * 4 // 16) * 16
        entries = [(self._uniforms, command.uniform, size)]
        entries += [(self._buffers[binding.buffer], binding.offset, binding.size) for binding in command.bindings]
        return pipeline, self.device.bind_group(pipeline, entries, dispatch.label), command.grid

    @property
    def commands(self) -> Sequence[tuple[Any, Any, tuple[int, int, int]]]:
        """Pipeline, bind group and workgroups of each command of the plan."""
        return self._commands

    # --- run ----------------------------------------------------------------------------------------------------

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]:
        """Compute the outputs. Runs on one device take turns, whichever thread and executor they are of.

        ``observe`` is called for each command, with its operator, its node and its seconds by the GPU's own clock.
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
        return [kernel_time(command, duration) for command, duration in zip(self.plan.commands, seconds, strict=True)]

    def gpu_seconds(self, runs: int = 1) -> list[float]:
        """What each of ``runs`` runs takes by the GPU's own clock, on the inputs of the last one.

        Raises BackendError where the device has no timestamps.
        """
        from engine.gpu.run.profile import gpu_seconds

        return gpu_seconds(self, runs)

    def _run(self, inputs: Sequence[np.ndarray], observe: Observer | None) -> list[np.ndarray]:
        start = time.perf_counter()
        self._write(inputs)
        upload_end = time.perf_counter()
        device = self.device
        if observe is not None:
            from engine.gpu.run.profile import command_seconds

            with device.guarded("uploading"):
                encoder = device.handle.create_command_encoder()
                self._copy_in(encoder)
                device.handle.queue.submit([encoder.finish()])
            for command, seconds in zip(self.plan.commands, command_seconds(self), strict=True):
                observe(command.dispatch.op, command.dispatch.node, seconds)
        encoder = device.handle.create_command_encoder()
        if observe is None:
            self._copy_in(encoder)
            device.replay(encoder, self._commands)
        self._copy_out(encoder)
        device.handle.queue.submit([encoder.finish()])
        submit_end = time.perf_counter()
        results = self._download()
        end = time.perf_counter()
        self.milliseconds = {
            "upload": (upload_end - start) * 1e3,
            "encode": (submit_end - upload_end) * 1e3,
            "wait": (end - submit_end) * 1e3,
        }
        return results

    def _write(self, inputs: Sequence[np.ndarray]) -> None:
        """Write the inputs into their staging buffer."""
        arrays = []
        for value, tensor, array in zip(self._values[0], self._inputs, inputs, strict=True):
            if tensor.slot in self.plan.allocations:
                arrays.append(_whole_words(storage_array(array, tensor.dtype, f"input '{value.name}'")))
        self.device.fill(self._staging[0], arrays)

    def _copy_in(self, encoder: Any) -> None:
        offset = 0
        for tensor in self._uploads:
            allocation = self.plan.allocations[tensor.slot]
            size = _words(tensor.nbytes)
            if tensor.nbytes:
                encoder.copy_buffer_to_buffer(
                    self._staging[0], offset, self._buffers[allocation.buffer], allocation.offset, size
                )
            offset += size

    def _copy_out(self, encoder: Any) -> None:
        offset = 0
        for tensor in self._outputs:
            allocation = self.plan.allocations[tensor.slot]
            size = _words(tensor.nbytes)
            encoder.copy_buffer_to_buffer(
                self._buffers[allocation.buffer], allocation.offset, self._staging[1], offset, size
            )
            offset += size

    def _download(self) -> list[np.ndarray]:
        data = self.device.read(self._staging[1], max(_total(self._outputs), 4))
        results, offset = [], 0
        for value, tensor in zip(self._values[1], self._outputs, strict=True):
            raw = data[offset : offset + tensor.nbytes].view(NUMPY_TYPES[tensor.dtype])
            results.append(_as_value(raw.reshape(tensor.shape), value))
            offset += _words(tensor.nbytes)
        return results

    def close(self) -> None:
        """Free the buffers."""
        self._commands = []
        self.device.free([*self._buffers, *self._staging])
        self._buffers, self._staging = [], ()


def _as_value(raw: np.ndarray, value: Value) -> np.ndarray:
    with np.errstate(over="ignore"):
        return raw != 0 if value.dtype == np.bool_ else raw.astype(value.dtype, copy=False)


def _words(nbytes: int) -> int:
    """The bytes of a tensor in a staging buffer, where offsets are multiples of 8."""
    return max(8, -(-nbytes // 8) * 8)


def _total(tensors: Sequence[Tensor]) -> int:
    return sum(_words(tensor.nbytes) for tensor in tensors)


def _whole_words(data: np.ndarray) -> np.ndarray:
    """The bytes of the array, padded to its size in a staging buffer."""
    flat = np.ascontiguousarray(data).reshape(-1)
    padding = _words(flat.nbytes) - flat.nbytes
    return np.concatenate([flat.view(np.uint8), np.zeros(padding, np.uint8)]) if padding else flat
