"""Dispatches → buffers and a flat list of commands.

Every slot gets an allocation in one of a few buffers. Slots that are never alive together share memory. WebGPU lets no
buffer be read and written in one dispatch, even at disjoint ranges, so a slot that a dispatch reads and one that it
writes get different buffers: a graph colouring, greedy, with the largest slots first. A dispatch over tensors larger
than a binding may be, or of more workgroups than a grid may have, is cut into ranges of rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from engine.errors import TooLargeError
from engine.gpu.plan.limits import Limits
from engine.gpu.program.dispatch import Dispatch, Grid, Operand
from engine.gpu.program.template import render
from engine.gpu.program.tensor import Slot, Tensor

ALIGNMENT = 256
"""Bytes: offsets of bindings are multiples of this on every implementation."""

MIN_BINDING = 16
"""Bytes: the least size of a binding, which holds one item of the widest type."""

WEIGHT_BUFFER = 256 << 20
"""Bytes of constants that share a buffer, unless one alone is larger."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """The memory of a slot: a buffer of the plan, by index, and a byte offset in it."""

    buffer: int
    offset: int


@dataclass(frozen=True, slots=True)
class Binding:
    """A range of a buffer, in bytes."""

    buffer: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Command:
    """One dispatch, or one range of its rows: the source, the bindings behind the uniform, and the workgroups."""

    dispatch: Dispatch
    source: str
    uniform: int
    bindings: tuple[Binding, ...]
    grid: Grid
    share: float
    """The fraction of the dispatch's rows that it computes."""


@dataclass(slots=True)
class Plan:
    """What an executor allocates and records.

    ``buffers`` are the bytes of each buffer, first those of constants (``constant_buffers`` of them), then those of
    activations. ``uniforms`` is the content of the uniform buffer, in blocks of a multiple of ALIGNMENT bytes, each
    stored once.
    """

    buffers: list[int]
    constant_buffers: int
    allocations: dict[Slot, Allocation]
    commands: list[Command]
    uniforms: bytes
    peak_bytes: int
    """The most bytes of activations alive at once: the size of the buffers if colouring cost nothing."""

    @property
    def activation_bytes(self) -> int:
        """Bytes of the buffers of activations."""
        return sum(self.buffers[self.constant_buffers :])

    @property
    def weight_bytes(self) -> int:
        """Bytes of the buffers of constants."""
        return sum(self.buffers[: self.constant_buffers])

    def constants(self) -> Iterable[tuple[Slot, Allocation]]:
        """The slots of constants, whose content the host uploads at load."""
        return ((slot, allocation) for slot, allocation in self.allocations.items() if slot.is_constant)


@dataclass(slots=True)
class _Lifetime:
    """The first and the last dispatch that uses a slot, and the slots that must lie in other buffers."""

    first: int
    last: int
    conflicts: set[Slot] = field(default_factory=set)


def make_plan(
    dispatches: Sequence[Dispatch],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    limits: Mapping[str, int],
    model_name: str = "the model",
) -> Plan:
    """Allocate every slot, and cut every dispatch into commands.

    ``limits`` are those of WebGPU by their kebab-case names: ``max-buffer-size``, ``max-storage-buffer-binding-size``
    and, where they are not the least that WebGPU guarantees, any that ``Limits`` has. ``model_name`` begins messages.
    Raises TooLargeError where a tensor or a dispatch is too large for the adapter, with its name and size.
    """
    adapter_limits = Limits(limits)
    lifetimes = _lifetimes(dispatches, inputs, outputs)
    constants = [slot for slot in lifetimes if slot.is_constant]
    _check_sizes(lifetimes, inputs=inputs, outputs=outputs, largest=adapter_limits.buffer, model_name=model_name)
    buffers, allocations = _pack(constants, min(WEIGHT_BUFFER, adapter_limits.buffer))
    constant_buffers = len(buffers)
    activations = {slot: lifetime for slot, lifetime in lifetimes.items() if not slot.is_constant}
    sizes, activation_allocations = _colour(activations, adapter_limits.buffer)
    for slot, allocation in activation_allocations.items():
        allocations[slot] = Allocation(allocation.buffer + constant_buffers, allocation.offset)
    buffers += sizes
    builder = _CommandBuilder(allocations, adapter_limits)
    commands = [command for dispatch in dispatches for command in builder.commands(dispatch)]
    return Plan(
        buffers=buffers,
        constant_buffers=constant_buffers,
        allocations=allocations,
        commands=commands,
        uniforms=builder.uniforms(),
        peak_bytes=_peak_bytes(activations, len(dispatches)),
    )


