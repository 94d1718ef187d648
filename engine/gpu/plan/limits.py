"""The limits of an adapter: checked for every dispatch when a plan is made, and for every plan before it runs.

This is the only place that does. Limits have WebGPU's kebab-case names. A grid that is too long along one dimension is
folded into the next where the kernel counts its workgroups in one number. Otherwise the rows are cut into ranges, as
they are for a large binding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from engine.caps import MATRIX_FEATURE, Caps
from engine.compiled.model import Command, CompiledProgram, Grid, Needs
from engine.errors import BackendError, TooLargeError
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, fold_grid
from engine.gpu.program.tensor import Slot, Tensor

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


STAGING_ALIGNMENT = 8
"""Bytes: inputs and outputs lie at multiples of this in the buffers by which they come and go."""

FEATURES = {
    "f16": "shader-f16",
    "subgroups": "subgroups",
    "chromium_experimental_subgroup_matrix": MATRIX_FEATURE,
}
"""The features of WebGPU by WGSL's names, as ``enable`` has them."""


def staged(nbytes: int) -> int:
    """The bytes of a tensor in the buffer by which it comes or goes."""
    return max(STAGING_ALIGNMENT, -(-nbytes // STAGING_ALIGNMENT) * STAGING_ALIGNMENT)


class Limits:
    """The limits of one adapter, and the checks of a plan. Messages name the dispatch, and what to do."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self.buffer = self._limits["max-buffer-size"]
        self.binding = self._limits["max-storage-buffer-binding-size"]
        self.workgroups = self._limits["max-compute-workgroups-per-dimension"]

    def check_sizes(
        self, slots: Iterable[Slot], inputs: Sequence[Tensor], outputs: Sequence[Tensor], model_name: str
    ) -> None:
        """Raise TooLargeError where a slot exceeds a buffer, or what the host writes or reads in a run does."""
        for slot in slots:
            if slot.nbytes > self.buffer:
                raise TooLargeError(
                    f"{model_name}: '{slot.label}' takes {slot.nbytes} bytes; the adapter's largest buffer has "
                    f"{self.buffer}. Use backend 'numpy', or precision 'f16'"
                )
        for kind, nbytes in zip(("inputs", "outputs"), self.staging_sizes(inputs, outputs), strict=True):
            if nbytes > self.buffer:
                raise TooLargeError(
                    f"{model_name}: its {kind} take {nbytes} bytes together; the adapter's largest buffer has "
                    f"{self.buffer}. Use backend 'numpy'"
                )

    @staticmethod
    def staging_sizes(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> tuple[int, int]:
        """The bytes of the buffers that the host writes all inputs into, and reads all outputs from."""
        sizes = [sum(staged(tensor.nbytes) for tensor in tensors) for tensors in (inputs, outputs)]
        return sizes[0], sizes[1]

    def check_dispatch(self, dispatch: Dispatch) -> None:
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

    def check_source(self, dispatch: Dispatch, source: str) -> None:
        """Raise TooLargeError where the program of the dispatch exceeds a limit."""
        usage = footprint(source)
        self._require(
            dispatch, "max-compute-invocations-per-workgroup", usage.invocations, "invocations of a workgroup"
        )
        self._require(dispatch, "max-compute-workgroup-size-x", usage.invocations, "invocations of a workgroup along x")
        self._require(
            dispatch, "max-compute-workgroup-storage-size", usage.workgroup_bytes, "bytes of workgroup memory"
        )
        largest = max(map(int, re.findall(r"(?<![\w.])\d{10,}(?![\w.])", source)), default=0)
        if largest > LARGEST_INTEGER:
            self._refuse(dispatch, f"the number {largest:,}", f"{LARGEST_INTEGER:,} in a kernel")

    def check_uniform(self, dispatch: Dispatch, numbers: list[int]) -> None:
        """Raise TooLargeError where a dispatch has too many uniform numbers, or one that i32 does not hold."""
        self._require(dispatch, "max-uniform-buffer-binding-size", 4 * len(numbers), "bytes of parameters")
        for number in (min(numbers), max(numbers)):
            # the least of i32 has no positive counterpart; -0.0 has its bits
            if not -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER:
                self._refuse(dispatch, f"the number {number:,}", f"{LARGEST_INTEGER:,} in a kernel")

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
        if count > self._limits[limit]:
            self._refuse(dispatch, f"{count:,} {unit}", f"{self._limits[limit]:,}")

    def _refuse(self, dispatch: Dispatch, needs: str, allows: str) -> None:
        raise TooLargeError(f"{dispatch.label} needs {needs}; the adapter allows {allows}. Use backend 'numpy'")


def least_needs(
    buffers: Sequence[int], programs: Sequence[CompiledProgram], commands: Sequence[Command], subgroup_lanes: int
) -> Needs:
    """What a device must offer for these commands, and for buffers of these sizes in bytes."""
    footprints = [footprint(program.wgsl) for program in programs]
    bindings = [binding.size for command in commands for binding in command.bindings]
    invocations = max((usage.invocations for usage in footprints), default=0)
    return Needs(
        limits={
            "max-buffer-size": max(buffers, default=0),
            "max-storage-buffer-binding-size": max(bindings, default=0),
            "max-storage-buffers-per-shader-stage": max((len(command.bindings) for command in commands), default=0),
            "max-compute-workgroup-storage-size": max((usage.workgroup_bytes for usage in footprints), default=0),
            "max-compute-invocations-per-workgroup": invocations,
            "max-compute-workgroup-size-x": invocations,
            "max-compute-workgroups-per-dimension": max((max(command.grid) for command in commands), default=0),
            "max-uniform-buffer-binding-size": max((command.uniform_bytes for command in commands), default=0),
        },
        features=tuple(
            feature
            for name, feature in FEATURES.items()
            if any(re.search(rf"^enable {name};", program.wgsl, re.MULTILINE) for program in programs)
        ),
        subgroup_lanes=subgroup_lanes,
    )


def check_needs(needs: Needs, caps: Caps, device: str) -> None:
    """Raise BackendError, which names what is missing, where a device with ``caps`` cannot run what needs ``needs``."""
    lacks = [
        f"{name} of {least:,} (it has {caps.limits.get(name, 0):,})"
        for name, least in needs.limits.items()
        if least > caps.limits.get(name, 0)
    ]
    lacks += [feature for feature in needs.features if feature not in caps.features]
    lanes = caps.matrix_units.lanes if caps.matrix_units else 0
    if needs.subgroup_lanes not in (0, lanes):
        lacks.append(f"matrix units in subgroups of {needs.subgroup_lanes} (it has {lanes})")
    if lacks:
        raise BackendError(
            f"the compiled model needs {', '.join(lacks)}, which {device} lacks; compile the model for this device"
        )
