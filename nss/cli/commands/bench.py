"""``nss-wgpu bench``: how long a network takes to load and to run, where the time goes, and what memory it takes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.cli import interface_options
from nss.cli.grouped import grouped
from nss.cli.named_file import NamedFile
from nss.cli.run_options import (
    Backend,
    BackendOption,
    DeviceOption,
    JsonOption,
    ModelArgument,
    ModelVariantOption,
    NoCacheOption,
    Precision,
    PrecisionOption,
)
from nss.cli.table import aligned, format_bytes
from nss.cli.terminal import complain, notify

if TYPE_CHECKING:
    import engine
    from nss.interfaces.interface import Description
    from nss.models.local_models import ResolvedModel
    from nss.removal.opener import Opener
    from nss.removal.run_options import RunOptions

SLOWEST = 10
"""Dispatches that are listed one by one."""


@grouped(model_config=interface_options.interface)
def bench(
    model: ModelArgument,
    *,
    model_variant: ModelVariantOption = None,
    backend: BackendOption = Backend.AUTO,
    device: DeviceOption = None,
    precision: PrecisionOption = Precision.F32,
    no_cache: NoCacheOption = False,
    model_config: Description,
    runs: Annotated[int, typer.Option(min=1, metavar="N", help="Warm runs.")] = 9,
    profile: Annotated[bool, typer.Option("--profile", help="Also time each kernel.")] = False,
    trace: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also write the kernels as a Chrome trace.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time a network, on random input: load, first run, warm runs, and where the time goes."""
    trace_file = None if trace is None else NamedFile("--trace", trace)
    from nss.models import resolve
    from nss.models.adapter_memory import remember_adapters
    from nss.removal.opener import Opener
    from nss.removal.run_options import RunOptions

    resolved = resolve.resolve(
        model, variant=model_variant, backend=backend.value, device=device, allow_fetch=True, notify=notify
    )
    options = RunOptions(backend.value, device, precision.value)
    if trace_file is not None:
        trace_file.check([resolved.path])
    remember_adapters()
    opener = Opener(resolved, model_config, use_cache=not no_cache)
    result = _measure(resolved, options, runs, opener=opener, kernels=profile or trace is not None)
    if trace_file is not None:
        trace_file.write(json.dumps(_chrome_trace(result.kernels or [])))
    if not profile:
        result.kernels = None
    if as_json:
        print(json.dumps(_as_json(result), indent=2))
        return
    for line in _lines(result):
        print(line)


@dataclass
class _Result:
    """What was measured; times in milliseconds, ``stages`` by name, a number for each warm run."""

    model: str
    info: engine.SessionInfo
    load: float
    first_run: float
    runs: list[float]
    stages: dict[str, list[float]]
    model_config: dict[str, Any]
    kernels: list[engine.KernelTime] | None = None


def _measure(model: ResolvedModel, options: RunOptions, runs: int, *, opener: Opener, kernels: bool) -> _Result:
    import engine
    from nss.removal.opening import opening

    def timed(session: engine.Session) -> float:
        start = time.perf_counter()
        session.run(inputs)
        return (time.perf_counter() - start) * 1e3

    if options.backend in ("auto", "webgpu"):
        with opening(model.path):
            engine.devices()  # finding the adapters is no part of loading a model
    start = time.perf_counter()
    with opening(model.path), opener.first(options) as session:
        load = (time.perf_counter() - start) * 1e3
        for line in opener.resolved_interface.guesses:
            notify(line)
        inputs = engine.deviates(session.inputs)
        first = timed(session)
        opener.store()
        warm, stages = [], dict[str, list[float]]()
        for _ in range(runs):
            warm.append(timed(session))
            for stage, milliseconds in session.milliseconds.items():
                stages.setdefault(stage, []).append(milliseconds)
        if session.info.backend == "webgpu":
            _add_gpu(session, stages, runs)
        kernel_times = session.profile(inputs) if kernels else None
        return _Result(
            model=model.spec.name,
            info=session.info,
            load=load,
            first_run=first,
            runs=warm,
            stages=stages,
            model_config=opener.resolved_interface.as_json(),
            kernels=kernel_times,
        )


def _median(numbers: Sequence[float]) -> float:
    from statistics import median  # it takes as long to load as the rest of this file

    return median(numbers)


def _add_gpu(session: engine.Session, stages: dict[str, list[float]], runs: int) -> None:
    """Split the wait for the result into what the GPU computes, by its own clock, and the rest: reading back."""
    import engine

    try:
        seconds = session.gpu_seconds(runs)
    except engine.BackendError as error:
        complain(str(error))
        return
    stages["gpu"] = [duration * 1e3 for duration in seconds]
    rest = _median(stages["wait"]) - _median(stages["gpu"])
    stages["readback"] = [max(0.0, rest)]