def _lifetimes(
    dispatches: Sequence[Dispatch], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[Slot, _Lifetime]:
    lifetimes: dict[Slot, _Lifetime] = {tensor.slot: _Lifetime(-1, -1) for tensor in inputs}

    def touch(slot: Slot, step: int) -> _Lifetime:
        lifetime = lifetimes.setdefault(slot, _Lifetime(step, step))
        lifetime.last = max(lifetime.last, step)
        return lifetime

    for step, dispatch in enumerate(dispatches):
        read_slots = {operand.tensor.slot for operand in dispatch.reads}
        write_slots = {operand.tensor.slot for operand in dispatch.writes}
        for slot in read_slots | write_slots:
            touch(slot, step)
        for slot in write_slots:
            lifetimes[slot].conflicts |= read_slots
            for other in read_slots:
                lifetimes[other].conflicts.add(slot)
    for tensor in outputs:
        touch(tensor.slot, len(dispatches))
    return lifetimes


def _check_sizes(
    lifetimes: Mapping[Slot, _Lifetime],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    largest: int,
    model_name: str,
) -> None:
    for slot in lifetimes:
        if slot.nbytes > largest:
            raise TooLargeError(
                f"{model_name}: '{slot.label}' takes {slot.nbytes} bytes; the adapter's largest buffer has {largest}. "
                "Use backend 'numpy', or precision 'f16'"
            )
    # the host writes all inputs into one staging buffer, and reads all outputs from another
    for kind, tensors in (("inputs", inputs), ("outputs", outputs)):
        nbytes = sum(tensor.slot.nbytes for tensor in tensors)
        if nbytes > largest:
            raise TooLargeError(
                f"{model_name}: its {kind} take {nbytes} bytes together; the adapter's largest buffer has {largest}. "
                "Use backend 'numpy'"
            )


def aligned(nbytes: int) -> int:
    """``nbytes`` up to the next multiple of ALIGNMENT."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _pack(slots: Sequence[Slot], max_bytes: int) -> tuple[list[int], dict[Slot, Allocation]]:
    """Allocations of constants one behind the other, in as many buffers as they need."""
    buffers: list[int] = []
    allocations = {}
    for slot in slots:
        size = aligned(slot.nbytes)
        if not buffers or buffers[-1] + size > max_bytes:
            buffers.append(0)
        allocations[slot] = Allocation(len(buffers) - 1, buffers[-1])
        buffers[-1] += size
    return buffers, allocations


class _Buffer:
    """One buffer of activations: its size, its slots, and for each slot (begin, end, first step, last step)."""

    def __init__(self) -> None:
        self.size = 0
        self.intervals: list[tuple[int, int, int, int]] = []
        self.slots: set[Slot] = set()

    def gap(self, nbytes: int, lifetime: _Lifetime) -> int:
        """The lowest offset with ``nbytes`` free bytes during ``lifetime``."""
        offset = 0
        for begin, end, first, last in self.intervals:
            if first <= lifetime.last and lifetime.first <= last:
                if offset + nbytes <= begin:
                    break
                offset = max(offset, end)
        return offset

    def add(self, slot: Slot, nbytes: int, offset: int, lifetime: _Lifetime) -> None:
        self.intervals.append((offset, offset + nbytes, lifetime.first, lifetime.last))
        self.intervals.sort()
        self.slots.add(slot)
        self.size = max(self.size, offset + nbytes)


def _colour(lifetimes: Mapping[Slot, _Lifetime], max_bytes: int) -> tuple[list[int], dict[Slot, Allocation]]:
    """The sizes of the buffers, and each slot's allocation: the largest slot first, each where buffers grow least."""
    buffers: list[_Buffer] = []
    allocations = {}
    for slot, lifetime in sorted(lifetimes.items(), key=lambda item: -item[0].nbytes):
        nbytes = aligned(slot.nbytes)
        best: tuple[int, int, int] | None = None
        for index, buffer in enumerate(buffers):
            if lifetime.conflicts & buffer.slots:
                continue
            offset = buffer.gap(nbytes, lifetime)
            growth = max(0, offset + nbytes - buffer.size)
            if offset + nbytes <= max_bytes and (best is None or (growth, offset) < best[:2]):
                best = growth, offset, index
        if best is None:
            buffers.append(_Buffer())
            best = nbytes, 0, len(buffers) - 1
        _, offset, index = best
        buffers[index].add(slot, nbytes, offset, lifetime)
        allocations[slot] = Allocation(index, offset)
    return [buffer.size for buffer in buffers], allocations


def _peak_bytes(lifetimes: Mapping[Slot, _Lifetime], steps: int) -> int:
    change = [0] * (steps + 3)
    for slot, lifetime in lifetimes.items():
        change[lifetime.first + 1] += slot.nbytes
        change[lifetime.last + 2] -= slot.nbytes
    peak = alive = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    return peak


class _CommandBuilder:
    """Turns dispatches into commands, and collects their uniform blocks."""

    def __init__(self, allocations: Mapping[Slot, Allocation], limits: Limits) -> None:
        self.allocations, self.limits, self.largest = allocations, limits, limits.binding
        self.blocks: dict[bytes, int] = {}
        self.end = 0

    def uniforms(self) -> bytes:
        """The content of the uniform buffer."""
        return b"".join(self.blocks)

    def commands(self, dispatch: Dispatch) -> list[Command]:
        source = source_of(dispatch)
        self.limits.check(dispatch, source)
        count = self._rows(dispatch)
        commands = []
        for first in range(0, dispatch.rows, count):
            rows = min(count, dispatch.rows - first)
            operand_bindings = [self._binding(operand, first, first + rows) for operand in dispatch.operands]
            uniform = self._uniform(
                dispatch, [first, rows, *(base for _, base in operand_bindings), *dispatch.uniforms.values()]
            )
            bindings, grid = tuple(binding for binding, _ in operand_bindings), self.limits.grid(dispatch, rows)
            commands.append(
                Command(dispatch, source, uniform=uniform, bindings=bindings, grid=grid, share=rows / dispatch.rows)
            )
        return commands

    def _uniform(self, dispatch: Dispatch, numbers: list[int]) -> int:
        """The offset of the block of these numbers in the uniform buffer; equal blocks are stored once."""
        self.limits.check_uniform(dispatch, numbers)
        block = struct.pack(f"<{len(numbers)}i", *numbers)
        block = block.ljust(aligned(len(block)), b"\0")
        if block not in self.blocks:
            self.blocks[block] = self.end
            self.end += len(block)
        return self.blocks[block]

    def _rows(self, dispatch: Dispatch) -> int:
        """The rows of one range: all of them, or as many as the grid and the binding of every operand allow."""
        parts = 1
        if self.limits.excess(dispatch, 1) > 1:
            self.limits.refuse_grid(dispatch)
        while True:
            count = -(-dispatch.rows // parts)
            grid = self.limits.excess(dispatch, count)
            if grid > 1:
                parts = max(parts + 1, ceil(parts * grid))
                continue
            oversized = self._oversized_operand(dispatch, count)
            if oversized is None:
                return count
            operand, size = oversized
            if count <= 1 or operand.span is None:
                raise TooLargeError(
                    f"{dispatch.label}: '{operand.tensor.slot.label}' needs a binding of {size} bytes; the adapter "
                    f"allows {self.largest}. Use backend 'numpy', or precision 'f16'"
                )
            parts = max(parts + 1, parts * size // self.largest)

    def _oversized_operand(self, dispatch: Dispatch, count: int) -> tuple[Operand, int] | None:
        """An operand whose binding for ``count`` rows would be too large, and the bytes of that; None where all fit."""
        for operand in dispatch.operands:
            # an operand without a span has one binding for all ranges
            firsts = range(0, dispatch.rows if operand.span else 1, count)
            size = max(self._binding(operand, first, min(first + count, dispatch.rows))[0].size for first in firsts)
            if size > self.largest:
                return operand, size
        return None

    def _binding(self, operand: Operand, first: int, last: int) -> tuple[Binding, int]:
        """The range of the buffer that rows [first, last) touch, and the position in it, in items, of element 0."""
        allocation, item = self.allocations[operand.tensor.slot], operand.element_bytes
        first_element, end_element = operand.element_range(first, last)
        begin = first_element * item // ALIGNMENT * ALIGNMENT
        size = max(MIN_BINDING, -(-(end_element * item - begin) // 4) * 4)
        base = (operand.tensor.offset * item - begin) // (item * operand.vec)
        return Binding(allocation.buffer, allocation.offset + begin, size), base


def source_of(dispatch: Dispatch) -> str:
    """The WGSL of a dispatch."""
    access = ["read"] * len(dispatch.reads) + ["read_write"] * len(dispatch.writes)
    operands = [
        {"name": operand.name, "item": operand.item, "access": mode}
        for operand, mode in zip(dispatch.operands, access, strict=True)
    ]
    uses_f16 = any(operand.tensor.dtype == "f16" for operand in dispatch.operands)
    return render(
        dispatch.kernel, operands=operands, uniforms=list(dispatch.uniforms), uses_f16=uses_f16, **dispatch.params
    )
