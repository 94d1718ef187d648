"""Layers measured by several processes, which prepare at once and measure in turn.

A row costs many times what the GPU works for it: it is lowered, compiled, put on the device, and its result read back
and held to the oracle's. Processes do that side by side.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np

from engine.gpu.device.adapters import Adapter, implementation_list
from engine.gpu.device.device import open_device
from engine.tuning.cases import Case
from tools.kernel_lab.measure import Layer, Result, measure_layer
from tools.kernel_lab.turns import CONTEXT, Turns

_turns: list[Turns] = []
"""Those that this process was begun with."""


def measure(
    adapter: Adapter, layers: Sequence[Layer], *, seconds: float, rows: Collection[str] | None = None, workers: int = 1
) -> Iterator[tuple[Layer, list[Result]]]:
    """Each layer with the results of its rows, as they come, until the seconds are over. ``rows`` names those that
    count."""
    end = time.monotonic() + seconds
    if workers == 1:
        device, turns = open_device(adapter), Turns()
        for layer in layers:
            if results := measure_layer(device, layer.case, rows=rows, end=end, turns=turns):
                yield layer, results
        return
    with ProcessPoolExecutor(workers, CONTEXT, _begin, (Turns(workers),)) as pool:
        place = adapter.implementation, adapter.position
        futures = {pool.submit(_in_worker, *place, layer.case, rows, end): layer for layer in layers}
        for future in as_completed(futures):
            if not future.cancelled() and (results := future.result()):
                yield futures[future], results
            if time.monotonic() >= end:
                for each in futures:
                    each.cancel()


def _begin(turns: Turns) -> None:
    _turns.append(turns)


def _in_worker(
    implementation: str, position: int, case: Case, rows: Collection[str] | None, end: float
) -> list[Result]:
    device = open_device(implementation_list(implementation).adapters[position])
    with np.errstate(all="ignore"):
        return measure_layer(device, case, rows=rows, end=end, turns=_turns[0])
