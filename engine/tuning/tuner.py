"""Choose the fastest row of the tables for each layer of a model on an adapter, and keep the choices.

Each kind of layer is run alone with every row that supports it (``contest.py``): what is slow is dropped, what is over
the tolerance left out, and the others are measured in turn. In the end the whole model runs
with the choices and without: they are kept only where it is faster with them, and gives the same within the tolerance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np

from engine import arguments
from engine.backend import resolve
from engine.caps import Precision
from engine.compiler import ReadGraph, read_graph
from engine.errors import BackendError, TooLargeError
from engine.gpu.device import memory
from engine.gpu.device.adapters import Adapter
from engine.gpu.device.capabilities import session_caps
from engine.gpu.device.device import open_device
from engine.gpu.plan.compile_graph import compile_graph
from engine.gpu.run.executor import GpuExecutor
from engine.graph.model_file import ModelFile
from engine.opening import pass_target
from engine.parity import RTOL, deviates, difference
from engine.session_info import tensor_info
from engine.tuning import store
from engine.tuning.cases import Case, cases_of
from engine.tuning.choices import choices_of
from engine.tuning.contest import Contest
from engine.tuning.record import record_of
from engine.tuning.report import TunedLayer, TuningReport

Progress = Callable[[int, int, str], None]
"""Called with how many kinds of layers are done, how many there are, and the tuning key of the next one."""

SECONDS = 60.0
"""What a tuning takes at the most, but for what is under way then."""

CLEAR_GAIN = 0.15
"""The part of its time that a row saves without doubt: the whole model may be faster with these rows alone."""

WHOLE_ROUNDS = 6
"""How often the whole model is timed with the choices, and as often without, in turn, where there is time."""

FEWEST_ROUNDS = 2
"""The same where the time is up; the first of them wakes the GPU, and does not count."""

WHOLE_SECONDS = 0.05
"""Seconds of runs of the whole model in one of these."""

MOST_RUNS = 5
"""Runs of the whole model in one of these, at most; their median counts."""


def tune(
    model: str | Path | bytes | ModelFile,
    *,
    adapter: str | int | None = None,
    precision: str = "f32",
    seconds: float = SECONDS,
    progress: Progress | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    input_values: Mapping[str, np.ndarray] | None = None,
    outputs: Sequence[str] | str | None = None,
) -> TuningReport:
    """Find the fastest implementation of each layer of ``model`` on an adapter, for all sessions to come.

    The choices are kept in the folder of ``engine.remember_adapters``, for that adapter, driver and version of the
    engine, and by the layers' shapes: other models have the good of them, too. Sessions never tune by themselves.
    It is quiet work for a GPU that nobody else uses meanwhile.

    Args:
        model, adapter, precision, input_shapes, input_values, outputs: as ``engine.Session`` takes them; of webgpu.
        seconds: when to stop. The layers with the most arithmetic in all come first.
        progress: called before each kind of layer.

    Raises BackendError where there is no such adapter, or it has no timestamps, and what opening a session raises.
    """
    arguments.check("seconds", seconds, Real, "a number")
    start = time.monotonic()
    choice = resolve("webgpu", precision, adapter)
    adapter_ = choice.adapter
    assert adapter_ is not None
    if not adapter_.timestamps:
        raise BackendError(f"{adapter_} has no timestamp queries: it cannot say what each kernel takes")
    with np.errstate(all="ignore"):
        read = read_graph(
            model,
            input_shapes=input_shapes,
            outputs=outputs,
            input_values=input_values,
            pass_target=pass_target(choice, precision),
        )
        with closing(ModelTuner(adapter_, cast(Precision, precision), read)) as tuner:
            return tuner.run(start, start + seconds, progress or (lambda *_: None))


def forget_tuning(adapter: str | int | None = None) -> tuple[str, int]:
    """Forget what is kept of an adapter; its name, and of how many kinds of layers that was.

    Raises BackendError where there is no such adapter, or the file cannot be written.
    """
    adapter_ = resolve("webgpu", "f32", adapter).adapter
    assert adapter_ is not None
    try:
        return str(adapter_), store.forget(adapter_)
    except OSError as error:
        raise BackendError(
            f"{memory.folder()} cannot be written to ({error.strerror}): no tuning is forgotten"
        ) from error


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is wrong with choices for a whole model, or ""; its seconds without them and with them, and the error."""

    fault: str
    before: float | None = None
    after: float | None = None
    error: float | None = None


