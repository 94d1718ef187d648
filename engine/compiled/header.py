"""``model.json``: everything of a compiled model but its weights, behind the SHA-256 of itself (docs/compiled.md)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from engine import four_bits
from engine.compiled.checks import STORAGE_BYTES, check
from engine.compiled.fields import Fields, HeaderError, array, integer, parse
from engine.compiled.model import (
    Binding,
    Command,
    CompiledModel,
    CompiledProgram,
    Computed,
    GpuPlan,
    GraphCounts,
    ModelOrigin,
    Needs,
    NumpyPlan,
    TensorPlace,
    Weights,
)
from engine.compiled.segments import StoredWeights, stored_weights
from engine.version import __version__

FORMAT = 2
"""The version of the format; a reader takes no other."""

NAME = "model.json"
"""The header's file."""

MAX_BYTES = 64 << 20
"""Bytes that a header may have. That of RMBG-2.0's network has under two million."""

MAX_AXES = 32
"""Axes that a tensor may have, as when ONNX files are loaded."""

DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
DTYPES += ("float16", "float32", "float64")

_START = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')
_NAMES = frozenset({"sha256", "format", "engine", "backend", "precision", "origin", "inputs", "outputs", "counts"})
_NAMES |= {"plan", "weights", "metadata"}
_PLACE = frozenset({"name", "dtype", "shape", "storage", "buffer", "offset"})
_GPU_PLAN = frozenset({"needs", "buffers", "constant_buffers", "programs", "commands", "uniforms", "peak_bytes"})
_COMMAND = frozenset({"label", "op", "node", "flops", "bytes", "program", "uniform", "uniform_bytes", "bindings"})
_COMMAND |= {"grid"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says, checked. ``engine`` is the version that wrote it."""

    engine: str
    backend: Literal["webgpu", "numpy"]
    precision: Computed
    inputs: tuple[TensorPlace, ...]
    outputs: tuple[TensorPlace, ...]
    plan: GpuPlan | NumpyPlan
    counts: GraphCounts
    origin: ModelOrigin
    metadata: Mapping[str, Any]
    stored: StoredWeights

    def model(self, weights: Weights, *, trusted: bool) -> CompiledModel:
        """The model with these weights. ``trusted``: as CompiledModel has it."""
        return CompiledModel(
            backend=self.backend,
            precision=self.precision,
            inputs=self.inputs,
            outputs=self.outputs,
            plan=self.plan,
            weights=weights,
            counts=self.counts,
            origin=self.origin,
            metadata=self.metadata,
            trusted=trusted,
        )


def encode(model: CompiledModel, stored: StoredWeights) -> bytes:
    """The content of the header's file: the same bytes for the same model.

    Raises HeaderError where the model holds what is no JSON, or too much of it.
    """
    document = {
        "format": FORMAT,
        "engine": __version__,
        "backend": model.backend,
        "precision": model.precision,
        "origin": {"name": model.origin.name, "sha256": model.origin.sha256, "licence": model.origin.licence},
        "inputs": [_place_document(place) for place in model.inputs],
        "outputs": [_place_document(place) for place in model.outputs],
        "counts": {
            "in_file": model.counts.in_file,
            "loaded": model.counts.loaded,
            "planned": model.counts.planned,
            "passes": dict(model.counts.passes),
        },
        "plan": _plan_document(model.plan, trusted=model.trusted),
        "weights": stored.document(),
        "metadata": dict(model.metadata),
    }
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise HeaderError(f"holds what is no JSON: {error}") from error
    rest = text[1:]
    header = b'{"sha256":"' + hashlib.sha256(rest).hexdigest().encode() + b'",' + rest
    if len(header) > MAX_BYTES:
        raise HeaderError(f"its header would have {len(header):,} bytes, more than {MAX_BYTES:,}")
    return header


def _place_document(place: TensorPlace) -> dict[str, object]:
    return {
        "name": place.name,
        "dtype": place.dtype,
        "shape": list(place.shape),
        "storage": place.storage,
        "buffer": place.buffer,
        "offset": place.offset,
    }


def _plan_document(plan: GpuPlan | NumpyPlan, *, trusted: bool) -> dict[str, object]:
    if isinstance(plan, NumpyPlan):
        return {"graph": dict(plan.graph), "buffers": list(plan.buffers)}
    return {
        "needs": {
            "limits": dict(plan.needs.limits),
            "features": list(plan.needs.features),
            "subgroup_lanes": plan.needs.subgroup_lanes,
        },
        "buffers": list(plan.buffers),
        "constant_buffers": plan.constant_buffers,
        "programs": [
            # what nobody vouches for when it is written has nobody to vouch for it when it is read
            {"kernel": program.kernel, "wgsl": program.wgsl, "trusted": program.trusted and trusted}
            for program in plan.programs
        ],
        "commands": [
            {
                "label": command.label,
                "op": command.op,
                "node": command.node,
                "flops": command.flops,
                "bytes": command.bytes,
                "program": command.program,
                "uniform": command.uniform,
                "uniform_bytes": command.uniform_bytes,
                "bindings": [[binding.buffer, binding.offset, binding.size] for binding in command.bindings],
                "grid": list(command.grid),
            }
            for command in plan.commands
        ],
        "uniforms": base64.b64encode(plan.uniforms).decode("ascii"),
        "peak_bytes": plan.peak_bytes,
    }


def whole(text: bytes) -> Fields:
    """The fields of a header's file, of whatever version, whose bytes have the digest that it begins with.

    Raises HeaderError.
    """
    if len(text) > MAX_BYTES:
        raise HeaderError(f"{NAME} is larger than {MAX_BYTES:,} bytes")
    start = _START.match(text)
    if start is None:
        raise HeaderError(f"{NAME} does not begin with its SHA-256")
    if hashlib.sha256(memoryview(text)[start.end() :]).hexdigest().encode() != start[1]:
        raise HeaderError(f"{NAME} is damaged: its SHA-256 is another")
    try:
        return Fields(parse(text))
    except HeaderError as error:
        raise HeaderError(f"{NAME} {error}") from error


def decode(text: bytes) -> Header:
    """What a header's file says, with every type and range checked. Raises HeaderError."""
    fields = whole(text)
    version = fields.integer("format")
    if version != FORMAT:
        raise HeaderError(f"it has version {version} of the format, and this is a reader of version {FORMAT}")
    fields.only(_NAMES)
    backend = cast(Literal["webgpu", "numpy"], fields.choice("backend", "webgpu", "numpy"))
    inputs = _places(fields.objects("inputs"), backend, (*DTYPES, *four_bits.ARRAYS))
    outputs = _places(fields.objects("outputs"), backend, DTYPES)
    plan = _gpu_plan(fields.fields("plan")) if backend == "webgpu" else _numpy_plan(fields.fields("plan"))
    check(plan, inputs, outputs)
    stored = stored_weights(fields.fields("weights"))
    stored.check(plan.constant_sizes)
    return Header(
        engine=fields.text("engine"),
        backend=backend,
        precision=cast(Computed, fields.choice("precision", *get_args(Computed))),
        inputs=inputs,
        outputs=outputs,
        plan=plan,
        counts=_counts(fields.fields("counts")),
        origin=origin(fields),
        metadata=fields.mapping("metadata"),
        stored=stored,
    )


def origin(fields: Fields) -> ModelOrigin:
    """The model that a header says was compiled. Raises HeaderError."""
    values = fields.fields("origin").only(frozenset({"name", "sha256", "licence"}))
    return ModelOrigin(values.text("name"), values.text("sha256"), values.text("licence"))


def _places(objects: list[Fields], backend: str, dtypes: tuple[str, ...]) -> tuple[TensorPlace, ...]:
    places = []
    for fields in objects:
        fields.only(_PLACE)
        dtype, shape = fields.choice("dtype", *dtypes), fields.integers("shape")
        if len(shape) > MAX_AXES:
            raise HeaderError(f"{fields.place('shape')} has more than {MAX_AXES} axes")
        places.append(
            TensorPlace(
                name=fields.text("name"),
                dtype=dtype,
                shape=shape,
                storage=fields.choice("storage", *(STORAGE_BYTES if backend == "webgpu" else (dtype,))),
                buffer=None if fields.is_null("buffer") else fields.integer("buffer"),
                offset=fields.integer("offset"),
            )
        )
    return tuple(places)


def _counts(fields: Fields) -> GraphCounts:
    fields.only(frozenset({"in_file", "loaded", "planned", "passes"}))
    in_file, loaded, planned = (fields.integer(name) for name in ("in_file", "loaded", "planned"))
    return GraphCounts(in_file, loaded, planned, fields.counts("passes"))


def _numpy_plan(fields: Fields) -> NumpyPlan:
    fields.only(frozenset({"graph", "buffers"}))
    return NumpyPlan(fields.mapping("graph"), fields.integers("buffers"))


def _gpu_plan(fields: Fields) -> GpuPlan:
    fields.only(_GPU_PLAN)
    needs = fields.fields("needs").only(frozenset({"limits", "features", "subgroup_lanes"}))
    try:
        uniforms = base64.b64decode(fields.text("uniforms"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise HeaderError(f"plan.uniforms is no base64: {error}") from error
    return GpuPlan(
        needs=Needs(
            limits=needs.counts("limits"),
            features=needs.texts("features"),
            subgroup_lanes=needs.integer("subgroup_lanes"),
        ),
        buffers=fields.integers("buffers"),
        constant_buffers=fields.integer("constant_buffers"),
        programs=tuple(_program(program) for program in fields.objects("programs")),
        commands=tuple(_command(command) for command in fields.objects("commands")),
        uniforms=uniforms,
        peak_bytes=fields.integer("peak_bytes"),
    )


def _program(fields: Fields) -> CompiledProgram:
    fields.only(frozenset({"kernel", "wgsl", "trusted"}))
    wgsl = fields.text("wgsl")
    if "\0" in wgsl:
        raise HeaderError(f"{fields.place('wgsl')} holds a NUL")
    return CompiledProgram(fields.text("kernel"), wgsl, fields.boolean("trusted"))


def _command(fields: Fields) -> Command:
    fields.only(_COMMAND)
    place = fields.place("bindings")
    bindings = [_binding(value, place) for value in fields.array("bindings")]
    grid = fields.integers("grid", least=1)
    if len(grid) != 3:
        raise HeaderError(f"{fields.place('grid')} has {len(grid)} extents, not 3")
    return Command(
        label=fields.text("label"),
        op=fields.text("op"),
        node=fields.text("node"),
        flops=fields.integer("flops"),
        bytes=fields.integer("bytes"),
        program=fields.integer("program"),
        uniform=fields.integer("uniform"),
        uniform_bytes=fields.integer("uniform_bytes", least=4),
        bindings=tuple(bindings),
        grid=(grid[0], grid[1], grid[2]),
    )


def _binding(value: object, place: str) -> Binding:
    numbers = array(value, place)
    if len(numbers) != 3:
        raise HeaderError(f"{place} is no array of [buffer, offset, size]")
    buffer, offset, size = numbers
    return Binding(integer(buffer, place), integer(offset, place), integer(size, place, least=4))
