"""Dispatches → buffers and a flat list of commands.

Every slot gets a place in one of a few buffers, shared by slots that are never alive together. WebGPU lets no buffer be
read and written in one dispatch, even at disjoint ranges, so slots that meet that way get different buffers: a graph
colouring, done greedily with the largest first. Dispatches over tensors larger than a binding may be, or of more
workgroups than a grid may have, are cut in ranges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from engine.errors import TooLargeError
from engine.gpu.dispatch import Dispatch, Grid, Operand
from engine.gpu.limits import Limits
from engine.gpu.template import render
from engine.gpu.tensor import Slot, Tensor

ALIGNMENT = 256
"""Bytes: what the offset of a binding is a multiple of, on every implementation."""

LEAST_BINDING = 16
"""Bytes: a binding holds at least one item of the widest type."""

WEIGHT_BUFFER = 256 << 20
"""Bytes of constants that share a buffer, unless one alone is larger."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a slot lies: a buffer of the plan by index, and a byte offset in it."""

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
    """One dispatch, or one range of it: the source to run, the bindings behind the uniform, and the workgroups."""

    dispatch: Dispatch
    source: str
    uniform: int
    bindings: tuple[Binding, ...]
    grid: Grid
    share: float
    """The part of the dispatch's rows that it computes."""


@dataclass(slots=True)
class Plan:
    """What an executor allocates and records.

    ``buffers`` are the bytes of each, first those of constants (``constant_buffers`` of them), then those of
    activations. ``uniforms`` is the content of the uniform buffer, a block of ALIGNMENT bytes for each distinct one.
    """

    buffers: list[int]
    constant_buffers: int
    places: dict[Slot, Place]
    commands: list[Command]
    uniforms: bytes
    peak_bytes: int
    """Bytes of activations alive at once, at the most: what the buffers would take if colouring cost nothing."""

    @property
    def activation_bytes(self) -> int:
        """Bytes of the buffers that activations lie in."""
        return sum(self.buffers[self.constant_buffers :])

    @property
    def weight_bytes(self) -> int:
        """Bytes of the buffers that constants lie in."""
        return sum(self.buffers[: self.constant_buffers])

    def constants(self) -> Iterable[tuple[Slot, Place]]:
        """The slots whose content is known at load."""
        return ((slot, place) for slot, place in self.places.items() if slot.is_constant)


@dataclass(slots=True)
class _Life:
    """The first and last dispatch that touches a slot, and the slots that must lie in other buffers."""

    first: int
    last: int
    apart: set[Slot] = field(default_factory=set)


def make_plan(
    dispatches: Sequence[Dispatch],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    limits: Mapping[str, int],
    doing: str = "the model",
) -> Plan:
    """Place every slot and cut every dispatch.

    ``limits`` are those of WebGPU by their kebab-case names: ``max-buffer-size``, ``max-storage-buffer-binding-size``
    and, where they are not the least that WebGPU guarantees, any that ``Limits`` knows. Raises TooLargeError where a
    tensor or a dispatch is too large for the adapter, naming it and how large.
    """
    held = Limits(limits)
    lives = _lives(dispatches, inputs, outputs)
    constants = [slot for slot in lives if slot.is_constant]
    _check_sizes(lives, inputs, outputs, held.buffer, doing)
    buffers, places = _pack(constants, min(WEIGHT_BUFFER, held.buffer))
    constant_buffers = len(buffers)
    activations = {slot: life for slot, life in lives.items() if not slot.is_constant}
    sizes, found = _colour(activations, held.buffer)
    places |= {slot: Place(place.buffer + constant_buffers, place.offset) for slot, place in found.items()}
    buffers += sizes
    cutter = _Cutter(places, held)
    commands = [command for dispatch in dispatches for command in cutter.commands(dispatch)]
    return Plan(buffers, constant_buffers, places, commands, cutter.uniforms(), _peak(activations, len(dispatches)))


