"""Models compiled for NumPy: the graph after the passes as data, and what opening it would have to read weights for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.compiled.model import CompiledModel, GraphCounts, ModelOrigin, NumpyPlan, TensorPlace
from engine.cpu import graph_data
from engine.cpu.executor import NumpyExecutor
from engine.errors import ModelError
from engine.graph.bounds import needs_direct
from engine.graph.ir import Graph, Value


def compile_numpy(
    graph: Graph,
    *,
    outputs: Sequence[Value] | None = None,
    counts: GraphCounts | None = None,
    origin: ModelOrigin | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> CompiledModel:
    """The compiled model of a graph that the passes have gone over.

    ``outputs`` have the names of the outputs, where the passes have changed these. The weights of the result hold the
    graph's arrays, and copy none.
    """
    data, constants = graph_data.dump(graph)
    data["direct"] = needs_direct(graph)
    nodes = len(graph.nodes)
    return CompiledModel(
        backend="numpy",
        precision="f32",
        inputs=tuple(_place(value.name, value, narrow=value.narrow) for value in graph.inputs),
        outputs=tuple(
            _place(named.name, value) for named, value in zip(outputs or graph.outputs, graph.outputs, strict=True)
        ),
        plan=NumpyPlan(data, (constants.nbytes,) if constants.nbytes else ()),
        weights=constants,
        counts=counts or GraphCounts(in_file=nodes, loaded=nodes, planned=nodes),
        origin=origin or ModelOrigin(name=graph.name),
        metadata=metadata or {},
    )


def open_numpy(model: CompiledModel, threads: int | None = None) -> NumpyExecutor:
    """The executor of a model that was compiled for NumPy.

    Raises ModelError where its plan is damaged, and TooLargeError as the executor does.
    """
    plan = model.plan
    if not isinstance(plan, NumpyPlan):
        raise ModelError(f"the model was compiled for {model.backend}; compile it for numpy")
    graph = graph_data.load(plan.graph, plan.buffers, model.weights, trusted=model.trusted)
    direct = plan.graph.get("direct")
    places = [*model.inputs, *model.outputs]
    types = [(value.dtype.name, value.shape) for value in (*graph.inputs, *graph.outputs)]
    if type(direct) is not bool or types != [(place.array_dtype, place.shape) for place in places]:
        raise ModelError("the compiled model is damaged: its inputs or outputs are not the graph's; compile it again")
    return NumpyExecutor(graph, threads, direct=direct)


def _place(name: str, value: Value, *, narrow: str = "") -> TensorPlace:
    """Runs copy inputs and outputs from and to arrays of the caller's: there is no buffer for them to lie in."""
    dtype = narrow or value.dtype.name
    return TensorPlace(name, dtype, value.shape, dtype, None, 0)
