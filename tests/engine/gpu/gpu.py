"""What the tests of the WebGPU executor share: the adapter that they run on, and comparison with the reference.

``NSS_TEST_ADAPTER`` names the adapter (``Session(adapter=…)``); without it the first one found serves, hardware or
software. Where there is none, these tests are skipped and say so; with ``NSS_REQUIRE_ADAPTER`` they fail instead. Each
process adds the adapter that it opens to the file of ``NSS_TEST_ADAPTER_LOG``, where that is set (tools/gpu_tests.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.caps import Caps, MatrixUnits
from engine.compiled.model import GpuPlan
from engine.gpu.device.adapters import Adapter, adapters
from engine.gpu.device.capabilities import caps_of
from engine.gpu.device.choice import choose, no_adapter
from engine.gpu.device.device import Device, open_device
from engine.gpu.plan.compile_graph import compile_graph
from engine.gpu.plan.target import WebgpuTarget
from engine.gpu.run.executor import GpuExecutor
from engine.graph.ir import Graph
from engine.graph.passes import optimize
from tests.engine.models import feeds, interpret, load_graph


@cache
def test_adapter() -> Adapter | None:
    """The adapter that tests run on, or None."""
    name = os.environ.get("NSS_TEST_ADAPTER")
    if name:
        return choose(name).adapter
    return adapters()[0] if adapters() else None


test_adapter.__test__ = False  # type: ignore[attr-defined]  # a name, not a test


def device() -> Device:
    """The device that tests run on, a new one after a test that loses it; skips the test where there is no adapter."""
    adapter = test_adapter()
    if adapter is None:
        if os.environ.get("NSS_REQUIRE_ADAPTER"):
            pytest.fail(no_adapter())
        pytest.skip(f"{no_adapter()}: THE WEBGPU EXECUTOR IS NOT TESTED")
    _note_use(f"{adapter.index}: {adapter}")
    return open_device(adapter)


@cache
def _note_use(adapter: str) -> None:
    log = os.environ.get("NSS_TEST_ADAPTER_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{adapter}\n")


def executor_of(
    graph: Graph,
    on: Device | None = None,
    *,
    half: bool = False,
    limits: dict[str, int] | None = None,
    choices: Mapping[str, str] | None = None,
    matrix_units: MatrixUnits | None = None,
) -> GpuExecutor:
    """The executor of a graph, on the tests' device by default.

    ``limits`` replaces limits of the device, by name, and ``matrix_units`` those that it has.
    """
    gpu = on or device()
    model = compile_graph(
        graph,
        _caps(gpu, half, limits, matrix_units),
        precision="f16" if half else "f32",
        choices=choices,
    )
    return GpuExecutor(model, gpu)


def _caps(gpu: Device, half: bool, limits: dict[str, int] | None, matrix_units: MatrixUnits | None) -> Caps:
    caps = caps_of(gpu.adapter, matrix_units=half)
    units = matrix_units or caps.matrix_units
    return replace(caps, limits={**caps.limits, **(limits or {})}, matrix_units=units)


def kernels_of(plan: GpuPlan) -> list[str]:
    """The kernel of each command."""
    return [plan.programs[command.program].kernel for command in plan.commands]


def run(
    graph: Graph,
    inputs: Sequence[np.ndarray],
    *,
    half: bool = False,
    limits: dict[str, int] | None = None,
    choices: Mapping[str, str] | None = None,
    matrix_units: MatrixUnits | None = None,
) -> tuple[list[np.ndarray], list[str]]:
    """The outputs on the GPU of a graph, which the passes change, and the kernels that computed them."""
    optimize(graph, WebgpuTarget(_caps(device(), half, limits, matrix_units), half))
    executor = executor_of(graph, half=half, limits=limits, choices=choices, matrix_units=matrix_units)
    try:
        return executor.run(inputs), kernels_of(executor.plan)
    finally:
        executor.close()


def compare(
    proto: onnx.ModelProto,
    *,
    rtol: float = 0,
    atol: float = 0,
    kernels: Sequence[str] | None = None,
    inputs: Sequence[np.ndarray] | None = None,
    limits: dict[str, int] | None = None,
    choices: Mapping[str, str] | None = None,
) -> None:
    """Assert that the GPU gives the reference's outputs; ``kernels`` are those that must have run, in order."""
    graph = load_graph(proto)
    arrays = feeds(graph) if inputs is None else inputs
    expected = interpret(graph, arrays)
    results, kernels_run = run(load_graph(proto), arrays, limits=limits, choices=choices)
    if kernels is not None:
        assert kernels_run == list(kernels)
    for result, reference in zip(results, expected, strict=True):
        assert (result.dtype, result.shape) == (reference.dtype, reference.shape)
        np.testing.assert_allclose(result, reference, rtol, atol)