class ModelTuner:
    """A model on an adapter.

    Attributes:
        whole: the model as it runs without a tuning.
    """

    def __init__(self, adapter: Adapter, precision: Precision, read: ReadGraph) -> None:
        self._adapter, self._precision, self._graph = adapter, precision, read.graph
        self._caps = session_caps(adapter, precision)
        self._device = open_device(adapter)
        self._defaults = choices_of(adapter, precision).defaults
        self._inputs = list(deviates([*map(tensor_info, read.graph.inputs)]).values())
        begin = time.monotonic()
        self.whole = self.opened(self._defaults)
        try:
            self._expected = self.whole.run(self._inputs)
        except BaseException:
            self.whole.close()
            raise
        (run_s,) = self.whole.gpu_seconds()
        self._runs = max(1, min(MOST_RUNS, round(WHOLE_SECONDS / max(run_s, 1e-9))))
        self._judging_s = time.monotonic() - begin + 2 * FEWEST_ROUNDS * self._runs * run_s

    def close(self) -> None:
        """Free the model."""
        self.whole.close()

    def run(self, start: float, end: float, progress: Progress) -> TuningReport:
        """Tune the layers until ``end``, less what the whole model takes then, and keep what was found."""
        cases = [case for case in cases_of(self._graph, self._caps, self._precision) if len(case.rows) > 1]
        cases.sort(key=lambda case: -case.count * case.flops)
        contests = [Contest(self._device, case, self._row_before(case)) for case in cases]
        layers: list[TunedLayer] = []
        with ThreadPoolExecutor(1, "nss-oracle") as threads:
            for number, contest in enumerate(contests):
                progress(number, len(cases), contest.case.key)
                if not self._adapter.software:  # whose times would be those of the preparations, too
                    for each in contests[number + 1 if number else 0 : number + 2]:
                        each.prepare(threads)
                layer = contest.result(end - self._judging_s)
                if layer is None:
                    break
                layers.append(layer)
            for contest in contests[len(layers) : len(layers) + 2]:
                contest.close()
        progress(len(layers), len(cases), "")
        report = self._judged(layers, tuple(case.key for case in cases[len(layers) :]), end)
        report = replace(report, seconds=time.monotonic() - start)
        return replace(report, record=record_of(report, self._adapter, self._caps))

    def _row_before(self, case: Case) -> str:
        """The row that a layer has without a tuning."""
        row = self._defaults.get(case.key)
        return row if row in case.rows else case.row

    def _judged(self, layers: Sequence[TunedLayer], left: tuple[str, ...], end: float) -> TuningReport:
        """The report, with the choices kept where the whole model is the better for them, or for the clear ones."""
        verdict = _Verdict("" if layers else "no kind of layer was measured" if left else "no layer has a choice")
        for least in (0.0, CLEAR_GAIN):
            tried = [layer if layer.gain >= least else replace(layer, after=layer.before) for layer in layers]
            changed = {layer.key: layer.after for layer in tried if layer.after != layer.before}
            if not changed or (least and tried == layers):
                break
            verdict = self._verdict(changed, end)
            if not verdict.fault:
                layers = tried
                break
        changes = sum(layer.after != layer.before for layer in layers)
        failure = verdict.fault or self._keep({layer.key: layer.after for layer in layers if layer.timings})
        if failure:
            reason = f"not kept: {failure}"
        elif changes:
            reason = f"kept: {changes} of {len(layers)} kinds of layers have another implementation"
        else:
            reason = "kept: the choices were the fastest already"
        return TuningReport(
            device=str(self._adapter),
            precision=self._precision,
            layers=tuple(layers),
            left=left,
            seconds_before=self.seconds(self.whole) if verdict.before is None else verdict.before,
            seconds_after=verdict.after,
            error=verdict.error,
            kept=not failure,
            failed=bool(failure) and not verdict.fault,
            reason=reason,
            seconds=0.0,
        )

    def _keep(self, chosen: Mapping[str, str]) -> str:
        """Store the choices; why that was not possible, in a line, or ""."""
        folder = memory.folder()
        if folder is None:
            return "engine.remember_adapters names no folder"
        return "" if store.keep(self._adapter, self._precision, chosen) else f"{folder} cannot be written to"

    def _verdict(self, changed: Mapping[str, str], end: float) -> _Verdict:
        """The whole model with those rows beside the model without, run in turn."""
        try:
            tuned = self.opened({**self._defaults, **changed})
        except TooLargeError:
            return _Verdict("the adapter has no memory for the model with and without them at once")
        with closing(tuned):
            results = tuned.run(self._inputs)
            error = max(
                (difference(result, array).relative for result, array in zip(results, self._expected, strict=True)),
                default=0.0,
            )
            if self._device.core_clock.is_down:
                self._device.core_clock.wake(lambda: self.seconds(self.whole))
            rounds: list[tuple[float, float]] = []
            while len(rounds) < (WHOLE_ROUNDS if time.monotonic() < end else FEWEST_ROUNDS):
                rounds.append((self.seconds(self.whole), self.seconds(tuned)))
        before, after = (median(seconds) for seconds in zip(*rounds[1:], strict=True))
        fault = "" if after < before else "the whole model is no faster with them"
        if not error <= RTOL[self._precision]:
            fault = f"with them the outputs differ by {error:.1e} of the largest value"
        return _Verdict(fault, before, after, error)

    def seconds(self, executor: GpuExecutor) -> float:
        """What the whole model takes, measured once."""
        return median(executor.gpu_seconds(self._runs))

    def opened(self, preferences: Mapping[str, str]) -> GpuExecutor:
        """The model on the device, with those rows."""
        model = compile_graph(self._graph, self._caps, precision=self._precision, preferences=preferences)
        return GpuExecutor(model, self._device, in_flight=1)
