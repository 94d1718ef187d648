"""Where slots lie: an allocation for each in one of a few buffers.

Slots that are never alive together share memory. WebGPU lets no buffer be read and written in one dispatch, even at
disjoint ranges, so a slot that a dispatch reads and one that it writes get different buffers: a graph colouring,
greedy, with the largest slots first. Everything goes by the order of the dispatches and of their operands, so that two
processes place alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.compiled.model import ALIGNMENT
from engine.gpu.program.dispatch import Dispatch
from engine.gpu.program.tensor import Slot, Tensor


@dataclass(frozen=True, slots=True)
class Allocation:
    """The memory of a slot: a buffer of the plan, by index, and a byte offset in it."""

    buffer: int
    offset: int


@dataclass(slots=True)
class Lifetime:
    """The first and the last dispatch that uses a slot, and the slots that must lie in other buffers."""

    first: int
    last: int
    conflicts: set[Slot] = field(default_factory=set)


def aligned(nbytes: int) -> int:
    """``nbytes`` up to the next multiple of ALIGNMENT."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def lifetimes(
    dispatches: Sequence[Dispatch], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[Slot, Lifetime]:
    """The lifetime of every slot that a dispatch or an output uses, in the order of first use, inputs first.

    An input that nothing reads has none.
    """
    result = {tensor.slot: Lifetime(-1, -1) for tensor in inputs}

    def touch(slot: Slot, step: int) -> None:
        lifetime = result.setdefault(slot, Lifetime(step, step))
        lifetime.last = max(lifetime.last, step)

    for step, dispatch in enumerate(dispatches):
        read_slots = dict.fromkeys(operand.tensor.slot for operand in dispatch.reads)
        write_slots = dict.fromkeys(operand.tensor.slot for operand in dispatch.writes)
        for slot in read_slots | write_slots:
            touch(slot, step)
        for slot in write_slots:
            result[slot].conflicts.update(read_slots)
            for other in read_slots:
                result[other].conflicts.add(slot)
    for tensor in outputs:
        touch(tensor.slot, len(dispatches))
    return {slot: lifetime for slot, lifetime in result.items() if lifetime.last >= 0}


def pack(slots: Sequence[Slot], max_bytes: int) -> tuple[list[int], dict[Slot, Allocation]]:
    """The sizes of the buffers, and the allocations of constants one behind the other in as many as they need."""
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

    def gap(self, nbytes: int, lifetime: Lifetime) -> int:
        """The lowest offset with ``nbytes`` free bytes during ``lifetime``."""
        offset = 0
        for begin, end, first, last in self.intervals:
            if first <= lifetime.last and lifetime.first <= last:
                if offset + nbytes <= begin:
                    break
                offset = max(offset, end)
        return offset

    def add(self, slot: Slot, nbytes: int, offset: int, lifetime: Lifetime) -> None:
        self.intervals.append((offset, offset + nbytes, lifetime.first, lifetime.last))
        self.intervals.sort()
        self.slots.add(slot)
        self.size = max(self.size, offset + nbytes)


def colour(lifetimes: Mapping[Slot, Lifetime], max_bytes: int) -> tuple[list[int], dict[Slot, Allocation]]:
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


def peak_bytes(lifetimes: Mapping[Slot, Lifetime], steps: int) -> int:
    """The most bytes alive at once: the size of the buffers if colouring cost nothing."""
    change = [0] * (steps + 3)
    for slot, lifetime in lifetimes.items():
        change[lifetime.first + 1] += slot.nbytes
        change[lifetime.last + 2] -= slot.nbytes
    peak = alive = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    return peak
