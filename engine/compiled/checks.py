"""Whether a plan stays within its buffers, its uniforms and what it says it needs, wherever it comes from."""

from __future__ import annotations

import re
from math import prod

import numpy as np

from engine.caps import PORTABLE_LIMITS
from engine.compiled.fields import LARGEST, HeaderError
from engine.compiled.model import (
    ALIGNMENT,
    Binding,
    Command,
    CompiledProgram,
    GpuPlan,
    NumpyPlan,
    TensorPlace,
)

STORAGE_BYTES = {"f32": 4, "f16": 2, "i32": 4, "u32": 4}
"""Bytes of an element in a buffer of the GPU, by the name of its type."""

COPY_BYTES = 8
"""Inputs and outputs are copied in whole multiples of this."""

_DECLARATION = re.compile(
    r"@group\(0\)[ \t\n\r]*@binding\(([0-9]+)\)[ \t\n\r]*var<(uniform|storage,[ \t\n\r]*read(?:_write)?)>"
)
"""Blanks and digits as each reader has them: what ``\\s`` and ``\\d`` are differs between languages."""


def check(plan: GpuPlan | NumpyPlan, inputs: tuple[TensorPlace, ...], outputs: tuple[TensorPlace, ...]) -> None:
    """Raise HeaderError, which names the command or tensor, where anything is out of its range."""
    for name, places in (("input", inputs), ("output", outputs)):
        if len({place.name for place in places}) != len(places):
            raise HeaderError(f"two {name}s have one name")
    if not outputs:
        raise HeaderError("it has no output")
    if isinstance(plan, NumpyPlan):
        for place in inputs + outputs:
            _check_place(place, plan.buffers, np.dtype(place.array_dtype).itemsize)
        return
    if plan.constant_buffers > len(plan.buffers):
        raise HeaderError(f"constant_buffers is {plan.constant_buffers}, more than there are buffers")
    largest = _limit(plan, "max-buffer-size")
    for index, size in enumerate(plan.buffers):
        if size > largest or size % 4:
            raise HeaderError(f"buffer {index} has {size:,} bytes: no whole words up to the {largest:,} that it needs")
    for place in inputs + outputs:
        _check_place(place, plan.buffers, STORAGE_BYTES[place.storage])
    for place in inputs:
        if place.buffer is not None and place.buffer < plan.constant_buffers:
            raise HeaderError(f"input '{place.name}' lies in a buffer of constants")
    for place in outputs:
        if place.buffer is None:
            raise HeaderError(f"output '{place.name}' lies in no buffer")
    accesses = [_accesses(program) for program in plan.programs]
    for index, command in enumerate(plan.commands):
        try:
            _check_command(command, plan, accesses)
        except HeaderError as error:
            raise HeaderError(f"command {index} ('{command.label[:80]}'): {error}") from None


def _limit(plan: GpuPlan, name: str) -> int:
    """What a device has that offers what the plan needs: WebGPU guarantees the rest."""
    return plan.needs.limits.get(name, PORTABLE_LIMITS[name])


def _check_place(place: TensorPlace, buffers: tuple[int, ...], itemsize: int) -> None:
    nbytes = prod(place.shape) * itemsize
    if nbytes > LARGEST:
        raise HeaderError(f"'{place.name}' has more bytes than anyone can count")
    if place.buffer is None:
        return
    if place.buffer >= len(buffers):
        raise HeaderError(f"'{place.name}' lies in buffer {place.buffer}, which does not exist")
    if place.offset % 4:
        raise HeaderError(f"'{place.name}' begins within a word, at byte {place.offset}")
    if place.offset + -(-nbytes // COPY_BYTES) * COPY_BYTES > buffers[place.buffer]:
        raise HeaderError(f"'{place.name}' goes beyond buffer {place.buffer}")


def _accesses(program: CompiledProgram) -> tuple[str, ...]:
    """How a program's source says that it uses its bindings, in their order: "uniform", then "read" or "read_write"."""
    declarations = {
        int(number): kind.replace("storage,", "").strip() for number, kind in _DECLARATION.findall(program.wgsl)
    }
    accesses = tuple(declarations.get(number, "") for number in range(len(declarations)))
    if len(declarations) != program.wgsl.count("@binding(") or "" in accesses:
        raise HeaderError(f"the bindings of program '{program.kernel[:80]}' are not declared in order, each once")
    if not accesses or accesses[0] != "uniform" or "uniform" in accesses[1:]:
        raise HeaderError(f"the bindings of program '{program.kernel[:80]}' are not a uniform and then storage")
    return accesses


def _check_command(command: Command, plan: GpuPlan, accesses: list[tuple[str, ...]]) -> None:
    if command.program >= len(accesses):
        raise HeaderError(f"program {command.program} does not exist")
    declared = accesses[command.program][1:]
    if len(declared) != len(command.bindings):
        raise HeaderError(f"{len(command.bindings)} bindings, where its program declares {len(declared)}")
    if len(declared) > _limit(plan, "max-storage-buffers-per-shader-stage"):
        raise HeaderError(f"{len(declared)} bindings are more than it needs")
    if command.uniform % ALIGNMENT or command.uniform_bytes % 4:
        raise HeaderError(f"its uniform is not aligned: {command.uniform_bytes} bytes at {command.uniform}")
    if command.uniform_bytes > _limit(plan, "max-uniform-buffer-binding-size"):
        raise HeaderError(f"its uniform of {command.uniform_bytes} bytes is more than it needs")
    if command.uniform + command.uniform_bytes > len(plan.uniforms):
        raise HeaderError("its uniform goes beyond the uniforms")
    longest = _limit(plan, "max-compute-workgroups-per-dimension")
    if not all(1 <= extent <= longest for extent in command.grid):
        raise HeaderError(f"its grid {command.grid} is not within 1 and {longest}")
    for binding in command.bindings:
        _check_binding(binding, plan)
    written = {binding.buffer for binding, access in zip(command.bindings, declared, strict=True) if access != "read"}
    read = {binding.buffer for binding, access in zip(command.bindings, declared, strict=True) if access == "read"}
    if both := written & read:
        raise HeaderError(f"it reads and writes buffer {min(both)}")
    if written and min(written) < plan.constant_buffers:
        raise HeaderError(f"it writes buffer {min(written)}, which holds constants")


def _check_binding(binding: Binding, plan: GpuPlan) -> None:
    place = f"a binding of {binding.size:,} bytes at {binding.offset:,}"
    if binding.buffer >= len(plan.buffers):
        raise HeaderError(f"buffer {binding.buffer} does not exist")
    if binding.offset % ALIGNMENT or binding.size % 4:
        raise HeaderError(f"{place} is not aligned")
    if binding.size > _limit(plan, "max-storage-buffer-binding-size"):
        raise HeaderError(f"{place} is more than it needs")
    if binding.offset + binding.size > plan.buffers[binding.buffer]:
        raise HeaderError(f"{place} goes beyond buffer {binding.buffer}")
