"""What a session opens: a graph compiled for its backend, and the executor that runs it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, cast

from engine.backend import BackendChoice
from engine.caps import Precision
from engine.compiled.model import CompiledModel, GpuPlan, GraphCounts
from engine.errors import BackendError
from engine.executor import Executor

if TYPE_CHECKING:
    # a compiled model runs without what reads ONNX files, and on the processor without WebGPU: imported where used
    from engine.graph.ir import Graph, Value
    from engine.graph.target import Target


def check_options(model: CompiledModel, backend: str, precision: str) -> None:
    """Raise BackendError where a compiled model is asked to be what it is not; the defaults ask for nothing."""
    if backend not in ("auto", model.backend):
        raise BackendError(
            f"the model is compiled for backend '{model.backend}', not for '{backend}'; compile it again"
        )
    fitting = {"f32": ("f32", "f32-split", "f16"), "f32-strict": ("f32",)}.get(precision, (precision,))
    if model.precision not in fitting:
        raise BackendError(f"the model is compiled in '{model.precision}', not in '{precision}'; compile it again")


def compiled(
    graph: Graph,
    choice: BackendChoice,
    precision: str,
    *,
    outside: Collection[Value] | None = None,
    outputs: Sequence[Value] | None = None,
    counts: GraphCounts | None = None,
) -> tuple[CompiledModel | Graph, str]:
    """The graph compiled for its backend, for "reference" the graph itself; and on what the choice of kernels rests."""
    if choice.backend == "reference":
        return graph, ""
    if choice.adapter is None:
        from engine.cpu.compiled import compile_numpy

        return compile_numpy(graph, outputs=outputs, counts=counts), ""
    from engine.gpu.device.capabilities import session_caps
    from engine.gpu.plan.compile_graph import compile_and_explain
    from engine.tuning.choices import choices_of

    choices = choices_of(choice.adapter, precision)
    model, lowering = compile_and_explain(
        graph,
        session_caps(choice.adapter, precision),
        precision=cast(Precision, precision),
        outside=outside,
        preferences=choices.rows,
        outputs=outputs,
        counts=counts,
    )
    return model, choices.describe({decision.key for decision in lowering.decisions if decision.alternatives})


def pass_target(choice: BackendChoice, precision: str) -> Target:
    """The backend as passes see it."""
    if choice.adapter is None:
        from engine.graph.target import ANY

        return ANY
    from engine.gpu.device.capabilities import caps_of
    from engine.gpu.plan.target import WebgpuTarget

    return WebgpuTarget(caps_of(choice.adapter, matrix_units=False), precision == "f16")


def executor(source: CompiledModel | Graph, choice: BackendChoice, in_flight: int = 1) -> tuple[Executor, str]:
    """What runs the model, and the name of what it runs on."""
    if isinstance(source, CompiledModel) and choice.adapter is not None:
        from engine.gpu.device.device import open_device
        from engine.gpu.run.executor import GpuExecutor

        return GpuExecutor(source, open_device(choice.adapter), in_flight=in_flight), str(choice.adapter)
    from engine.cpu import blas

    if isinstance(source, CompiledModel):
        from engine.cpu.compiled import open_numpy

        executor = open_numpy(source)
        return executor, blas.describe(executor.pool.threads)
    from engine.cpu.interpreter import ReferenceExecutor

    return ReferenceExecutor(source), blas.describe(1)


def uses_matrix_units(model: CompiledModel) -> bool:
    return isinstance(model.plan, GpuPlan) and model.plan.needs.subgroup_lanes > 0
