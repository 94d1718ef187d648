"""A graph → a model compiled for webgpu: checked, lowered and planned, without a device."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from engine.caps import PORTABLE, Caps, Precision
from engine.compiled.model import CompiledModel, GraphCounts, ModelOrigin
from engine.errors import BackendError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.lowering.missing_kernels import check
from engine.gpu.lowering.split_operands import allowed_caps
from engine.gpu.plan.plan import make_plan
from engine.graph.ir import Graph, Value


def compile_graph(
    graph: Graph,
    caps: Caps = PORTABLE,
    *,
    precision: Precision = "f32",
    outside: Collection[Value] | None = None,
    choices: Mapping[str, str] | None = None,
    preferences: Mapping[str, str] | None = None,
    outputs: Sequence[Value] | None = None,
    counts: GraphCounts | None = None,
    origin: ModelOrigin | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> CompiledModel:
    """The compiled model of a graph that the passes have gone over, for devices that have ``caps``.

    ``outside`` are the values that stay float32 in half precision: the graph's inputs and outputs, unless the graph is
    a part of another one. ``choices`` names implementations by tuning key or by family, and ``preferences`` by tuning
    key those that are passed over where a table lacks them, or they do not support the layer
    (engine/gpu/lowering/table.py). ``outputs`` have the names of the outputs, where the passes have changed these. The
    weights of the result hold the graph's arrays; nothing else of it holds the graph.

    Raises UnsupportedError that lists all operators without a kernel, BackendError where ``caps`` lack the precision,
    and TooLargeError, which names the tensor or the node, where they are too small.
    """
    return compile_and_explain(
        graph,
        caps,
        precision=precision,
        outside=outside,
        choices=choices,
        preferences=preferences,
        outputs=outputs,
        counts=counts,
        origin=origin,
        metadata=metadata,
    )[0]


def compile_and_explain(
    graph: Graph,
    caps: Caps,
    *,
    precision: Precision,
    outside: Collection[Value] | None = None,
    choices: Mapping[str, str] | None = None,
    preferences: Mapping[str, str] | None = None,
    outputs: Sequence[Value] | None = None,
    counts: GraphCounts | None = None,
    origin: ModelOrigin | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[CompiledModel, Lowering]:
    """What ``compile_graph`` gives, and the lowering that it is of, which knows why each node got its kernel."""
    if precision == "f16" and not caps.f16:
        raise BackendError("precision 'f16' needs the feature shader-f16, which these caps lack; use 'f32'")
    half = precision == "f16"
    caps = allowed_caps(graph, caps, precision)
    check(graph, caps, half=half)
    lowering = Lowering(graph, caps, half=half, outside=outside, choices=choices, preferences=preferences)
    inputs, results = lowering.run()
    plan = make_plan(lowering.dispatches, inputs, results, limits=caps.limits, model_name=graph.name or "the model")
    is_split = any(dispatch.params.get("split") for dispatch in lowering.dispatches)
    nodes = len(graph.nodes)
    model = CompiledModel(
        backend="webgpu",
        precision="f16" if half else "f32-split" if is_split else "f32",
        inputs=tuple(
            plan.place(value, tensor, value.narrow) for value, tensor in zip(graph.inputs, inputs, strict=True)
        ),
        outputs=tuple(
            plan.place(value, tensor) for value, tensor in zip(outputs or graph.outputs, results, strict=True)
        ),
        plan=plan.data,
        weights=plan.weights(),
        counts=counts or GraphCounts(in_file=nodes, loaded=nodes, planned=nodes),
        origin=origin or ModelOrigin(name=graph.name),
        metadata=metadata or {},
    )
    return model, lowering
