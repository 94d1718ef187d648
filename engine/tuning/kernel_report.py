"""Which kernels a model's nodes got, why these, and what each costs."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backend import BackendChoice, resolve
from engine.caps import Caps, Precision
from engine.compiled.model import Command, CompiledModel, GpuPlan
from engine.compiler import read_graph
from engine.errors import BackendError
from engine.gpu.device.capabilities import session_caps
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.lowering.table import Decision
from engine.gpu.plan.compile_graph import compile_and_explain
from engine.gpu.plan.target import WebgpuTarget
from engine.graph.ir import Graph, Node
from engine.graph.model_file import ModelFile
from engine.graph.target import Target
from engine.opening import pass_target
from engine.parity import deviates
from engine.session_info import tensor_info
from engine.tuning.choices import Choices, choices_of

if TYPE_CHECKING:
    from engine.gpu.device.adapters import Adapter

PROFILES = 5
"""Runs of which each kernel's median counts."""


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """The row of a family's table that a layer got.

    ``reason`` is the row's own sentence. ``forced`` says that it was asked for, ``alternatives`` which other rows
    support the layer, and ``passed_over`` why each row before it was not taken.
    """

    family: str
    key: str
    row: str
    reason: str
    forced: bool
    alternatives: tuple[str, ...]
    passed_over: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeKernels:
    """One node of the planned graph, and the kernels that compute it.

    ``joined`` are the nodes that the same kernels compute, by operator. ``kernels`` has one for each dispatch, and none
    for a node that moves nothing. ``flops`` are multiplications and additions of the direct algorithm, ``nbytes`` what
    is read and written at the least. ``seconds`` is None where nothing was measured.
    """

    op: str
    name: str
    shape: tuple[int, ...]
    rows: tuple[ChosenRow, ...]
    joined: tuple[str, ...]
    kernels: tuple[str, ...]
    flops: int
    nbytes: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class KernelReport:
    """The nodes of a model's plan in running order, and what they share.

    ``device`` is the adapter, or what the plan is made for instead. ``tuning`` says whether the rows were measured
    there, and is "" without an adapter. ``unmeasured`` says why no node has seconds, and is
    "" where they have. ``copies`` are the dispatches of no node: outputs that are brought into row-major order.
    """

    device: str
    precision: str
    nodes: tuple[NodeKernels, ...]
    copies: NodeKernels
    dispatches: int
    programs: int
    tuning: str
    unmeasured: str


def kernel_report(
    model: str | Path | bytes | ModelFile,
    *,
    adapter: str | int | None = None,
    precision: Precision = "f32",
    portable: bool = False,
    measure: bool = False,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | str | None = None,
    input_values: Mapping[str, np.ndarray] | None = None,
) -> KernelReport:
    """Which kernels the nodes of ``model`` get on an adapter, and why.

    Args:
        model: as Session takes it; ``input_shapes``, ``outputs`` and ``input_values`` likewise.
        adapter: as for Session; None is the one that a session gets, or where there is none what ``portable`` says.
        precision: as for Session.
        portable: plan for what every browser has, and not for an adapter.
        measure: also run the model on random input, and time each kernel.

    Raises BackendError where the adapter or the precision is not there, where ``measure`` has no adapter, and what
    Session raises.
    """
    found = None if portable else _adapter(adapter, precision, needed=measure)
    if found is None and measure:
        raise BackendError("kernels are timed on an adapter: leave 'portable' out")
    if found is None:  # what every browser gets is downloaded
        caps = Caps(features=("shader-f16",) if precision == "f16" else (), compact=True)
        target: Target = WebgpuTarget(caps, precision == "f16")
    else:
        caps = session_caps(found, precision)
        target = pass_target(BackendChoice("webgpu", "asked for", found), precision)
    with np.errstate(all="ignore"):
        read = read_graph(
            model,
            input_shapes=input_shapes,
            outputs=outputs,
            input_values=input_values,
            pass_target=target,
        )
        choices = Choices() if found is None else choices_of(found, precision)
        compiled, lowering = compile_and_explain(read.graph, caps, precision=precision, preferences=choices.rows)
        seconds, unmeasured = None, "not measured"
        if measure and found is not None:
            if found.timestamps:
                inputs = list(deviates([*map(tensor_info, read.inputs)]).values())
                seconds, unmeasured = _seconds(compiled, found, inputs), ""
            else:
                unmeasured = f"not measured: {found} has no timestamp queries"
    plan = compiled.plan
    assert isinstance(plan, GpuPlan)
    device = "every browser (the guaranteed limits)" if found is None else str(found)
    tuning = choices.describe({decision.key for decision in lowering.decisions if decision.alternatives})
    return _report(
        read.graph,
        lowering,
        plan,
        seconds,
        device=device,
        precision=precision,
        tuning="" if found is None else tuning,
        unmeasured=unmeasured,
    )


