"""A model file → a compiled model: plain data, which runs without the file, and without a device to compile it for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine import arguments
from engine.backend import PRECISIONS
from engine.caps import PORTABLE, Caps, Precision
from engine.compiled.model import CompiledModel, GraphCounts, ModelOrigin
from engine.errors import BackendError
from engine.graph.ir import Graph, Value
from engine.graph.load import load
from engine.graph.model_file import ModelFile
from engine.graph.passes import optimize
from engine.graph.target import ANY, Target


def compile(  # noqa: A001 (as re.compile; it is read as engine.compile)
    model: str | Path | bytes | ModelFile,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | str | None = None,
    input_values: Mapping[str, np.ndarray] | None = None,
    precision: Precision = "f32",
    caps: Caps = PORTABLE,
    backend: Literal["webgpu", "numpy"] = "webgpu",
    origin: ModelOrigin | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> CompiledModel:
    """Compile ``model`` for devices that have ``caps``, by default what every browser has. No device is opened.

    ``model``, ``input_shapes``, ``outputs`` and ``input_values`` are as Session takes them. ``precision`` is what
    ``engine.caps.Precision`` says; "f16" needs the feature shader-f16 among ``caps``. ``origin`` says which model it
    is, and ``metadata`` is JSON of the caller's. The result holds the weights as they lie in the model's file, which
    stays mapped, and what the passes made of them; they are packed each time that they are asked for. The same
    arguments give the same plan and weights, byte by byte, in every process.

    Raises BackendError where there is no such backend or ``caps`` lack the precision, TooLargeError where ``caps`` are
    too small for the model, UnsupportedError for operators without a kernel, and what ``engine.graph.load.load`` does.
    """
    if precision not in PRECISIONS:
        raise BackendError(f"precision '{precision}' is unknown; choose one of {', '.join(PRECISIONS)}")
    if backend not in ("webgpu", "numpy"):
        raise BackendError(f"backend '{backend}' compiles no models; choose webgpu or numpy")
    if backend == "numpy" and precision == "f16":
        raise BackendError("precision 'f16' is not available: the CPU computes in f32; use 'f32'")
    arguments.check("caps", caps, Caps, "an engine.Caps")
    with np.errstate(all="ignore"):  # infinities and NaN are results, also of what is computed before a run
        read = read_graph(
            model,
            input_shapes=input_shapes,
            outputs=outputs,
            input_values=input_values,
            pass_target=_pass_target(backend, caps, precision),
        )
        if backend == "numpy":
            from engine.cpu.compiled import compile_numpy

            return compile_numpy(read.graph, outputs=read.outputs, counts=read.counts, origin=origin, metadata=metadata)
        from engine.gpu.plan.compile_graph import compile_graph

        return compile_graph(
            read.graph,
            caps,
            precision=precision,
            outputs=read.outputs,
            counts=read.counts,
            origin=origin,
            metadata=metadata,
        )


def _pass_target(backend: str, caps: Caps, precision: str) -> Target:
    """The backend as passes see it."""
    if backend == "numpy":
        return ANY
    from engine.gpu.plan.target import WebgpuTarget

    return WebgpuTarget(caps, precision == "f16")


@dataclass(frozen=True, slots=True)
class ReadGraph:
    """A graph, its inputs and outputs as the model names them, without data, and what became of its nodes."""

    graph: Graph
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    counts: GraphCounts


def read_graph(
    model: str | Path | bytes | ModelFile,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None,
    outputs: Sequence[str] | str | None,
    input_values: Mapping[str, np.ndarray] | None,
    pass_target: Target | None,
) -> ReadGraph:
    """The graph of a model after the passes for ``pass_target``, or without any.

    Raises what ``engine.graph.load.load`` raises.
    """
    file = model if isinstance(model, ModelFile) else ModelFile.read(model)
    graph = load(file, input_shapes=input_shapes, outputs=outputs, input_values=input_values)
    inputs = [Value(value.name, value.type, narrow=value.narrow) for value in graph.inputs]
    outputs_ = [Value(value.name, value.type) for value in graph.outputs]
    in_file, loaded = len(file.proto.graph.node), len(graph.nodes)
    fired = {} if pass_target is None else optimize(graph, pass_target)
    counts = GraphCounts(in_file=in_file, loaded=loaded, planned=len(graph.nodes), passes=fired)
    return ReadGraph(graph, inputs, outputs_, counts)
