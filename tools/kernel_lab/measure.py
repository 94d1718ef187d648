"""The layers of some networks, and what each takes with each of its rows."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import median

from engine.caps import Caps, Precision
from engine.compiled.model import CompiledModel, GpuPlan
from engine.errors import DeviceLostError, EngineError
from engine.gpu.device.adapters import Adapter
from engine.gpu.device.device import Device
from engine.graph.model_file import ModelFile
from engine.memory import available_memory
from engine.tuning.cases import Case, cases
from engine.tuning.race import DROPPED, first_sample, pace, race
from engine.tuning.timing import Timing, Trial, compile_ahead
from tools.kernel_lab.turns import Turns

LONG_SECONDS = 0.2
"""A row that takes longer than this, as on a software adapter, is measured once."""

CLEAR = 10.0
"""How many times the best a single cold run takes at the least to say that a row is slow, whatever the clock is."""

GROUP_BYTES = 8 << 30
"""Rows of a layer that are on the device at once, and measured in turn, take no more than this together, with those
of the other processes."""

OWN_SHARE = 0.5
"""Of what the machine has free, where the device has no memory of its own."""


@dataclass(slots=True)
class Layer:
    """One distinct layer, and how many layers each network has that equal it."""

    case: Case
    models: dict[str, int]


@dataclass(frozen=True, slots=True)
class Result:
    """What a row took: the timing, all measurements in seconds, and the seed of the input."""

    timing: Timing
    seed: int
    samples: list[float] = field(default_factory=list)


def layers_of(
    models: Sequence[tuple[str, ModelFile]],
    caps: Caps,
    precision: Precision,
    *,
    shape: Sequence[int],
    families: Collection[str] | None = None,
) -> list[Layer]:
    """The distinct layers of all models, by name, those with most work first.

    ``shape`` is that of a model's first input where the file leaves it open.
    """
    layers: dict[str, Layer] = {}
    for name, file in models:
        for case in cases(file, caps, precision, input_shapes=_bound(file, shape)):
            if families is None or case.family in families:
                counts = layers.setdefault(case.key, Layer(case, {})).models
                counts[name] = counts.get(name, 0) + case.count
    return sorted(layers.values(), key=lambda layer: layer.case.flops * sum(layer.models.values()), reverse=True)


def _bound(file: ModelFile, shape: Sequence[int]) -> dict[str, Sequence[int]] | None:
    name, dims = next(iter(file.inputs.items()))
    is_open = not all(isinstance(extent, int) for extent in dims)
    return {name: shape} if is_open else None


def measure_layers(
    device: Device, layers: Sequence[Case], *, rows: Collection[str] | None, end: float, turns: Turns
) -> Iterator[list[Result]]:
    """The results of each layer's rows, until ``end`` (time.monotonic); the kernels of the next one compile meanwhile.

    ``rows`` names those that count. A row that the device refuses is told on standard error, and left out, as all are
    of a layer that the oracle refuses. Raises DeviceLostError.
    """
    software, room = device.adapter.software, group_bytes(device.adapter) // turns.processes
    following: dict[str, CompiledModel] | None = None
    for case, successor in zip_longest(layers, layers[1:]):
        if time.monotonic() >= end:
            return
        # what a software adapter takes is what the preparations of others leave it
        with turns.beside() if software else nullcontext():
            models = _models(device, case, rows) if following is None else following
            following = None if software or successor is None else _models(device, successor, rows)
            seed = secrets.randbits(32)
            try:
                case.oracle(seed)
            except EngineError as error:
                print(f"{case.key}: {error}", file=sys.stderr)
                models = {}
            for model in models.values():
                _wait(device, model)
        yield _measure_layer(device, case, models, seed, room=room, end=end, turns=turns)
        case.forget()


def _measure_layer(
    device: Device, case: Case, models: Mapping[str, CompiledModel], seed: int, *, room: int, end: float, turns: Turns
) -> list[Result]:
    """The results of the rows, the table's own first; none where ``end`` came before the last had its turn."""
    results = list[Result]()
    for group in groups(models, room):
        with ExitStack() as trials:
            checked: list[Trial] = []
            for row in group:
                if time.monotonic() >= end:
                    return []
                try:
                    with turns.beside():
                        trial = trials.enter_context(Trial(device, case, row, models[row]))
                        outputs = trial.outputs(seed)
                    trial.compare(seed, outputs)
                    checked.append(trial)
                except DeviceLostError:
                    raise
                except EngineError as error:
                    print(f"{case.key}, {row}: {error}", file=sys.stderr)
            best = min((result.timing.seconds for result in results if result.timing.is_right), default=float("inf"))
            with turns.alone():
                measured = _samples(checked, best, end, clock_varies=device.core_clock.varies)
            results += [
                Result(trial.timing(median(measured[trial.row])), seed, measured[trial.row]) for trial in checked
            ]
    return results


