"""What an adapter allows, held to every dispatch when the plan is made: what passes here, no run refuses.

Limits go by WebGPU's kebab-case names. A grid that is too long along one dimension is folded along the next where the
kernel counts its workgroups in one number, and otherwise the rows are cut, as they are where a binding is too small.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from engine.errors import TooLargeError
from engine.gpu.dispatch import INVOCATIONS, Dispatch, Grid, folded

GUARANTEED: Mapping[str, int] = {
    "max-compute-workgroups-per-dimension": 65535,
    "max-compute-invocations-per-workgroup": 256,
    "max-compute-workgroup-size-x": 256,
    "max-storage-buffers-per-shader-stage": 8,
    "max-uniform-buffer-binding-size": 65536,
}
"""Limits that hold where an adapter does not state its own: those of every implementation of WebGPU."""

LARGEST_INTEGER = 2**31 - 1
"""Kernels count elements, rows and invocations in i32."""

MOST_ELEMENTS = LARGEST_INTEGER - 65535
"""Elements of a tensor, with room for the tile that hangs over its end."""

MOST_FOLDED = LARGEST_INTEGER // INVOCATIONS - 65535
"""Workgroups that a kernel counts in one number: it counts their invocations too, and those of a line more."""

WGSL_BYTES = {"f32": 4, "i32": 4, "u32": 4, "f16": 2, "vec2<f32>": 8, "vec4<f32>": 16, "vec4<i32>": 16, "vec4<u32>": 16}


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the source of a kernel takes: invocations of a workgroup, and bytes of workgroup memory."""

    invocations: int
    workgroup_bytes: int


def footprint(source: str) -> Footprint:
    """The footprint of a kernel, read from its WGSL."""
    (size,) = re.findall(r"@workgroup_size\(([\d, ]+)\)", source)
    shared = 0
    for declared in re.findall(r"var<workgroup> \w+: ([^;]+);", source):
        array = re.fullmatch(r"array<(.+), (\d+)>", declared)
        kind, count = (array[1], int(array[2])) if array else (declared, 1)
        shared += WGSL_BYTES[kind] * count
    return Footprint(prod(int(extent) for extent in size.split(",")), shared)


class Limits:
    """The limits of one adapter, and what they say to a dispatch. Messages name the dispatch, and what to do."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = {**GUARANTEED, **limits}
        self.buffer = limits["max-buffer-size"]
        self.binding = limits["max-storage-buffer-binding-size"]
        self.workgroups = self._limits["max-compute-workgroups-per-dimension"]
        self._checked: set[str] = set()

    def check(self, dispatch: Dispatch, source: str) -> None:
        """Raise TooLargeError where no range of rows makes the dispatch fit."""
        for operand in dispatch.operands:
            tensor = operand.tensor
            low, high = tensor.span()
            elements = max(tensor.size, high - low, high)
            if elements > MOST_ELEMENTS:
                self._refuse(
                    dispatch, f"'{tensor.slot.label}' of {elements:,} elements", f"{MOST_ELEMENTS:,} of a tensor"
                )
        self._hold(dispatch, "max-storage-buffers-per-shader-stage", len(dispatch.operands), "storage buffers")
        if source in self._checked:
            return
        self._checked.add(source)
        taken = footprint(source)
        self._hold(dispatch, "max-compute-invocations-per-workgroup", taken.invocations, "invocations of a workgroup")
        self._hold(dispatch, "max-compute-workgroup-size-x", taken.invocations, "invocations of a workgroup along x")
        self._hold(dispatch, "max-compute-workgroup-storage-size", taken.workgroup_bytes, "bytes of workgroup memory")
        largest = max(map(int, re.findall(r"(?<![\w.])\d{10,}(?![\w.])", source)), default=0)
        if largest > LARGEST_INTEGER:
            self._refuse(dispatch, f"the number {largest:,}", f"{LARGEST_INTEGER:,} in a kernel")

    def check_uniform(self, dispatch: Dispatch, numbers: list[int]) -> None:
        """Raise TooLargeError where the uniform block of a dispatch has too many numbers, or too large ones."""
        self._hold(dispatch, "max-uniform-buffer-binding-size", 4 * len(numbers), "bytes of parameters")
        largest = max(numbers, key=abs)
        if abs(largest) > LARGEST_INTEGER:
            self._refuse(dispatch, f"the number {largest:,}", f"{LARGEST_INTEGER:,} in a kernel")

    def grid(self, dispatch: Dispatch, rows: int) -> Grid:
        """The workgroups of that many rows, folded; ``excess`` says whether they are too many."""
        workgroups = dispatch.grid(rows)
        return folded(workgroups, self.workgroups) if isinstance(workgroups, int) else workgroups

    def excess(self, dispatch: Dispatch, rows: int) -> float:
        """How many times too long the grid of that many rows is; 1 at the most where it fits."""
        workgroups = dispatch.grid(rows)
        longest = max(self.grid(dispatch, rows)) / self.workgroups
        return max(longest, workgroups / MOST_FOLDED) if isinstance(workgroups, int) else longest

    def refuse_grid(self, dispatch: Dispatch) -> None:
        """Raise the TooLargeError of a dispatch of which not even one row fits."""
        workgroups = " x ".join(f"{extent:,}" for extent in self.grid(dispatch, 1))
        self._refuse(dispatch, f"{workgroups} workgroups for one row", f"{self.workgroups:,} along a dimension")

    def _hold(self, dispatch: Dispatch, limit: str, count: int, what: str) -> None:
        if count > self._limits.get(limit, count):
            self._refuse(dispatch, f"{count:,} {what}", f"{self._limits[limit]:,}")

    def _refuse(self, dispatch: Dispatch, needs: str, allows: str) -> None:
        raise TooLargeError(f"{dispatch.label} needs {needs}; the adapter allows {allows}. Use backend 'numpy'")
