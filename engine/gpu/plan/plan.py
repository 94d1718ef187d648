"""Dispatches → a plan: buffers, programs and a flat list of commands, which refer to nothing that they were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.compiled.model import ALIGNMENT as ALIGNMENT
from engine.compiled.model import GpuPlan, TensorPlace
from engine.gpu.plan.commands import Recorder
from engine.gpu.plan.limits import Limits, least_needs
from engine.gpu.plan.memory import Allocation, colour, lifetimes, pack, peak_bytes
from engine.gpu.plan.weights import Constant, GraphWeights
from engine.gpu.program.dispatch import Dispatch
from engine.gpu.program.tensor import ITEM_BYTES, Slot, Tensor
from engine.graph.dtypes import byte_dtype
from engine.graph.ir import Value

WEIGHT_BUFFER = 256 << 20
"""Bytes of constants that share a buffer, unless one alone is larger."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan as data, and beside it where each slot lies, by which constants, inputs and outputs find their places.

    ``allocations`` hold the slots, and with them the constants; ``data`` holds neither.
    """

    data: GpuPlan
    allocations: Mapping[Slot, Allocation]

    def weights(self) -> GraphWeights:
        """The content of the buffers of constants."""
        return GraphWeights(
            [
                Constant(slot.content, allocation.buffer, allocation.offset, slot.nbytes)
                for slot, allocation in self.allocations.items()
                if slot.content is not None
            ]
        )

    def place(self, value: Value, tensor: Tensor, narrow: str = "") -> TensorPlace:
        """The place of an input or output; its buffer is None where no slot was allocated, as nothing reads it."""
        allocation = self.allocations.get(tensor.slot)
        return TensorPlace(
            name=value.name,
            # four bits, which have a byte, enter and leave parts of a graph alone, but for an input that is ``narrow``
            dtype=narrow or byte_dtype(value.dtype).name,
            shape=value.shape,
            storage=tensor.dtype,
            buffer=None if allocation is None else allocation.buffer,
            offset=0 if allocation is None else allocation.offset + tensor.offset * ITEM_BYTES[tensor.dtype],
        )


def make_plan(
    dispatches: Sequence[Dispatch],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    limits: Mapping[str, int],
    model_name: str = "the model",
) -> Plan:
    """Allocate every slot, and cut every dispatch into commands.

    ``limits`` are those of ``Caps``. ``model_name`` begins messages. Equal arguments make equal plans, in every
    process. Raises TooLargeError where a tensor or a dispatch is too large for the limits, with its name and size.
    """
    bounds = Limits(limits)
    alive = lifetimes(dispatches, inputs, outputs)
    bounds.check_sizes(alive, inputs=inputs, outputs=outputs, model_name=model_name)
    constants = [slot for slot in alive if slot.is_constant]
    activations = {slot: lifetime for slot, lifetime in alive.items() if not slot.is_constant}
    constant_sizes, allocations = pack(constants, min(WEIGHT_BUFFER, bounds.buffer))
    activation_sizes, activation_allocations = colour(activations, bounds.buffer)
    for slot, allocation in activation_allocations.items():
        allocations[slot] = Allocation(allocation.buffer + len(constant_sizes), allocation.offset)
    recorder = Recorder(allocations, bounds)
    for dispatch in dispatches:
        recorder.record(dispatch)
    buffers, programs = (*constant_sizes, *activation_sizes), tuple(recorder.programs)
    data = GpuPlan(
        needs=least_needs(
            buffers=[*buffers, len(recorder.uniforms), *bounds.staging_sizes(inputs, outputs)],
            programs=programs,
            commands=recorder.commands,
            subgroup_lanes=recorder.subgroup_lanes,
        ),
        buffers=buffers,
        constant_buffers=len(constant_sizes),
        programs=programs,
        commands=tuple(recorder.commands),
        uniforms=recorder.uniforms,
        peak_bytes=peak_bytes(activations, len(dispatches)),
    )
    return Plan(data, allocations)
