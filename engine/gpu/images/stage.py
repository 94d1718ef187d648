"""A stage before or behind a network, as data: programs, commands, constants and scratch memory, within an adapter's
limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.compiled.model import ALIGNMENT, Command, CompiledProgram, TensorPlace
from engine.errors import TooLargeError
from engine.gpu.images.mask_output import output_dispatches
from engine.gpu.images.network_input import input_dispatch, pixel_words
from engine.gpu.plan.commands import Recorder
from engine.gpu.plan.limits import Limits
from engine.gpu.plan.memory import Allocation, colour, lifetimes, pack
from engine.gpu.program.dispatch import Dispatch
from engine.gpu.program.tensor import ITEM_BYTES, Slot, Tensor, strides_of
from engine.images import MaskOutput, PixelInput

NETWORK, CONSTANTS, SCRATCH = 0, 1, 2
"""What the indices of buffers in a stage's commands mean: the network's own buffer, that of the constants, and from
SCRATCH on those of the scratch memory."""

LEAST_FLOPS, MOST_FLOPS = 10_000_000_000, 200_000_000_000
"""Multiplications and additions that a stage may take: a tenth of a second for a slow GPU, and for a slow card, since
what has been submitted cannot be interrupted."""


@dataclass(frozen=True, eq=False)
class Stage:
    """``scratch`` are the sizes of its buffers in bytes. ``host`` is where the bytes lie that come from the host or go
    there: the index of the buffer among these, the offset, and how many."""

    programs: Sequence[CompiledProgram]
    commands: Sequence[Command]
    uniforms: bytes
    constants: np.ndarray
    scratch: Sequence[int]
    host: Allocation
    host_bytes: int


def input_stage(
    source: PixelInput, place: TensorPlace, limits: Mapping[str, int], most_flops: int = LEAST_FLOPS
) -> Stage:
    """What makes the input at ``place`` of pixels.

    Raises InputError where they do not become this input, and TooLargeError where the limits, or ``most_flops``, allow
    no commands for it.
    """
    pixels = pixel_words(*source.pixels.shape[:2])
    tensor, allocation = _network_tensor(place)
    dispatch = input_dispatch(source, pixels, tensor, place)
    nbytes = source.pixels.shape[0] * source.pixels.shape[1] * 3
    return _stage([dispatch], tensor.slot, allocation, pixels, nbytes, limits, most_flops, inputs=[pixels])


def output_stage(
    mask: MaskOutput, place: TensorPlace, limits: Mapping[str, int], most_flops: int = LEAST_FLOPS
) -> Stage:
    """What makes whole numbers of the output at ``place``. Raises as ``input_stage`` does."""
    tensor, allocation = _network_tensor(place)
    dispatches, numbers = output_dispatches(mask, tensor, place)
    nbytes = mask.rows.length * mask.columns.length * mask.bits // 8
    return _stage(dispatches, tensor.slot, allocation, numbers, nbytes, limits, most_flops, outputs=[numbers])


def _network_tensor(place: TensorPlace) -> tuple[Tensor, Allocation]:
    """An input or output of the network, row-major as the host has it, and the aligned place that it lies behind."""
    assert place.buffer is not None
    item = ITEM_BYTES[place.storage]
    begin = place.offset // ALIGNMENT * ALIGNMENT
    elements = int(np.prod(place.shape, dtype=np.int64))
    slot = Slot(place.offset - begin + elements * item, place.name)
    tensor = Tensor(slot, place.storage, place.shape, strides_of(place.shape), (place.offset - begin) // item)
    return tensor, Allocation(NETWORK, begin)


def _stage(
    dispatches: Sequence[Dispatch],
    network: Slot,
    allocation: Allocation,
    host: Tensor,
    host_bytes: int,
    limits: Mapping[str, int],
    most_flops: int,
    *,
    inputs: Sequence[Tensor] = (),
    outputs: Sequence[Tensor] = (),
) -> Stage:
    flops = sum(dispatch.flops for dispatch in dispatches)
    if flops > most_flops:
        raise TooLargeError(f"{dispatches[-1].label}: {flops:,} operations for one picture, {most_flops:,} are allowed")
    bounds = Limits(limits)
    alive = lifetimes(dispatches, inputs, outputs)
    del alive[network]
    constants = [slot for slot in alive if slot.is_constant]
    (constant_bytes,), places = pack(constants, 1 << 62)
    planes = {slot: life for slot, life in alive.items() if not slot.is_constant}
    scratch, scratch_places = colour(planes, bounds.buffer)
    bounds.check_sizes(list(scratch_places), [], [], "a picture's stages")
    allocations = {network: allocation}
    allocations |= {slot: Allocation(CONSTANTS, place.offset) for slot, place in places.items()}
    allocations |= {slot: Allocation(SCRATCH + place.buffer, place.offset) for slot, place in scratch_places.items()}
    recorder = Recorder(allocations, bounds)
    for dispatch in dispatches:
        recorder.record(dispatch)
    content = np.zeros(constant_bytes, np.uint8)
    for slot, place in places.items():
        assert slot.content is not None
        data = slot.content().view(np.uint8)
        content[place.offset : place.offset + data.size] = data
    return Stage(
        programs=recorder.programs,
        commands=recorder.commands,
        uniforms=recorder.uniforms,
        constants=content,
        scratch=scratch,
        host=allocations[host.slot],
        host_bytes=host_bytes,
    )
