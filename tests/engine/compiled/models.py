"""Compiled models made by hand, and headers that say something else than their makers meant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.compiled.model import (
    Binding,
    Command,
    CompiledModel,
    CompiledProgram,
    GpuPlan,
    GraphCounts,
    ModelOrigin,
    Needs,
    NumpyPlan,
    Piece,
    TensorPlace,
    Weights,
)

WGSL = """struct Params { count: u32, far: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x < params.count { y[id.x] = x[id.x] * w[id.x + params.far]; }
}
"""
"""y = x * w; ``far`` is 0, or beyond all buffers."""

SHARD = 512
ELEMENTS = 200
KEY = "5a" * 32


@dataclass
class ListWeights(Weights):
    """Pieces that are at hand."""

    content: Sequence[Piece]

    def pieces(self) -> Iterator[Piece]:
        yield from self.content

    def verify(self) -> None:
        """Nothing was read from a file."""


def weights() -> ListWeights:
    """Of two buffers of 1,024 and 900 bytes: two pieces with a gap between, and one."""
    values = np.arange(ELEMENTS, dtype=np.float32).view(np.uint8)
    rest = np.random.default_rng(5).integers(0, 256, 900, np.uint8)
    return ListWeights([Piece(0, 0, values[:256]), Piece(0, 512, values[512:800]), Piece(1, 0, rest)])


def gpu_model(far: int = 0, name: str = "small", sha256: str = "ab" * 32, seed: int = 0) -> CompiledModel:
    """A model of one dispatch, whose weights are ELEMENTS numbers in buffer 0. ``seed`` makes others like it."""
    place = TensorPlace("x", "float32", (1, ELEMENTS), "f32", 2, 256)
    uniforms = np.zeros(512, np.uint8)
    uniforms[256:264] = np.array([ELEMENTS, far], np.uint32).view(np.uint8)
    command = Command(
        label="Mul 'product'",
        op="Mul",
        node="product",
        flops=ELEMENTS,
        bytes=3 * 4 * ELEMENTS,
        program=0,
        uniform=256,
        uniform_bytes=16,
        bindings=(Binding(2, 256, 4 * ELEMENTS), Binding(0, 0, 4 * ELEMENTS), Binding(3, 0, 4 * ELEMENTS)),
        grid=(4, 1, 1),
    )
    return CompiledModel(
        backend="webgpu",
        precision="f32",
        inputs=(place,),
        outputs=(TensorPlace("y", "float32", (1, ELEMENTS), "f32", 3, 0),),
        plan=GpuPlan(
            needs=Needs({"max-storage-buffers-per-shader-stage": 3}, (), 0),
            buffers=(1024, 900, 1280, 1024),
            constant_buffers=2,
            programs=(CompiledProgram("multiply", WGSL),),
            commands=(command,),
            uniforms=uniforms.tobytes(),
            peak_bytes=2048,
        ),
        weights=weights(),
        counts=GraphCounts(3, 2, 1, {"fold": 1}),
        origin=ModelOrigin(name, sha256, "Apache-2.0"),
        metadata={"interface": {"mean": [0.5, 1e-7], "who": "Zoë \U0001f600", "none": None}, "seed": seed},
    )


def numpy_model() -> CompiledModel:
    """A model for NumPy, with the same weights."""
    place = TensorPlace("x", "float16", (2, 0), "float16", None, 0)
    return CompiledModel(
        backend="numpy",
        precision="f32",
        inputs=(place,),
        outputs=(place,),
        plan=NumpyPlan({"nodes": [["Relu", 0, 1]]}, (1024, 900)),
        weights=weights(),
        counts=GraphCounts(1, 1, 1),
    )


def content(model: CompiledModel) -> dict[int, bytes]:
    """The bytes of each constant buffer that has pieces."""
    buffers: dict[int, bytearray] = {}
    for piece in model.weights.pieces():
        held = buffers.setdefault(piece.buffer, bytearray(1024 if piece.buffer == 0 else 900))
        held[piece.offset : piece.offset + len(piece.data)] = piece.data.tobytes()
    return {buffer: bytes(held) for buffer, held in buffers.items()}


def files(folder: Path) -> dict[str, bytes]:
    """The content of each file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def document(folder: Path) -> dict[str, Any]:
    """The header of a compiled model."""
    return json.loads((folder / "model.json").read_bytes())


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a header, and give it the digest that goes with the change."""
    header = document(folder)
    edit(header)
    header.pop("sha256", None)
    sign(folder, json.dumps(header).encode())


def sign(folder: Path, text: bytes) -> None:
    """Write a header of that text, which is an object without its digest."""
    rest = text[1:]
    (folder / "model.json").write_bytes(b'{"sha256":"' + hashlib.sha256(rest).hexdigest().encode() + b'",' + rest)