def _adapter(adapter: str | int | None, precision: str, *, needed: bool) -> Adapter | None:
    """The adapter that was asked for, else the one that a session gets; None where there is none and none is needed."""
    if adapter is not None or needed:
        return resolve("webgpu", precision, adapter).adapter
    return resolve("auto", "f32", None).adapter


def _seconds(model: CompiledModel, adapter: Adapter, inputs: Sequence[np.ndarray]) -> list[float]:
    """What each command of a model takes, with the GPU's clock awake."""
    from engine.gpu.device.device import open_device
    from engine.gpu.run.executor import GpuExecutor

    with closing(GpuExecutor(model, open_device(adapter))) as executor:
        executor.run(inputs)
        executor.device.core_clock.wake(lambda: sum(executor.gpu_seconds()))
        # a software adapter takes long
        profiles = [executor.profile(inputs) for _ in range(1 if adapter.software else PROFILES)]
        return [median(kernel.seconds for kernel in kernels) for kernels in zip(*profiles, strict=True)]


def _report(
    graph: Graph, lowering: Lowering, plan: GpuPlan, seconds: Sequence[float] | None, **facts: str
) -> KernelReport:
    commands: dict[Node | None, list[tuple[Command, float | None]]] = {}
    known = set(graph.nodes)
    dispatch = -1
    for index, command in enumerate(plan.commands):
        # the first range of a dispatch's rows begins with row 0
        (first_row,) = struct.unpack_from("<i", plan.uniforms, command.uniform)
        dispatch += first_row == 0
        node = lowering.nodes[dispatch]
        entry = command, None if seconds is None else seconds[index]
        commands.setdefault(node if node in known else None, []).append(entry)
    decisions: dict[Node, list[Decision[Any]]] = {}
    for decision in lowering.decisions:
        decisions.setdefault(decision.node, []).append(decision)
    joined: dict[Node, list[str]] = {}
    for node, owner in lowering.joined.items():
        joined.setdefault(owner, []).append(node.op)

    def entry_of(node: Node | None) -> NodeKernels:
        own = commands.get(node, [])
        times = [time for _, time in own if time is not None]
        return NodeKernels(
            op=node.op if node else "copy",
            name=(node.name or node.output.name) if node else "",
            shape=node.output.shape if node else (),
            rows=tuple(map(_chosen, decisions.get(node, []))) if node else (),
            joined=tuple(joined.get(node, [])) if node else (),
            kernels=tuple(plan.programs[command.program].kernel for command, _ in own),
            flops=sum(command.flops for command, _ in own),
            nbytes=sum(command.bytes for command, _ in own),
            seconds=None if seconds is None else sum(times),
        )

    return KernelReport(
        nodes=tuple(entry_of(node) for node in graph.nodes if node not in lowering.joined),
        copies=entry_of(None),
        dispatches=len(plan.commands),
        programs=len(plan.programs),
        **facts,
    )


def _chosen(decision: Decision[Any]) -> ChosenRow:
    return ChosenRow(
        family=decision.family,
        key=decision.key,
        row=decision.row.name,
        reason=decision.row.reason,
        forced=decision.forced,
        alternatives=tuple(decision.alternatives),
        passed_over=decision.passed_over,
    )