def _lives(dispatches: Sequence[Dispatch], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[Slot, _Life]:
    lives: dict[Slot, _Life] = {tensor.slot: _Life(-1, -1) for tensor in inputs}

    def seen(slot: Slot, step: int) -> _Life:
        life = lives.setdefault(slot, _Life(step, step))
        life.last = max(life.last, step)
        return life

    for step, dispatch in enumerate(dispatches):
        read = {operand.tensor.slot for operand in dispatch.reads}
        written = {operand.tensor.slot for operand in dispatch.writes}
        for slot in read | written:
            seen(slot, step)
        for slot in written:
            lives[slot].apart |= read
            for other in read:
                lives[other].apart.add(slot)
    for tensor in outputs:
        seen(tensor.slot, len(dispatches))
    return lives


def _check_sizes(
    lives: Mapping[Slot, _Life], inputs: Sequence[Tensor], outputs: Sequence[Tensor], largest: int, doing: str
) -> None:
    for slot in lives:
        if slot.nbytes > largest:
            raise TooLargeError(
                f"{doing}: '{slot.label}' takes {slot.nbytes} bytes; the adapter's largest buffer has {largest}. "
                "Use backend 'numpy', or precision 'f16'"
            )
    # what the host writes and what it reads have a buffer each
    for what, tensors in (("inputs", inputs), ("outputs", outputs)):
        nbytes = sum(tensor.slot.nbytes for tensor in tensors)
        if nbytes > largest:
            raise TooLargeError(
                f"{doing}: its {what} take {nbytes} bytes together; the adapter's largest buffer has {largest}. "
                "Use backend 'numpy'"
            )


def aligned(nbytes: int) -> int:
    """``nbytes`` up to the next multiple of ALIGNMENT."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _pack(slots: Sequence[Slot], most: int) -> tuple[list[int], dict[Slot, Place]]:
    """Constants one behind the other, in as many buffers as it takes."""
    buffers: list[int] = []
    places = {}
    for slot in slots:
        size = aligned(slot.nbytes)
        if not buffers or buffers[-1] + size > most:
            buffers.append(0)
        places[slot] = Place(len(buffers) - 1, buffers[-1])
        buffers[-1] += size
    return buffers, places


class _Buffer:
    """Slots placed in one buffer so far."""

    def __init__(self) -> None:
        self.size = 0
        self.placed: list[tuple[int, int, int, int]] = []
        self.slots: set[Slot] = set()

    def gap(self, nbytes: int, life: _Life) -> int:
        """The lowest offset with room for that many bytes during ``life``."""
        offset = 0
        for begin, end, first, last in self.placed:
            if first <= life.last and life.first <= last:
                if offset + nbytes <= begin:
                    break
                offset = max(offset, end)
        return offset

    def add(self, slot: Slot, nbytes: int, offset: int, life: _Life) -> None:
        self.placed.append((offset, offset + nbytes, life.first, life.last))
        self.placed.sort()
        self.slots.add(slot)
        self.size = max(self.size, offset + nbytes)


def _colour(lives: Mapping[Slot, _Life], most: int) -> tuple[list[int], dict[Slot, Place]]:
    """The buffer and offset of each slot: the largest first, each where the buffers grow least."""
    buffers: list[_Buffer] = []
    places = {}
    for slot, life in sorted(lives.items(), key=lambda item: -item[0].nbytes):
        nbytes = aligned(slot.nbytes)
        best: tuple[int, int, int] | None = None
        for index, buffer in enumerate(buffers):
            if life.apart & buffer.slots:
                continue
            offset = buffer.gap(nbytes, life)
            growth = max(0, offset + nbytes - buffer.size)
            if offset + nbytes <= most and (best is None or (growth, offset) < best[:2]):
                best = growth, offset, index
        if best is None:
            buffers.append(_Buffer())
            best = nbytes, 0, len(buffers) - 1
        _, offset, index = best
        buffers[index].add(slot, nbytes, offset, life)
        places[slot] = Place(index, offset)
    return [buffer.size for buffer in buffers], places


def _peak(lives: Mapping[Slot, _Life], steps: int) -> int:
    change = [0] * (steps + 3)
    for slot, life in lives.items():
        change[life.first + 1] += slot.nbytes
        change[life.last + 2] -= slot.nbytes
    peak = alive = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    return peak


class _Cutter:
    """Dispatches → commands; collects the uniform blocks on the way."""

    def __init__(self, places: Mapping[Slot, Place], limits: Limits) -> None:
        self.places, self.limits, self.largest = places, limits, limits.binding
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
            bound = [self._binding(operand, first, first + rows) for operand in dispatch.operands]
            uniform = self._uniform(dispatch, [first, rows, *(base for _, base in bound), *dispatch.uniforms.values()])
            bindings, grid = tuple(binding for binding, _ in bound), self.limits.grid(dispatch, rows)
            commands.append(Command(dispatch, source, uniform, bindings, grid, rows / dispatch.rows))
        return commands

    def _uniform(self, dispatch: Dispatch, numbers: list[int]) -> int:
        """Where the block of these numbers begins in the uniform buffer; equal ones are one."""
        self.limits.check_uniform(dispatch, numbers)
        block = struct.pack(f"<{len(numbers)}i", *numbers)
        block = block.ljust(aligned(len(block)), b"\0")
        if block not in self.blocks:
            self.blocks[block] = self.end
            self.end += len(block)
        return self.blocks[block]

    def _rows(self, dispatch: Dispatch) -> int:
        """The rows of one range: all of them, or as many as the grid and every operand's binding allow."""
        parts = 1
        if self.limits.excess(dispatch, 1) > 1:
            self.limits.refuse_grid(dispatch)
        while True:
            count = -(-dispatch.rows // parts)
            grid = self.limits.excess(dispatch, count)
            if grid > 1:
                parts = max(parts + 1, ceil(parts * grid))
                continue
            over = self._excess(dispatch, count)
            if over is None:
                return count
            operand, size = over
            if count <= 1 or operand.span is None:
                raise TooLargeError(
                    f"{dispatch.label}: '{operand.tensor.slot.label}' needs a binding of {size} bytes; the adapter "
                    f"allows {self.largest}. Use backend 'numpy', or precision 'f16'"
                )
            parts = max(parts + 1, parts * size // self.largest)

    def _excess(self, dispatch: Dispatch, count: int) -> tuple[Operand, int] | None:
        """An operand whose binding would be too large, and its bytes."""
        for operand in dispatch.operands:
            # what no range cuts is the same for all of them
            firsts = range(0, dispatch.rows if operand.span else 1, count)
            size = max(self._binding(operand, first, min(first + count, dispatch.rows))[0].size for first in firsts)
            if size > self.largest:
                return operand, size
        return None

    def _binding(self, operand: Operand, first: int, last: int) -> tuple[Binding, int]:
        """The range of the buffer that these rows touch, and where in it, in items, element 0 of the tensor lies."""
        place, item = self.places[operand.tensor.slot], operand.element_bytes
        low, high = operand.touched(first, last)
        begin = low * item // ALIGNMENT * ALIGNMENT
        size = max(LEAST_BINDING, -(-(high * item - begin) // 4) * 4)
        base = (operand.tensor.offset * item - begin) // (item * operand.vec)
        return Binding(place.buffer, place.offset + begin, size), base


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
