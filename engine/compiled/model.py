"""What a compiled model consists of. Nothing here refers to a graph, a layer or a device.

A model is compiled for one backend. For webgpu it is a ``GpuPlan``: programs, and commands that run them over ranges of
buffers. For numpy it is a ``NumpyPlan``: the graph after the passes. Both read constants from ``Weights``: the content
of the first buffers, one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from engine import four_bits

Grid = tuple[int, int, int]

ALIGNMENT = 256
"""Bytes: offsets of bindings, and of constants within their buffer, are multiples of this."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """An input or output of the model, and where it lies between the host and a run.

    ``dtype`` is the NumPy name of the model's own type, or of an input "int4" or "uint4", whose elements have a byte
    each. ``storage`` is what lies in the buffer ("f32", "f16", "i32", "u32"; for numpy the dtype again). ``buffer`` is
    None for an input that nothing reads; ``offset`` is in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: str
    buffer: int | None
    offset: int

    @property
    def array_dtype(self) -> str:
        """The NumPy name of the dtype of arrays that a run takes or gives."""
        return four_bits.ARRAYS.get(self.dtype, self.dtype)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a device must offer: limits by WebGPU's kebab-case names, each the least that will do, and features.

    Features have WebGPU's names; ``subgroup_lanes`` is the size that every subgroup must have, 0 where none is used.
    """

    limits: Mapping[str, int] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    subgroup_lanes: int = 0


@dataclass(frozen=True, slots=True)
class CompiledProgram:
    """One shader, whose entry point is ``main``. ``trusted`` says that it stays within its own bounds."""

    kernel: str
    wgsl: str
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class Binding:
    """A range of a buffer, in bytes."""

    buffer: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Command:
    """One dispatch.

    ``program`` is an index into the plan's programs. Binding 0 is ``uniform_bytes`` bytes of the uniforms at
    ``uniform``, and ``bindings`` are those behind it. ``op`` and ``node`` say what it computes, ``label`` is how
    messages name it, ``flops`` (multiplications and additions of the direct algorithm) and ``bytes`` (read and written
    at the least) what it costs.
    """

    label: str
    op: str
    node: str
    flops: int
    bytes: int
    program: int
    uniform: int
    uniform_bytes: int
    bindings: tuple[Binding, ...]
    grid: Grid


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """All that a device runs. ``buffers`` are sizes in bytes: first ``constant_buffers`` of constants, then those of
    activations. ``uniforms`` is the content of the uniform buffer. ``peak_bytes`` is the most of the activations that
    is alive at once."""

    needs: Needs
    buffers: tuple[int, ...]
    constant_buffers: int
    programs: tuple[CompiledProgram, ...]
    commands: tuple[Command, ...]
    uniforms: bytes
    peak_bytes: int

    @property
    def constant_sizes(self) -> tuple[int, ...]:
        """The bytes of each buffer of constants."""
        return self.buffers[: self.constant_buffers]


@dataclass(frozen=True, slots=True)
class NumpyPlan:
    """The graph that the NumPy executor runs, after the passes, as JSON; its constants lie in ``buffers``."""

    graph: Mapping[str, Any]
    buffers: tuple[int, ...]

    @property
    def constant_sizes(self) -> tuple[int, ...]:
        """The bytes of each buffer: all are of constants."""
        return self.buffers


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """The model that was compiled: its name, the SHA-256 of its file ("" where nobody said), and its licence."""

    name: str = ""
    sha256: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """What compiling did: nodes of the file, of the graph after folding, after the passes, and how often each fired."""

    in_file: int
    loaded: int
    planned: int
    passes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """A contiguous part of a constant buffer: its index, the byte offset, and the bytes (uint8, one axis).

    ``dtype`` is the type of the elements by NumPy's name, and "" where nobody knows. A piece that has one is a whole
    constant, and may be stored narrower where it is large; one that is ``narrow`` is what was stored so before, and may
    be again, however small it is.
    """

    buffer: int
    offset: int
    data: np.ndarray
    dtype: str = ""
    narrow: bool = False


class Weights(Protocol):
    """The content of the constant buffers.

    ``pieces`` gives each part once, in order of buffers and offsets, making or reading it when it is asked for: bytes
    that no piece covers are 0. It can be called again.
    """

    def pieces(self) -> Iterator[Piece]: ...

    def array(self, buffer: int, offset: int, nbytes: int) -> np.ndarray:
        """Those bytes (uint8, one axis), only to be read: a view of what holds them where one part holds them all.

        The caller has held the range to the size of the buffer. A class that says Weights among its bases and keeps
        nothing at hand inherits this: what the pieces within the range have, copied.
        """
        content = np.zeros(nbytes, np.uint8)
        for piece in self.pieces():
            first, last = max(piece.offset, offset), min(piece.offset + len(piece.data), offset + nbytes)
            if piece.buffer == buffer and first < last:
                content[first - offset : last - offset] = piece.data[first - piece.offset : last - piece.offset]
        return content

    def verify(self) -> None:
        """Hold what was read from a file to its hashes, on all cores. Raises ModelError where a part is damaged."""


Computed = Literal["f32", "f32-split", "f16"]
"""How a compiled model computes: as ``engine.caps.Precision`` has it, but that "f32" is float32 throughout, and
"f32-split" has products on matrix units."""


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A model compiled for ``backend``, ready to be saved or run.

    ``metadata`` is the caller's: JSON that the engine carries and hashes and never reads. ``trusted`` is false of a
    model from a file that this process has no reason to trust: its shaders keep the implementation's own checks.
    """

    backend: Literal["webgpu", "numpy"]
    precision: Computed
    inputs: tuple[TensorPlace, ...]
    outputs: tuple[TensorPlace, ...]
    plan: GpuPlan | NumpyPlan
    weights: Weights
    counts: GraphCounts
    origin: ModelOrigin = ModelOrigin()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = True