def _models(device: Device, case: Case, rows: Collection[str] | None) -> dict[str, CompiledModel]:
    """The layer with each row, the table's own first; threads have begun to compile the programs."""
    models: dict[str, CompiledModel] = {}
    for row in sorted(case.rows, key=lambda row: row != case.row):
        if rows is None or row in rows:
            try:
                models[row] = compile_ahead(device, case, row)
            except EngineError as error:
                print(f"{case.key}, {row}: {error}", file=sys.stderr)
    return models


def _wait(device: Device, model: CompiledModel) -> None:
    """Wait for a model's programs; what fails there fails again, and is told, when it is put on the device."""
    assert isinstance(model.plan, GpuPlan)
    for program in model.plan.programs:
        device.compile(program, trusted=True).exception()


def group_bytes(adapter: Adapter) -> int:
    """What rows may take together on a device of that adapter.

    WebGPU does not say how much memory there is: what a single buffer may take is surely there.
    """
    nbytes = min(GROUP_BYTES, adapter.limits["max-buffer-size"])
    return nbytes if adapter.kind == "discrete" else min(nbytes, int(OWN_SHARE * available_memory()))


def groups(models: Mapping[str, CompiledModel], room: int) -> Iterator[list[str]]:
    """The rows in groups whose buffers take no more than ``room`` bytes, or that are a single row."""
    group, total = list[str](), 0
    for row, model in models.items():
        assert isinstance(model.plan, GpuPlan)
        nbytes = sum(model.plan.buffers)
        if group and total + nbytes > room:
            yield group
            group, total = [], 0
        group.append(row)
        total += nbytes
    if group:
        yield group


def _samples(trials: Sequence[Trial], best: float, end: float, *, clock_varies: bool) -> dict[str, list[float]]:
    """Measurements of each row: several in turn, but one of what is long, wrong or slow beside ``best`` and others.

    ``clock_varies`` says that of the adapter, whose clock must be up first.
    """
    by_row = {trial.row: trial for trial in trials}
    first: dict[str, float] = {}
    for row, trial in by_row.items():
        # the first one says how often the others repeat the layer
        seconds = trial.sample()
        if seconds <= min(LONG_SECONDS, CLEAR * best):
            if clock_varies and not first:
                trial.wake()
            seconds = first_sample(row, first if clock_varies else {}, lambda each: by_row[each].sample())
        first[row] = seconds
        if trial.is_right:
            best = min(best, seconds)
    racing = {
        trial.row: trial for trial in trials if trial.is_right and first[trial.row] <= min(LONG_SECONDS, DROPPED * best)
    }
    samples: dict[str, list[float]] = {row: [] for row in racing}

    def sample(row: str) -> float:
        samples[row].append(racing[row].sample())
        return samples[row][-1]

    clock = pace(first, race(racing, sample, may_go_on=lambda: time.monotonic() < end))
    return {row: samples.get(row, [seconds * clock]) for row, seconds in first.items()}
