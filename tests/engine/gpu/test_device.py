"""Adapters and devices: the choice, what is said where there is none, loss, compile errors, sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from engine.errors import BackendError, DeviceLostError, TooLargeError
from engine.gpu.device import adapters as adapters_module
from engine.gpu.device.adapters import Adapter, choose
from engine.gpu.device.device import Device, open_device
from engine.gpu.device.listing import devices
from engine.session import Session
from tests.engine.gpu.cards import CARD, DAWN_CARD, FAKE
from tests.engine.gpu.gpu import device, executor_of
from tests.engine.models import feeds, interpret, load_graph, model, node
from tests.project import ROOT

SMALL = model([node("Conv", "x w", "y", name="c")], {"x": [1, 3, 16, 16]}, "y", {"w": np.ones((4, 3, 3, 3), "f")})


def use(monkeypatch: pytest.MonkeyPatch, *adapters: Adapter) -> None:
    for module in (adapters_module, sys.modules["engine.gpu.device.listing"]):
        monkeypatch.setattr(module, "adapters", lambda: adapters)


def test_the_first_hardware_adapter_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FAKE, CARD, DAWN_CARD)
    assert choose().adapter is CARD
    assert choose().reason == "the first hardware adapter"
    listing = devices()
    assert (listing.chosen, len(listing.adapters)) == (1, 3)


def test_a_software_adapter_is_taken_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FAKE)
    assert choose().adapter is None
    assert "only a software adapter (Slow Rasterizer" in choose().reason
    assert choose("rasterizer").adapter is FAKE
    assert devices().chosen is None
    assert devices("0").chosen == 0


@pytest.mark.parametrize(
    ("name", "index"), [("0", 0), ("2", 2), ("wgpu", 1), ("dawn", 2), ("fast card", 1), ("MESA", 0), ("580", None)]
)
def test_an_adapter_is_asked_for_by_number_or_name(
    monkeypatch: pytest.MonkeyPatch, name: str, index: int | None
) -> None:
    use(monkeypatch, FAKE, CARD, DAWN_CARD)
    if index is None:  # digits alone are a number, not part of a name
        with pytest.raises(BackendError, match="no adapter is '580'; there are 0: Slow Rasterizer"):
            choose(name)
    else:
        adapter = choose(name).adapter
        assert adapter is not None
        assert adapter.index == index


def test_half_precision_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FAKE)
    with pytest.raises(
        BackendError, match=r"'f16' is not available: adapter Slow Rasterizer .* has no shader-f16; use 'f32'"
    ):
        Session("no such file", backend="webgpu", adapter="0", precision="f16")


def test_without_a_driver_numpy_runs_and_says_why() -> None:
    """No variable hides every driver of every machine, so that the implementations are kept from looking."""
    script = """
import json, engine
from engine.gpu.device import adapters
adapters._handles = lambda implementation: []
from tests.engine.in_threads import SMALL
devices, messages = engine.devices(probe=True), {}
with engine.Session(SMALL) as session:
    messages["auto"] = [session.info.backend, session.info.reason]
for options in ({"backend": "webgpu"}, {"backend": "webgpu", "adapter": "0"}, {"precision": "f16"}):
    try:
        engine.Session("no such file", **options)
    except engine.BackendError as error:
        messages[" ".join(options)] = str(error)
print(json.dumps([len(devices.adapters), devices.reason, messages]))
"""
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=True,
    )
    count, reason, messages = json.loads(process.stdout)
    assert count == 0
    assert reason.startswith("no WebGPU adapter: ")
    assert messages["auto"] == ["numpy", reason]
    assert messages["backend"].startswith("backend 'webgpu' cannot run here: no WebGPU adapter")
    assert messages["backend adapter"].startswith("no adapter is '0'; there are no WebGPU adapter")
    assert messages["precision"] == "precision 'f16' is not available: the CPU computes in f32; use 'f32'"
    assert process.stderr == ""


def test_a_lost_device_is_left_behind() -> None:
    first = open_device(device().adapter)
    own = Device(first.adapter)
    own.lose("pulled out")
    with pytest.raises(DeviceLostError, match=r"allocating 16 bytes \(x\): the device is lost \(pulled out\)"):
        own.buffer(16, "STORAGE", "x")
    assert first.lost is None
    assert open_device(first.adapter) is first


def test_a_device_that_is_destroyed_is_lost() -> None:
    own = Device(device().adapter)
    own.handle.destroy()
    with pytest.raises(DeviceLostError, match="the device is lost"):
        own.buffer(256, "STORAGE|COPY_DST", "x")
    assert own.lost


def test_a_loss_between_two_runs_is_an_error_of_its_own() -> None:
    graph = load_graph(SMALL)
    own = Device(device().adapter)
    executor = executor_of(graph, own)
    inputs = feeds(graph)
    executor.run(inputs)
    own.lose("fell off the bus")
    with pytest.raises(DeviceLostError, match="fell off the bus"):
        executor.run(inputs)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_shader_that_does_not_compile_names_the_node(trusted: bool) -> None:
    with pytest.raises(BackendError, match=r"compiling Conv 'a' \(kernel conv\): "):
        device().pipeline("fn main( {", "Conv 'a' (kernel conv)", trusted=trusted)


def test_a_kernel_is_compiled_once() -> None:
    source = "@compute @workgroup_size(1) fn main() {}"
    first = device().pipeline(source, "nothing", trusted=True)
    assert device().pipeline(source, "nothing else", trusted=True) is first


def test_checked_kernels_compute_the_same() -> None:
    graph = load_graph(SMALL)
    inputs = feeds(graph)
    executor = executor_of(graph, Device(device().adapter, checked=True))
    (result,) = executor.run(inputs)
    np.testing.assert_allclose(result, interpret(load_graph(SMALL), inputs)[0], 1e-5, 1e-5)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max-buffer-size": 2048}, r"'.+' takes \d+ bytes; the adapter's largest buffer has 2048"),
        ({"max-storage-buffer-binding-size": 16}, r"'.+' needs a binding of \d+ bytes; the adapter allows 16"),
    ],
)
def test_a_model_too_large_for_the_adapter(limits: dict[str, int], message: str) -> None:
    with pytest.raises(TooLargeError, match=message):
        executor_of(load_graph(SMALL), limits=limits)


def test_memory_that_runs_out_says_what_the_model_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Device, nbytes: int, usage: str, label: str) -> None:  # noqa: ARG001 (one signature)
        raise TooLargeError(f"allocating {nbytes} bytes ({label}): the adapter is out of memory")

    monkeypatch.setattr(Device, "buffer", refuse)
    with pytest.raises(TooLargeError, match=r"out of memory.*; the model takes [\d,]+ bytes there$"):
        executor_of(load_graph(SMALL))


def test_the_probe_raises_nothing_and_gives_a_reason() -> None:
    device()
    for adapter in devices(probe=True).adapters:
        assert adapter.matrix_reason
        assert adapter.matrix_works in (None, True, False)
