"""Plans without a GPU, what holds of every one of them, and the limits that the source of a kernel keeps."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

from engine.caps import PORTABLE_LIMITS, Caps, MatrixUnits
from engine.compiled.model import ALIGNMENT, Command, GpuPlan
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.plan.limits import LARGEST_INTEGER, footprint
from engine.gpu.plan.plan import Plan, make_plan
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch
from engine.gpu.program.tensor import Slot, Tensor
from engine.graph.ir import Graph
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.models import U2NETP

MIB = 1 << 20

EMULATED = MatrixUnits(32, m=16, n=16, k=16, spelling="emulated")
"""Matrix units in plain WGSL, which every adapter with float16 computes, slowly."""

UNITS = replace(EMULATED, spelling="dawn")
"""The same in the words of an adapter that has them."""

ROOM = {"max-compute-workgroup-storage-size": 32768}
"""Workgroup memory that most GPUs have, and tiles of matrix units need."""

ROOMY = {name.replace("-", "_"): size for name, size in ROOM.items()}
"""The same as ``plan_case`` takes it."""

ON_UNITS: dict[str, Any] = {
    "half": True,
    "matrix_units": UNITS,
    **ROOMY,
}
"""Arguments of ``plan_case`` for a plan in float16 on matrix units, as a large GPU has them."""

PER_DIMENSION = "max-compute-workgroups-per-dimension"

SIZES = {"max-buffer-size": 256 * MIB, "max-storage-buffer-binding-size": 128 * MIB}
"""The sizes that every implementation of WebGPU guarantees, in bytes."""


@dataclass(frozen=True)
class PlanCase:
    """A plan, and what it was made of."""

    plan: Plan
    dispatches: Sequence[Dispatch]
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    limits: Mapping[str, int]

    @property
    def data(self) -> GpuPlan:
        return self.plan.data

    @property
    def kernels(self) -> list[str]:
        """The kernel of each command."""
        return [self.data.programs[command.program].kernel for command in self.data.commands]

    @property
    def layers(self) -> int:
        """The dispatches, where those of a Winograd convolution, which has three for each range, count as one."""
        is_winograd = [dispatch.kernel.startswith("winograd") for dispatch in self.dispatches]
        nodes = {each.node for each, counts in zip(self.dispatches, is_winograd, strict=True) if counts}
        return is_winograd.count(False) + len(nodes)

    def uniform(self, command: Command) -> list[int]:
        """The numbers of a command: the first row, the rows, the base of each operand, and the kernel's own."""
        block = self.data.uniforms[command.uniform : command.uniform + command.uniform_bytes]
        return list(struct.unpack(f"<{len(block) // 4}i", block))

    def by_dispatch(self) -> list[tuple[Dispatch, list[Command]]]:
        """The commands of each dispatch: each of them begins with row 0."""
        groups: list[list[Command]] = []
        for command in self.data.commands:
            if self.uniform(command)[0] == 0:
                groups.append([])
            groups[-1].append(command)
        return list(zip(self.dispatches, groups, strict=True))


def plan_case(
    graph: Graph,
    *,
    half: bool = False,
    matrix_units: MatrixUnits | None = None,
    outside: Sequence[None] | None = None,
    choices: Mapping[str, str] | None = None,
    **limits: int,
) -> PlanCase:
    """The plan of a graph; ``limits`` have underscores, and are beside or instead of SIZES."""
    bounds = SIZES | {name.replace("_", "-"): limit for name, limit in limits.items()}
    caps = Caps(bounds, matrix_units=matrix_units)
    lowering = Lowering(graph, caps, half=half, outside=outside, choices=choices)
    inputs, outputs = lowering.run()
    return PlanCase(
        make_plan(lowering.dispatches, inputs, outputs, caps.limits), lowering.dispatches, inputs, outputs, bounds
    )


@cache
def u2netp(binding: int = 128 * MIB, half: bool = False) -> PlanCase:
    """The plan of U²-Netp at 320²."""
    graph = load(U2NETP)
    optimize(graph)
    return plan_case(graph, half=half, max_storage_buffer_binding_size=binding)


PLANS = [(128 * MIB, False), (MIB, False), (128 * MIB, True)]
"""Largest binding in bytes, and whether in half precision: arguments of ``u2netp``."""

OPTIONAL = ("subgroups", "chromium_experimental_subgroup_matrix", "wgpu_cooperative_matrix")


def assert_within_limits(source: str, label: str) -> None:
    """Storage buffers, workgroup memory and invocations of one kernel, and no optional feature but f16."""
    usage = footprint(source)
    assert len(re.findall(r"var<storage", source)) <= PORTABLE_LIMITS["max-storage-buffers-per-shader-stage"], label
    assert 1 <= usage.invocations <= PORTABLE_LIMITS["max-compute-invocations-per-workgroup"], label
    assert usage.workgroup_bytes <= PORTABLE_LIMITS["max-compute-workgroup-storage-size"], label
    for feature in OPTIONAL:
        assert f"enable {feature}" not in source, label


