"""What a backend can do: what passes, lowering and plans ask before they choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PORTABLE_LIMITS: Mapping[str, int] = {
    "max-buffer-size": 256 << 20,
    "max-storage-buffer-binding-size": 128 << 20,
    "max-storage-buffers-per-shader-stage": 8,
    "max-compute-workgroup-storage-size": 16384,
    "max-compute-invocations-per-workgroup": 256,
    "max-compute-workgroup-size-x": 256,
    "max-compute-workgroups-per-dimension": 65535,
    "max-uniform-buffer-binding-size": 65536,
    "min-storage-buffer-offset-alignment": 256,
}
"""The limits that every implementation of WebGPU guarantees, by WebGPU's kebab-case names; bytes or counts."""

Precision = Literal["f32", "f32-strict", "f16"]
"""How a model is to be computed. "f16": float16 in memory, float32 in every sum. "f32-strict": float32 throughout.
"f32": as that, but products may run on matrix units, each float32 as two float16 (``engine.overflow``)."""

MATRIX_FEATURE = "chromium-experimental-subgroup-matrix"
"""The feature of kernels on matrix units, as Dawn names it. They need "subgroups" too."""


@dataclass(frozen=True, slots=True)
class MatrixUnits:
    """Matrix units that multiply float16 with float32 sums, a fragment at a time: ``m`` x ``k`` by ``k`` x ``n``.

    ``lanes`` are the invocations of a subgroup, which holds a fragment together. ``spelling`` says in which words
    WGSL has them: "dawn", "wgpu", or "emulated", which is plain WGSL, needs no units, and is for tests alone. Units
    that ``truncates`` is true of cut off what a sum has no bits for, where others round.
    """

    lanes: int
    m: int
    n: int
    k: int
    spelling: str
    truncates: bool = False


@dataclass(frozen=True, slots=True)
class Caps:
    """The capabilities of a WebGPU device.

    ``limits`` have WebGPU's kebab-case names; those that are left out are the least that WebGPU guarantees.
    ``features`` have WebGPU's names ("shader-f16", "timestamp-query", "subgroups"). ``matrix_units`` are those that a
    probe proved, or None, and ``subgroup`` is the range of subgroup sizes, or None. ``compact`` is for where a plan is
    downloaded, or each kernel takes seconds to compile: none whose weights take more bytes than the layer's own, and
    few different ones, however fast.
    """

    limits: Mapping[str, int] = field(default_factory=lambda: PORTABLE_LIMITS)
    features: tuple[str, ...] = ()
    matrix_units: MatrixUnits | None = None
    subgroup: tuple[int, int] | None = None
    compact: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", {**PORTABLE_LIMITS, **self.limits})

    @property
    def f16(self) -> bool:
        """Whether shaders may use float16."""
        return "shader-f16" in self.features

    @property
    def binding_limit(self) -> int:
        """The bytes that one binding may have."""
        return self.limits["max-storage-buffer-binding-size"]


PORTABLE = Caps()
"""What a browser has by default: the guaranteed limits, no optional feature."""
