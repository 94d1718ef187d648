"""The layers of some networks, and what each takes with each of its rows."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import median

from engine.caps import Caps, Precision
from engine.compiled.model import GpuPlan
from engine.errors import EngineError
from engine.gpu.device.device import Device
from engine.graph.model_file import ModelFile
from engine.tuning.cases import Case, cases
from engine.tuning.timing import Timing, Trial, compile_ahead

SLOW = 1.5
"""A row that takes this many times as long as the best one so far is measured once."""

LONG_SECONDS = 0.2
"""A row that takes longer than this, as on a software adapter, is measured once."""

SAMPLES = 5
"""Measurements of which the median counts."""

ROW_WAKE_SECONDS = 0.02
"""Seconds of work before a row is measured: the clock of the GPU is awake from the rows before it."""


@dataclass(slots=True)
class Layer:
    """One distinct layer, and how many layers each network has that equal it."""

    case: Case
    models: dict[str, int]
    flops: int


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
            if families is not None and case.family not in families:
                continue
            if case.key in layers:
                layers[case.key].models[name] = layers[case.key].models.get(name, 0) + case.count
            else:
                plan = case.compile(case.row).plan
                assert isinstance(plan, GpuPlan)
                layers[case.key] = Layer(case, {name: case.count}, sum(command.flops for command in plan.commands))
    return sorted(layers.values(), key=lambda layer: layer.flops * sum(layer.models.values()), reverse=True)


def _bound(file: ModelFile, shape: Sequence[int]) -> dict[str, Sequence[int]] | None:
    name, dims = next(iter(file.inputs.items()))
    is_open = not all(isinstance(extent, int) for extent in dims)
    return {name: shape} if is_open else None


def measure(
    device: Device, layers: Sequence[Layer], *, seconds: float, rows: Collection[str] | None = None
) -> Iterator[tuple[Layer, list[Result]]]:
    """Each layer with the results of its rows, until the seconds are over. ``rows`` names those that count.

    A row that the device refuses is told on standard error, and left out.
    """
    end = time.perf_counter() + seconds
    for layer, following in zip_longest(layers, layers[1:]):
        if following is not None:
            for name in following.case.rows:
                if rows is None or name in rows:
                    compile_ahead(device, following.case, name)
        seed, results = secrets.randbits(32), list[Result]()
        names = [layer.case.row, *(row for row in layer.case.rows if row != layer.case.row)]
        for name in names:
            if (rows is None or name in rows) and time.perf_counter() < end:
                best = min((result.timing.seconds for result in results), default=float("inf"))
                try:
                    results.append(_result(device, layer.case, name, seed, best))
                except EngineError as error:
                    print(f"{layer.case.key}, {name}: {error}", file=sys.stderr)
        layer.case.forget()
        if results:
            yield layer, results


def _result(device: Device, case: Case, row: str, seed: int, best: float) -> Result:
    with Trial(device, case, row) as trial:
        trial.check(seed)
        # the first one says how often a measurement repeats the layer
        samples = [trial.sample()]
        if samples[0] <= LONG_SECONDS:
            samples = [trial.sample()]
        if samples[0] <= min(SLOW * best, LONG_SECONDS):
            trial.wake(ROW_WAKE_SECONDS)
            samples = trial.samples(SAMPLES)
        return Result(trial.timing(median(samples)), seed, samples)