def assert_sound(case: PlanCase) -> None:
    """What holds of every plan."""
    assert_bindings_are_right(case)
    assert_rows_are_covered(case)
    assert_nothing_overlaps(case)
    for name, least in case.data.needs.limits.items():
        assert least <= case.limits.get(name, least), name


def access(wgsl: str) -> list[str]:
    """ "read" or "read_write" of each storage buffer of a shader, by their bindings."""
    buffers = re.findall(r"@binding\((\d+)\) var<storage, (\w+)>", wgsl)
    return [mode for _, mode in sorted((int(binding), mode) for binding, mode in buffers)]


def assert_bindings_are_right(case: PlanCase) -> None:
    """Bindings lie in their buffers, within the limits, where the tensors are; none is read and written at a time."""
    data, largest = case.data, case.limits["max-storage-buffer-binding-size"]
    for dispatch, commands in case.by_dispatch():
        for command in commands:
            modes = access(data.programs[command.program].wgsl)
            assert len(modes) == len(command.bindings) == len(dispatch.operands) <= 8
            places = list(zip(modes, command.bindings, strict=True))
            reads, writes = (
                {place.buffer for mode, place in places if mode == kind} for kind in ("read", "read_write")
            )
            assert not reads & writes, command.label
            assert all(buffer >= data.constant_buffers for buffer in writes), command.label
            assert command.uniform % ALIGNMENT == command.uniform_bytes % 16 == 0
            numbers = case.uniform(command)
            for operand, binding, base in zip(dispatch.operands, command.bindings, numbers[2:], strict=False):
                assert binding.offset % ALIGNMENT == binding.size % 4 == 0, command.label
                assert 0 < binding.size <= largest, command.label
                assert binding.offset + binding.size <= max(data.buffers[binding.buffer], ALIGNMENT), command.label
                allocation = case.plan.allocations[operand.tensor.slot]
                assert binding.buffer == allocation.buffer
                element = allocation.offset + operand.tensor.offset * operand.element_bytes
                assert binding.offset + base * operand.vec * operand.element_bytes == element, command.label
                first, rows = numbers[:2]
                begin, end = operand.element_range(first, first + rows)
                assert binding.offset <= allocation.offset + begin * operand.element_bytes
                assert allocation.offset + end * operand.element_bytes <= binding.offset + max(binding.size, 16)


def assert_rows_are_covered(case: PlanCase) -> None:
    """Ranges follow each other from the first row to the last, each with the workgroups that it needs, and no more
    along a dimension than the limit."""
    most = case.limits.get(PER_DIMENSION, 65535)
    for dispatch, commands in case.by_dispatch():
        end = 0
        for command in commands:
            first, rows = case.uniform(command)[:2]
            assert first == end, command.label
            assert rows > 0, command.label
            end = first + rows
            assert 0 < max(command.grid) <= most, command.label
            grid = dispatch.grid(rows)
            if isinstance(grid, int):
                assert grid <= prod(command.grid) < grid + command.grid[1] + (grid == 0), command.label
                assert prod(command.grid) * INVOCATIONS <= LARGEST_INTEGER, command.label
            else:
                assert command.grid == grid
        assert end == dispatch.rows, dispatch.label


def assert_nothing_overlaps(case: PlanCase) -> None:
    """Slots that are alive together lie apart, each within its buffer. Constants are always alive."""
    steps = len(case.dispatches)
    first: dict[Slot, int] = {}
    last: dict[Slot, int] = {}
    for tensor in case.inputs:
        first[tensor.slot] = last[tensor.slot] = -1
    for step, dispatch in enumerate(case.dispatches):
        for operand in dispatch.operands:
            first.setdefault(operand.tensor.slot, step)
            last[operand.tensor.slot] = step
    for tensor in case.outputs:
        first.setdefault(tensor.slot, steps)
        last[tensor.slot] = steps
    by_buffer = defaultdict(list)
    for slot, allocation in case.plan.allocations.items():
        assert (allocation.buffer < case.data.constant_buffers) == slot.is_constant
        assert allocation.offset + slot.nbytes <= case.data.buffers[allocation.buffer]
        lifetime = (-1, steps) if slot.is_constant else (first[slot], last[slot])
        by_buffer[allocation.buffer].append((allocation.offset, allocation.offset + slot.nbytes, *lifetime))
    for entries in by_buffer.values():
        entries.sort()
        for index, (_, end, start, stop) in enumerate(entries):
            for other_begin, _, other_start, other_stop in entries[index + 1 :]:
                if other_begin >= end:
                    break
                assert stop < other_start or other_stop < start