def _as_json(result: _Result) -> dict[str, Any]:
    return {
        "model": result.model,
        "model_config": result.model_config,
        **asdict(result.info),
        "milliseconds": {
            "load": result.load,
            "first_run": result.first_run,
            "run": _summary(result.runs),
            **{stage: _summary(durations) for stage, durations in result.stages.items()},
        },
        "runs": len(result.runs),
        "kernels": None if result.kernels is None else [asdict(kernel) for kernel in result.kernels],
    }


def _summary(milliseconds: Sequence[float]) -> dict[str, float]:
    return {"median": _median(milliseconds), "min": min(milliseconds)}


def _lines(result: _Result) -> list[str]:
    info = result.info
    rows = [
        ["", "median ms", "min ms"],
        ["load", f"{result.load:.2f}", ""],
        ["first run", f"{result.first_run:.2f}", ""],
    ]
    for stage, durations in {"run": result.runs, **result.stages}.items():
        rows.append([stage, f"{_median(durations):.2f}", f"{min(durations):.2f}" if len(durations) > 1 else ""])
    lines = [
        f"{result.model} on {info.backend}, {info.device}, {info.precision} ({info.reason})",
        *([f"kernels: {info.tuning}"] if info.tuning else []),
        "",
        *aligned(rows, numbers=(1, 2)),
        "",
        f"weights {format_bytes(info.weight_bytes)}, activations {format_bytes(info.activation_buffer_bytes)} "
        f"(planned peak {format_bytes(info.peak_activation_bytes)}), scratch {format_bytes(info.scratch_bytes)}",
    ]
    if result.kernels is not None:
        lines += ["", *_kernel_table(result.kernels), "", *_slowest(result.kernels)]
    return lines


def _kernel_table(kernels: Sequence[engine.KernelTime]) -> list[str]:
    by_name: dict[str, list[engine.KernelTime]] = {}
    for kernel in kernels:
        by_name.setdefault(kernel.kernel, []).append(kernel)
    whole = sum(kernel.seconds for kernel in kernels) or 1.0
    rows = [["KERNEL", "CALLS", "MS", "%", "GFLOP", "MB", "GFLOP/S", "GB/S"]]
    totals = sorted(by_name.items(), key=lambda item: -sum(kernel.seconds for kernel in item[1]))
    for name, group in [*totals, ("all", list(kernels))]:
        seconds = sum(kernel.seconds for kernel in group)
        flops, nbytes = sum(kernel.flops for kernel in group), sum(kernel.nbytes for kernel in group)
        rows.append(
            [
                name,
                str(len(group)),
                f"{seconds * 1e3:.3f}",
                f"{100 * seconds / whole:.1f}",
                f"{flops / 1e9:.3f}" if flops else "-",
                f"{nbytes / 1e6:.2f}" if nbytes else "-",
                *_rates(flops, nbytes, seconds),
            ]
        )
    return aligned(rows, numbers=range(1, 8))


def _slowest(kernels: Sequence[engine.KernelTime]) -> list[str]:
    rows = [["SLOWEST", "NODE", "KERNEL", "MS", "GFLOP/S", "GB/S"]]
    for kernel in sorted(kernels, key=lambda kernel: -kernel.seconds)[:SLOWEST]:
        rates = _rates(kernel.flops, kernel.nbytes, kernel.seconds)
        rows.append([kernel.op or "copy", kernel.node or "-", kernel.kernel, f"{kernel.seconds * 1e3:.3f}", *rates])
    return aligned(rows, numbers=(3, 4, 5))


def _rates(flops: int, nbytes: int, seconds: float) -> tuple[str, str]:
    return (
        f"{flops / seconds / 1e9:.1f}" if flops and seconds else "-",
        f"{nbytes / seconds / 1e9:.1f}" if nbytes and seconds else "-",
    )


def _chrome_trace(kernels: Sequence[engine.KernelTime]) -> dict[str, Any]:
    """The kernels one behind the other, as chrome://tracing and ui.perfetto.dev read them; microseconds."""
    events: list[dict[str, Any]] = []
    begin = 0.0
    for kernel in kernels:
        duration = kernel.seconds * 1e6
        events.append(
            {
                "name": f"{kernel.op or 'copy'} {kernel.node}".strip(),
                "cat": kernel.kernel,
                "ph": "X",
                "ts": begin,
                "dur": duration,
                "pid": 1,
                "tid": 1,
                "args": {"kernel": kernel.kernel, "flops": kernel.flops, "bytes": kernel.nbytes},
            }
        )
        begin += duration
    return {"traceEvents": events, "displayTimeUnit": "ms"}
