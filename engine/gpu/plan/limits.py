"""The limits of an adapter, checked for every dispatch when the plan is made, so that no run exceeds one.

Limits have WebGPU's kebab-case names. A grid that is too long along one dimension is folded into the next where the
kernel counts its workgroups in one number. Otherwise the rows are cut into ranges, as they are for a large binding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from engine.errors import TooLargeError
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Grid, fold_grid

GUARANTEED: Mapping[str, int] = {
    "max-compute-workgroups-per-dimension": 65535,
    "max-compute-invocations-per-workgroup": 256,
    "max-compute-workgroup-size-x": 256,
    "max-storage-buffers-per-shader-stage": 8,
    "max-uniform-buffer-binding-size": 65536,
}
"""Limits for an adapter that does not state its own: those that every implementation of WebGPU guarantees."""

LARGEST_INTEGER = 2**31 - 1
"""Kernels count elements, rows and invocations in i32."""

MAX_ELEMENTS = LARGEST_INTEGER - 65535
"""Elements of a tensor at the most, which leaves room for a tile that hangs over its end."""

MAX_FOLDED_WORKGROUPS = LARGEST_INTEGER // INVOCATIONS - 65535
"""Workgroups that a kernel counts in one number: i32 must count their invocations, and those of one more line."""

WGSL_BYTES = {"f32": 4, "i32": 4, "u32": 4, "f16": 2, "vec2<f32>": 8, "vec4<f32>": 16, "vec4<i32>": 16, "vec4<u32>": 16}


@dataclass(frozen=True, slots=True)
class Footprint:
    """The resources of a kernel: invocations of a workgroup, and bytes of workgroup memory."""

    invocations: int
    workgroup_bytes: int


def footprint(source: str) -> Footprint:
    """The footprint of a kernel, read from its WGSL."""
    (size,) = re.findall(r"@workgroup_size\(([\d, ]+)\)", source)
    workgroup_bytes = 0
    for declaration in re.findall(r"var<workgroup> \w+: ([^;]+);", source):
        array = re.fullmatch(r"array<(.+), (\d+)>", declaration)
        kind, count = (array[1], int(array[2])) if array else (declaration, 1)
        workgroup_bytes += WGSL_BYTES[kind] * count
    return Footprint(prod(int(extent) for extent in size.split(",")), workgroup_bytes)


class Limits:
    """The limits of one adapter, and the checks of a dispatch. Messages name the dispatch, and what to do."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = {**GUARANTEED, **limits}
        self.buffer = limits["max-buffer-size"]
        self.binding = limits["max-storage-buffer-binding-size"]
        self.workgroups = self._limits["max-compute-workgroups-per-dimension"]
        self._checked_sources: set[str] = set()

    def check(self, dispatch: Dispatch, source: str) -> None:
        """Raise TooLargeError where the dispatch exceeds a limit however its rows are cut."""
        for operand in dispatch.operands:
            tensor = operand.tensor
            begin, end = tensor.span()
            elements = max(tensor.size, end - begin, end)
            if elements > MAX_ELEMENTS:
                self._refuse(
                    dispatch, f"'{tensor.slot.label}' of {elements:,} elements", f"{MAX_ELEMENTS:,} of a tensor"
                )
        self._require(dispatch, "max-storage-buffers-per-shader-stage", len(dispatch.operands), "storage buffers")
        if source in self._checked_sources:
            return
        self._checked_sources.add(source)
        source_footprint = footprint(source)
        self._require(
            dispatch,
            "max-compute-invocations-per-workgroup",
            source_footprint.invocations,
            "invocations of a workgroup",
        )
        self._require(
            dispatch, "max-compute-workgroup-size-x", source_footprint.invocations, "invocations of a workgroup along x"
        )
        self._require(
            dispatch,
            "max-compute-workgroup-storage-size",
            source_footprint.workgroup_bytes,
            "bytes of workgroup memory",
        )
        largest = max(map(int, re.findall(r"(?<![\w.])\d{10,}(?![\w.])", source)), default=0)
        if largest > LARGEST_INTEGER:
            self._refuse(dispatch, f"the number {largest:,}", f"{LARGEST_INTEGER:,} in a kernel")

    def check_uniform(self, dispatch: Dispatch, numbers: list[int]) -> None:
        """Raise TooLargeError where a dispatch has too many uniform numbers, or one that i32 does not hold."""
        self._require(dispatch, "max-uniform-buffer-binding-size", 4 * len(numbers), "bytes of parameters")
        largest = max(numbers, key=abs)
        if abs(largest) > LARGEST_INTEGER:
            self._refuse(dispatch, f"the number {largest:,}", f"{LARGEST_INTEGER:,} in a kernel")

    def grid(self, dispatch: Dispatch, rows: int) -> Grid:
        """The workgroups of ``rows`` rows, folded; ``excess`` says whether they are too many."""
        workgroups = dispatch.grid(rows)
        return fold_grid(workgroups, self.workgroups) if isinstance(workgroups, int) else workgroups

    def excess(self, dispatch: Dispatch, rows: int) -> float:
        """The length of the grid of ``rows`` rows over the longest that is allowed: 1 at the most where it fits."""
        workgroups = dispatch.grid(rows)
        longest = max(self.grid(dispatch, rows)) / self.workgroups
        return max(longest, workgroups / MAX_FOLDED_WORKGROUPS) if isinstance(workgroups, int) else longest

    def refuse_grid(self, dispatch: Dispatch) -> None:
        """Raise the TooLargeError of a dispatch whose grid is too long even for one row."""
        workgroups = " x ".join(f"{extent:,}" for extent in self.grid(dispatch, 1))
        self._refuse(dispatch, f"{workgroups} workgroups for one row", f"{self.workgroups:,} along a dimension")

    def _require(self, dispatch: Dispatch, limit: str, count: int, unit: str) -> None:
        if count > self._limits.get(limit, count):
            self._refuse(dispatch, f"{count:,} {unit}", f"{self._limits[limit]:,}")

    def _refuse(self, dispatch: Dispatch, needs: str, allows: str) -> None:
        raise TooLargeError(f"{dispatch.label} needs {needs}; the adapter allows {allows}. Use backend 'numpy'")
