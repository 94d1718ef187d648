"""Dispatches → programs and commands, recorded as plain data.

A dispatch over tensors larger than a binding may be, or of more workgroups than a grid may have, becomes several
commands, each over a range of its rows.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import ceil

from engine.compiled.model import ALIGNMENT, Binding, Command, CompiledProgram
from engine.errors import TooLargeError
from engine.gpu.plan.limits import Limits
from engine.gpu.plan.memory import Allocation, aligned
from engine.gpu.program.dispatch import Dispatch, Operand
from engine.gpu.program.program import Program
from engine.gpu.program.tensor import Slot

MIN_BINDING = 16
"""Bytes: the least size of a binding, which holds one item of the widest type."""


class Recorder:
    """Records dispatches, and collects their programs and uniforms, each stored once."""

    def __init__(self, allocations: Mapping[Slot, Allocation], limits: Limits) -> None:
        self._allocations, self._limits, self._largest = allocations, limits, limits.binding
        self._programs: dict[Program, int] = {}
        self._blocks: dict[bytes, int] = {}
        self._end = 0
        self.commands: list[Command] = []

    @property
    def programs(self) -> Sequence[CompiledProgram]:
        """The programs, in the order of their indices."""
        return [CompiledProgram(program.kernel, program.source, program.trusted) for program in self._programs]

    @property
    def uniforms(self) -> bytes:
        """The content of the uniform buffer."""
        return b"".join(self._blocks)

    @property
    def subgroup_lanes(self) -> int:
        """The size that every subgroup must have; 0 where none is used."""
        return max((program.subgroup_lanes for program in self._programs), default=0)

    def record(self, dispatch: Dispatch) -> None:
        """Add the commands of a dispatch. Raises TooLargeError where the limits allow none."""
        program = self._program(dispatch)
        self._limits.check_dispatch(dispatch)
        count = self._rows(dispatch)
        for first in range(0, dispatch.rows, count):
            rows = min(count, dispatch.rows - first)
            operand_bindings = [self._binding(operand, first, first + rows) for operand in dispatch.operands]
            numbers = [first, rows, *(base for _, base in operand_bindings), *dispatch.uniforms.values()]
            share = rows / dispatch.rows
            self.commands.append(
                Command(
                    label=dispatch.label,
                    op=dispatch.op,
                    node=dispatch.node,
                    flops=round(dispatch.flops * share),
                    bytes=sum(_traffic(operand, share) for operand in dispatch.operands),
                    program=program,
                    uniform=self._uniform(dispatch, numbers),
                    uniform_bytes=-(-4 * len(numbers) // 16) * 16,
                    bindings=tuple(binding for binding, _ in operand_bindings),
                    grid=self._limits.grid(dispatch, rows),
                )
            )

    def _program(self, dispatch: Dispatch) -> int:
        program = Program.of(dispatch)
        index = self._programs.get(program)
        if index is None:
            self._limits.check_source(dispatch, program.source)
            index = self._programs[program] = len(self._programs)
        return index

    def _uniform(self, dispatch: Dispatch, numbers: list[int]) -> int:
        """The offset of the block of these numbers in the uniform buffer; equal blocks are stored once."""
        self._limits.check_uniform(dispatch, numbers)
        block = struct.pack(f"<{len(numbers)}i", *numbers)
        block = block.ljust(aligned(len(block)), b"\0")
        if block not in self._blocks:
            self._blocks[block] = self._end
            self._end += len(block)
        return self._blocks[block]

    def _rows(self, dispatch: Dispatch) -> int:
        """The rows of one range: all of them, or as many as the grid and the binding of every operand allow."""
        parts = 1
        if self._limits.excess(dispatch, 1) > 1:
            self._limits.refuse_grid(dispatch)
        while True:
            count = -(-dispatch.rows // parts)
            grid = self._limits.excess(dispatch, count)
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
                    f"allows {self._largest}. Use backend 'numpy', or precision 'f16'"
                )
            parts = max(parts + 1, parts * size // self._largest)

    def _oversized_operand(self, dispatch: Dispatch, count: int) -> tuple[Operand, int] | None:
        """An operand whose binding for ``count`` rows would be too large, and the bytes of that; None where all fit."""
        for operand in dispatch.operands:
            # an operand without a span has one binding for all ranges
            firsts = range(0, dispatch.rows if operand.span else 1, count)
            size = max(self._binding(operand, first, min(first + count, dispatch.rows))[0].size for first in firsts)
            if size > self._largest:
                return operand, size
        return None

    def _binding(self, operand: Operand, first: int, last: int) -> tuple[Binding, int]:
        """The range of the buffer that rows [first, last) touch, and the position in it, in items, of element 0."""
        allocation, item = self._allocations[operand.tensor.slot], operand.element_bytes
        first_element, end_element = operand.element_range(first, last)
        begin = first_element * item // ALIGNMENT * ALIGNMENT
        size = max(MIN_BINDING, -(-(end_element * item - begin) // 4) * 4)
        base = (operand.tensor.offset * item - begin) // (item * operand.vec)
        return Binding(allocation.buffer, allocation.offset + begin, size), base


def _traffic(operand: Operand, share: float) -> int:
    """The bytes of the elements of an operand, each counted once, that a share of the rows touches."""
    first, last = operand.tensor.span()
    # a view that repeats elements has more of them than memory holds, one with gaps fewer
    elements = min(operand.tensor.size, last - first)
    return round(elements * operand.element_bytes * (share if operand.span else 1))
