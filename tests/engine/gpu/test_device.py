"""Adapters and devices: the choice, what is said where there is none, loss, compile errors, sizes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from engine.compiled.model import CompiledProgram
from engine.errors import BackendError, DeviceLostError, TooLargeError
from engine.gpu.device import adapters as adapters_module
from engine.gpu.device import choice as choice_module
from engine.gpu.device.adapters import Adapter, AdapterList
from engine.gpu.device.choice import choose
from engine.gpu.device.compiler import Compiler
from engine.gpu.device.device import Device, open_device
from engine.gpu.device.listing import devices
from engine.session import Session
from tests.engine.gpu.cards import CARD, DAWN_CARD, FAKE
from tests.engine.gpu.gpu import device, executor_of
from tests.engine.models import feeds, interpret, load_graph, model, node
from tests.project import ROOT, environment

SMALL = model([node("Conv", "x w", "y", name="c")], {"x": [1, 3, 16, 16]}, "y", {"w": np.ones((4, 3, 3, 3), "f")})


def use(monkeypatch: pytest.MonkeyPatch, *adapters: Adapter, dawn_failure: str = "") -> None:
    """Have the implementations show these adapters."""
    failures = {"dawn": {"dawn": dawn_failure} if dawn_failure else {}, "wgpu": {}}
    lists = {
        name: AdapterList(tuple(a for a in adapters if a.implementation == name), failure)
        for name, failure in failures.items()
    }
    monkeypatch.setattr(adapters_module, "_lists", lists)
    for module in (adapters_module, choice_module):
        monkeypatch.setattr(module, "installed_implementations", lambda: list(lists))


def test_the_first_hardware_adapter_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FAKE, CARD, DAWN_CARD)
    assert choose().adapter is DAWN_CARD
    assert choose().reason == "the first discrete adapter"
    listing = devices()
    assert (listing.chosen, len(listing.adapters)) == (0, 3)


def test_a_software_adapter_is_taken_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = replace(FAKE, number=0)
    use(monkeypatch, alone)
    assert choose().adapter is None
    assert "only a software adapter (Slow Rasterizer" in choose().reason
    assert choose("rasterizer").adapter is alone
    assert devices().chosen is None
    assert devices("0").chosen == 0


@pytest.mark.parametrize(
    ("name", "index"), [("0", 0), ("1", 1), ("wgpu", 2), ("dawn", 0), ("fast card", 0), ("MESA", 1), ("580", None)]
)
def test_an_adapter_is_asked_for_by_number_or_name(
    monkeypatch: pytest.MonkeyPatch, name: str, index: int | None
) -> None:
    use(monkeypatch, FAKE, CARD, DAWN_CARD)
    if index is None:  # digits alone are a number, not part of a name
        with pytest.raises(
            BackendError, match=r"no adapter is '580'; the adapters are 0: Fast Card 9 .*; 1: Slow Rasterizer"
        ):
            choose(name)
    else:
        adapter = choose(name).adapter
        assert adapter is not None
        assert adapter.index == index


def test_an_implementation_that_is_asked_for_and_has_no_adapter_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FAKE, dawn_failure="found no driver")
    with pytest.raises(BackendError, match=r"no adapter is 'dawn'; the adapters are 0: Slow .*; dawn found no driver"):
        choose("dawn")
    with pytest.raises(BackendError, match=r"no adapter is 'fast'; the adapters are 0: Slow [^;]*$"):
        choose("fast")


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
from engine.gpu.device.base import PythonApi
PythonApi.list_handles = lambda implementation: []
from engine.gpu.device.dawn import Dawn
Dawn.list_handles = PythonApi.list_handles
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
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    count, reason, messages = json.loads(process.stdout)
    assert count == 0
    assert reason.startswith("no WebGPU adapter: ")
    assert messages["auto"] == ["numpy", reason]
    assert messages["backend"].startswith("backend 'webgpu' cannot run here: no WebGPU adapter")
    assert messages["backend adapter"].startswith("no adapter is '0': no WebGPU adapter: ")
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


def program(wgsl: str, kernel: str = "Conv 'a' (kernel conv)", *, trusted: bool = True) -> CompiledProgram:
    return CompiledProgram(kernel, wgsl, trusted)


def shader(number: int) -> str:
    """One of many shaders, which takes its time."""
    lines = "\n".join(f"x = sin(x) * {number}.5 + a[(u32(x) + {line}u) % 64u];" for line in range(60))
    return f"""@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) g: vec3u) {{
    var x = a[g.x]; {lines} a[g.x] = x; }}"""


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("source", ["fn main( {", "@compute @workgroup_size(1) fn other() {}"])
def test_a_shader_that_does_not_compile_names_the_node(trusted: bool, source: str) -> None:
    future = device().compile(program(source), trusted=trusted)
    with pytest.raises(BackendError, match=r"compiling Conv 'a' \(kernel conv\): "):
        future.result(60)


def test_a_kernel_is_compiled_once() -> None:
    source = "@compute @workgroup_size(1) fn main() {}"
    first = device().compile(program(source, "nothing"), trusted=True)
    assert device().compile(program(source, "nothing else"), trusted=True) is first
    # with the implementation's checks it is another pipeline
    checked = device().compile(program(source, "nothing"), trusted=False)
    assert checked is not first
    assert device().compile(program(source, "nothing", trusted=False), trusted=True) is checked
    assert first.result(60) is not checked.result(60)


def test_errors_of_threads_that_compile_reach_their_own_programs_only() -> None:
    """The device is in use meanwhile, under its lock, and not even that sees an error of another thread."""
    own = device()
    sources = [shader(number) if number % 3 else f"fn main{number}( {{" for number in range(12)]
    futures = [own.compile(program(source, f"kernel {n}"), trusted=True) for n, source in enumerate(sources)]
    buffer = own.buffer(1 << 16, "STORAGE|COPY_DST|COPY_SRC", "x")
    staging = own.buffer(1 << 16, "MAP_READ|COPY_DST", "x")
    rounds = 0
    while rounds < 5 or not all(future.done() for future in futures):
        data = np.full(1 << 14, rounds, np.uint32)
        with own.guarded("copying"):
            own.write(buffer, 0, data)
            encoder = own.handle.create_command_encoder()
            encoder.copy_buffer_to_buffer(buffer, 0, staging, 0, 1 << 16)
            own.handle.queue.submit([encoder.finish()])
            assert np.array_equal(own.read(staging, 1 << 16).view(np.uint32), data)
        rounds += 1
    for number, future in enumerate(futures):
        if number % 3:
            assert future.result(60) is not None
        else:
            with pytest.raises(BackendError, match=rf"compiling kernel {number}: "):
                future.result(60)
    assert own.compile(program(sources[0], "kernel 0"), trusted=True) is not futures[0]  # which is tried again


def test_a_thread_that_holds_the_device_does_not_keep_others_from_compiling() -> None:
    own = device()
    with own.guarded("holding it"):
        assert own.compile(program(shader(99), "kernel"), trusted=True).result(60) is not None


def test_a_lost_device_compiles_nothing() -> None:
    own = Device(device().adapter)
    own.lose("pulled out")
    with pytest.raises(DeviceLostError, match=r"compiling kernel: the device is lost \(pulled out\)"):
        own.compile(program(shader(98), "kernel"), trusted=True).result(60)


def test_a_system_that_gives_no_thread_says_so_and_one_that_gives_few_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:  # noqa: ARG001 (one signature)
        raise RuntimeError("can't start new thread")

    compiler = Compiler()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(BackendError, match="compiling kernels: can't start new thread; allow this process more"):
            compiler.submit(lambda: 1).result(60)
    release = threading.Event()
    first = compiler.submit(release.wait)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        others = [compiler.submit(partial(int, number)) for number in range(3)]
    release.set()
    assert first.result(60)
    assert [other.result(60) for other in others] == [0, 1, 2]


LEAVE = """
import sys
from engine.compiled.model import CompiledProgram
from engine.gpu.device.choice import choose
from engine.gpu.device.device import open_device
own = open_device(choose(sys.argv[1]).adapter)
for source in sys.stdin.read().split("//"):
    own.compile(CompiledProgram("kernel", source), trusted=True)
print("begun")
"""


def test_a_process_may_end_while_kernels_are_compiled() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LEAVE, str(device().adapter.index)],
        input="//".join(map(shader, range(20))),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "begun\n", "")


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
