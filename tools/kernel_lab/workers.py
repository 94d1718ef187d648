"""Layers measured by several processes, which prepare at once and measure in turn.

A row costs many times what the GPU works for it: it is lowered, compiled, put on the device, and its result read back
and held to the oracle's. Processes do that side by side.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

import numpy as np

from engine.gpu.device.adapters import Adapter, implementation_list
from engine.gpu.device.device import open_device
from engine.tuning.cases import Case
from tools.kernel_lab.measure import Layer, Result, measure_layers
from tools.kernel_lab.turns import CONTEXT, Turns

SHARE = 4
"""Layers that a process is given at once: the kernels of each compile while the one before it is measured."""

_turns: list[Turns] = []
"""Those that this process was begun with."""


def measure(
    adapter: Adapter, layers: Sequence[Layer], *, seconds: float, rows: Collection[str] | None = None, workers: int = 1
) -> Iterator[tuple[Layer, list[Result]]]:
    """Each layer with the results of its rows, as they come, until the seconds are over. ``rows`` names those that
    count."""
    end = time.monotonic() + seconds
    if workers == 1:
        cases = [layer.case for layer in layers]
        found = measure_layers(open_device(adapter), cases, rows=rows, end=end, turns=Turns())
        # behind the last results there are no more layers
        yield from ((layer, results) for layer, results in zip(layers, found, strict=False) if results)
        return
    place = adapter.implementation, adapter.position
    shares = [
        layers[first + start :: workers][:SHARE]
        for first in range(0, len(layers), workers * SHARE)
        for start in range(workers)
    ]
    with ProcessPoolExecutor(workers, CONTEXT, _begin, (Turns(workers),)) as pool:
        futures = {
            pool.submit(_in_worker, *place, [layer.case for layer in share], rows, end): share for share in shares
        }
        try:
            for future in as_completed(futures):
                if not future.cancelled():
                    pairs = zip(futures[future], future.result(), strict=False)
                    yield from ((layer, results) for layer, results in pairs if results)
                if time.monotonic() >= end:
                    _cancel(futures)
        finally:
            _cancel(futures)  # else the pool has all the others run where one of them raised


def _cancel(futures: Iterable[Future[Any]]) -> None:
    """Cancel those that wait; the pool's own way would have ``as_completed`` wait for them."""
    for future in futures:
        future.cancel()


def _begin(turns: Turns) -> None:
    _turns.append(turns)


def _in_worker(
    implementation: str, position: int, cases: Sequence[Case], rows: Collection[str] | None, end: float
) -> list[list[Result]]:
    device = open_device(implementation_list(implementation).adapters[position])
    with np.errstate(all="ignore"):
        return list(measure_layers(device, cases, rows=rows, end=end, turns=_turns[0]))
