"""A compiled model on a device: all is uploaded and bound at load; a run is an upload, a submission and a readback."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal

import numpy as np

from engine.compiled.model import ALIGNMENT, CompiledModel, GpuPlan, TensorPlace
from engine.errors import BackendError, InputError, TooLargeError
from engine.gpu.device.base import BoundCommand
from engine.gpu.device.capabilities import caps_of
from engine.gpu.device.device import Device
from engine.gpu.plan.limits import check_needs, staged
from engine.gpu.run.around import Epilogue, Prologue
from engine.gpu.run.layout import Layout, stored_bytes
from engine.gpu.run.profile import command_seconds, run_seconds
from engine.gpu.run.slots import Run, Slot, Slots
from engine.gpu.run.submissions import SUBMISSION_SECONDS, Submissions
from engine.gpu.run.transfers import are_finite, read, write
from engine.kernel_time import KernelTime

Observer = Callable[[str, str, float], None]

IN_FLIGHT = 3
"""Runs under way at the most, each with staging memory of its own: one goes up, one is computed, one is read."""

BEGINNING = 16
"""The part of the commands, a sixteenth, that is submitted before the others."""

MARKER_BYTES = 8
"""Bytes that are copied at the end of a submission, so that reading them waits for it."""


class GpuExecutor:
    """Runs a compiled model on a device.

    The weights go up while the programs compile; the model is not held afterwards. ``submissions`` says how runs
    are cut.

    ``in_flight`` runs may be under way at once.

    Raises BackendError, which names the limit or feature, where the device lacks what the model needs, or fails, and
    TooLargeError where its memory does not hold the model.
    """

    looks_for_nan = True

    def __init__(self, model: CompiledModel, device: Device, *, in_flight: int = IN_FLIGHT) -> None:
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
        self.matrix_units = plan.needs.subgroup_lanes > 0
        self.stages: dict[str, float] = {}
        """Milliseconds of the last run whose results were taken: upload, encode, submit, wait, download."""
        self.submissions = Submissions(plan.commands, software=device.adapter.software)
        self._buffers: list[Any] = []
        self._slots = Slots(device, in_flight)
        self._may_overflow = model.precision != "f32"
        self._marker: Any = None
        self._recorded: Any = None
        self._commands: list[BoundCommand] = []
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
        self._plain = Layout(
            inputs=[
                (n, place, self._buffer(place)) for n, place in enumerate(self._inputs) if place.buffer is not None
            ],
            outputs=[(place, self._buffer(place)) for place in self._outputs],
        )
        slot = self._slots.acquire()
        try:
            slot.reserve(self._plain.upload_bytes, self._plain.results_bytes)
        finally:
            self._slots.give_back(None, slot)

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
        """Compute the outputs; ``submit``, and wait.

        ``observe`` is called for each command, with its operator, its node and its seconds by the GPU's own clock. An
        interrupt is seen while it waits, and the next run finds all as it was.
        """
        return self.submit(inputs, observe=observe).result()

    def submit(
        self,
        inputs: Sequence[np.ndarray | None],
        *,
        allow_nan: bool = True,
        prologue: Prologue | None = None,
        epilogue: Epilogue | None = None,
        observe: Observer | None = None,
    ) -> Run:
        """Begin a run; what it gives is the outputs, and behind them the bytes that the epilogue reads, uint8.

        Runs begin and end in the order in which they were submitted, also those of other executors of the device. At
        most ``IN_FLIGHT`` of one executor are under way: then this waits for the oldest and takes its results, which
        its ``result`` gives later. A run that takes several submissions is computed before this returns: of it the
        last submission alone could be left to itself.

        ``inputs`` may be changed afterwards. Those that the prologue makes are None. Raises InputError for an integer
        beyond 32 bits, and for NaN unless ``allow_nan``.
        """
        layout = self._layout(prologue, epilogue)
        slot = self._slots.acquire()
        state: Literal["free", "used", "broken"] = "broken"
        try:
            start = time.perf_counter()
            memory = slot.reserve(layout.upload_bytes, layout.results_bytes)
            try:
                write(memory, layout, self._inputs, inputs, allow_nan=allow_nan)
            except InputError:
                state = "free"
                raise
            stages = {"upload": time.perf_counter() - start}
            with self.device.guarded("running the model"):
                run = self._begin(slot, layout, stages, observe)
                self._slots.submitted(run)
                state = "used"
                self._record_ahead()
            return run
        finally:
            if state != "used":
                self._slots.give_back(None, slot if state == "free" else None)
            if state == "broken":
                slot.close()

    def input_binding(self, index: int) -> tuple[Any, int, int]:
        """Where a run reads input ``index``: buffer, offset and bytes, for the commands of a prologue.

        float32 inputs are float32 there. Raises ValueError for one that nothing reads.
        """
        return self._binding(self._inputs[index])

    def output_binding(self, index: int) -> tuple[Any, int, int]:
        """Where a run leaves output ``index``: buffer, offset and bytes, for the commands of an epilogue."""
        return self._binding(self._outputs[index])

    def _binding(self, place: TensorPlace) -> tuple[Any, int, int]:
        if place.buffer is None:
            raise ValueError(f"'{place.name}' is read by nothing")
        return self._buffers[place.buffer], place.offset, stored_bytes(place)

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

    def part_seconds(self, commands: Sequence[int], runs: int = 1) -> list[float]:
        """``gpu_seconds`` of passes over those commands of the plan alone, by number."""
        return run_seconds(self.device, [[self._commands[number] for number in commands]], runs)

    def fill_outputs(self, byte: int) -> None:
        """Fill the memory of the outputs with a byte, as a measurement does: of 0xFF all floats are NaN."""
        for place in self._outputs:
            nbytes = -(-stored_bytes(place) // 4) * 4
            self.device.write(self._buffer(place), place.offset, np.full(nbytes, byte, np.uint8))

    def _parts(self) -> list[list[BoundCommand]]:
        """The commands, in submissions."""
        return [self._commands[first:end] for first, end in self.submissions.ranges()]

    def _begin(
        self,
        slot: Slot,
        layout: Layout,
        stages: dict[str, float],
        observe: Observer | None,
    ) -> Run:
        """Submit a run whose inputs are written. The caller holds the device."""
        start = time.perf_counter()
        device, submissions = self.device, self.submissions
        upload, results = slot.hand_over()
        is_alone = device.is_idle
        is_whole = submissions.is_whole and observe is None
        head, tail = self._head(upload, layout), self._tail(results, layout)
        if is_whole:
            (beginning, rest), self._recorded = self._recorded or self._body(), None
            encode_end = time.perf_counter()
            # Dawn translates commands when they are submitted: the GPU works on the first meanwhile
            device.handle.queue.submit([*head, beginning])
            device.handle.queue.submit([rest, *tail])
        else:
            if not is_alone:
                self._wait_for_queue()
            encode_end = time.perf_counter()
            device.handle.queue.submit(head)
            self._in_parts(tail, observe)
        submit_end = time.perf_counter()
        slot.ask_back(layout.results_bytes)
        stages.update(encode=encode_end - start, submit=submit_end - encode_end)

        def ended(waited: bool, end: float) -> None:
            stages["wait"] = end - submit_end
            if is_whole and is_alone and (waited or end - submit_end < SUBMISSION_SECONDS / 2):
                submissions.took(end - submit_end)

        def take(slot: Slot) -> tuple[list[np.ndarray], bool]:
            taking = time.perf_counter()
            arrays, finite = read(slot.results(), layout, look=self._may_overflow)
            stages["download"] = time.perf_counter() - taking
            self.stages = {name: seconds * 1e3 for name, seconds in stages.items()}
            # looked for only now: each look at 12 MB of inputs takes half a millisecond
            return arrays, not finite and are_finite(slot.uploaded(), layout, self._inputs)

        return Run(self._slots, slot, take, ended)

    def _head(self, upload: Any, layout: Layout) -> list[Any]:
        """What brings the inputs to their places."""
        if not layout.uploads and not layout.first:
            return []
        encoder = self.device.handle.create_command_encoder()
        for source, buffer, offset, nbytes in layout.uploads:
            encoder.copy_buffer_to_buffer(upload, source, buffer, offset, nbytes)
        if layout.first:
            self.device.replay(encoder, layout.first)
        return [encoder.finish()]

    def _tail(self, results: Any, layout: Layout) -> list[Any]:
        """What brings the results to where they are read."""
        if not layout.readback and not layout.last:
            return []
        encoder = self.device.handle.create_command_encoder()
        if layout.last:
            self.device.replay(encoder, layout.last)
        for target, buffer, offset, nbytes in layout.readback:
            encoder.copy_buffer_to_buffer(buffer, offset, results, target, nbytes)
        return [encoder.finish()]

    def _body(self) -> tuple[Any, Any]:
        """The network's first commands, and the rest."""
        first = len(self._commands) // BEGINNING
        return self._encoded(self._commands[:first]), self._encoded(self._commands[first:])

    def _encoded(self, commands: Sequence[BoundCommand]) -> Any:
        encoder = self.device.handle.create_command_encoder()
        self.device.replay(encoder, commands)
        return encoder.finish()

    def _record_ahead(self) -> None:
        """Record the network for the next run while the GPU works on this one: 1 to 2 ms for 130 dispatches."""
        if self._recorded is None and self.submissions.is_whole and self._commands:
            self._recorded = self._body()

    def _in_parts(self, tail: Sequence[Any], observe: Observer | None) -> None:
        """Compute in several submissions, and wait for each; with ``observe``, each command measured by itself."""
        device, submissions = self.device, self.submissions
        if observe is not None:
            for command, seconds in zip(self.plan.commands, command_seconds(device, self._parts()), strict=True):
                observe(command.op, command.node, seconds)
            device.handle.queue.submit(tail)
            return
        submissions.begin()
        first, count = 0, len(self._commands)
        while first < count:
            end = submissions.end(first)
            encoder = device.handle.create_command_encoder()
            device.replay(encoder, self._commands[first:end])
            device.handle.queue.submit([encoder.finish(), *(tail if end == count else ())])
            start = time.perf_counter()
            self._wait_for_queue()
            submissions.finished(first, end, time.perf_counter() - start)
            first = end

    def _wait_for_queue(self) -> None:
        """Wait until the device has worked off what was submitted. The caller holds it."""
        device = self.device
        if self._marker is None:
            self._marker = device.buffer(MARKER_BYTES, "MAP_READ|COPY_DST", "end of a submission")
        marker = self._marker
        try:
            encoder = device.handle.create_command_encoder()
            encoder.copy_buffer_to_buffer(self._uniforms, 0, marker, 0, MARKER_BYTES)
            device.handle.queue.submit([encoder.finish()])
            device.read(marker, MARKER_BYTES)
        except BaseException:
            # it is mapped, or about to be
            self._marker = None
            device.free([marker])
            raise

    def _layout(self, prologue: Prologue | None, epilogue: Epilogue | None) -> Layout:
        """What goes up and what is read, and where in the staging buffers."""
        if prologue is None and epilogue is None:
            return self._plain
        made = () if prologue is None else prologue.inputs
        places = [(n, p) for n, p in enumerate(self._inputs) if p.buffer is not None and n not in made]
        outputs = self._outputs if epilogue is None or epilogue.outputs else ()
        others = [*(prologue.uploads if prologue else ()), *(epilogue.uploads if epilogue else ())]
        return Layout(
            inputs=[(number, place, self._buffer(place)) for number, place in places],
            others=others,
            outputs=[(place, self._buffer(place)) for place in outputs],
            reads=epilogue.readback if epilogue else (),
            first=prologue.commands if prologue else (),
            last=epilogue.commands if epilogue else (),
        )

    def _buffer(self, place: TensorPlace) -> Any:
        assert place.buffer is not None
        return self._buffers[place.buffer]

    @property
    def under_way(self) -> int:
        """Runs that were submitted and whose results have not been taken."""
        return self._slots.in_flight

    @property
    def milliseconds(self) -> dict[str, float]:
        """Wall time of the last run whose results were taken: upload; encode, with submitting; wait, with reading."""
        stages = self.stages
        if not stages:
            return {}
        return {
            "upload": stages["upload"],
            "encode": stages["encode"] + stages["submit"],
            "wait": stages["wait"] + stages["download"],
        }

    def close(self) -> None:
        """Free the buffers. The results of runs that nobody has asked for are gone."""
        self._slots.close(BackendError("the session was closed before the result was taken; take it before"))
        self._commands, self._recorded = [], None
        self.device.free([*self._buffers, self._marker])
        self._buffers, self._marker = [], None


def _total(places: Sequence[TensorPlace]) -> int:
    """The bytes of the staging buffer of these inputs or outputs."""
    return sum(staged(stored_bytes(place)) for place in places)
