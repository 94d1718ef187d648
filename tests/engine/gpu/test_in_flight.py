"""Several runs in flight: their order, how many, threads, what ends them early, and what may stand around a network."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from engine.errors import BackendError, DeviceLostError, InputError
from engine.gpu.device.device import Device
from engine.gpu.run.around import Epilogue, Prologue, Readback, Upload
from engine.gpu.run.executor import IN_FLIGHT
from engine.session import Session
from tests.engine.gpu.gpu import device, executor_of
from tests.engine.models import load_graph, model, node

SHAPE = (1, 3, 24, 20)
NETWORK = model(
    [node("Conv", "x w", "h", pads=[1] * 4), node("Relu", "h", "r"), node("Conv", "r v", "y", pads=[1] * 4)],
    {"x": list(SHAPE)},
    "y",
    {
        "w": np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32),
        "v": np.random.default_rng(1).standard_normal((2, 8, 3, 3)).astype(np.float32),
    },
)
IMAGES = [np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32) for seed in range(8)]


def on_gpu() -> Session:
    return Session(NETWORK.SerializeToString(), backend="webgpu", adapter=str(device().adapter.index))


@pytest.fixture
def session() -> Iterator[Session]:
    with on_gpu() as session:
        yield session


@pytest.fixture(scope="module")
def expected() -> list[np.ndarray]:
    with on_gpu() as session:
        return [session.run({"x": image})["y"] for image in IMAGES]


def test_each_handle_has_the_result_of_its_own_inputs(session: Session, expected: list[np.ndarray]) -> None:
    scratch = np.empty(SHAPE, np.float32)
    handles = []
    for image in IMAGES:
        scratch[:] = image
        handles.append(session.submit({"x": scratch}))
        assert session.under_way <= IN_FLIGHT
    scratch[:] = np.nan  # what was submitted is not looked at again
    for handle, output in reversed(list(zip(handles, expected, strict=True))):
        assert np.array_equal(handle.result()["y"], output)
        assert handle.done
        assert handle.result()["y"] is handle.result()["y"]
    assert session.under_way == 0
    assert np.array_equal(session.run({"x": IMAGES[0]})["y"], expected[0])


def test_submitting_waits_for_the_oldest_where_too_many_are_in_flight(
    session: Session, expected: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run({"x": IMAGES[0]})
    gate = threading.Event()
    is_mapped = Device.is_mapped
    monkeypatch.setattr(Device, "is_mapped", lambda own, mapping: gate.is_set() and is_mapped(own, mapping))
    handles = [session.submit({"x": image}) for image in IMAGES[:IN_FLIGHT]]
    assert not any(handle.done for handle in handles)
    more: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: more.append(session.submit({"x": IMAGES[3]}).result()["y"]))
    thread.start()
    time.sleep(0.2)
    assert session.under_way == IN_FLIGHT  # the fourth has not begun
    gate.set()
    thread.join(30)
    assert handles[0].done
    assert np.array_equal(more[0], expected[3])
    for handle, output in zip(handles, expected, strict=False):
        assert np.array_equal(handle.result()["y"], output)


def test_threads_and_sessions_get_what_one_alone_gets(expected: list[np.ndarray]) -> None:
    wrong: list[str] = []

    def work(session: Session, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(IMAGES))
        handles = []
        for number in [*order, *order]:
            handles.append((number, session.submit({"x": IMAGES[number]})))
            if len(handles) > seed % 4:
                first, handle = handles.pop(0)
                if not np.array_equal(handle.result()["y"], expected[first]):
                    wrong.append(f"{seed}: {first}")
            if not np.array_equal(session.run({"x": IMAGES[0]})["y"], expected[0]):
                wrong.append(f"{seed}: run")
        wrong.extend(f"{seed}" for first, h in handles if not np.array_equal(h.result()["y"], expected[first]))

    with on_gpu() as one, on_gpu() as other:
        threads = [threading.Thread(target=work, args=((one, other)[seed % 2], seed)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
        assert wrong == []
        assert one.under_way == other.under_way == 0
        assert device().is_idle


def test_any_thread_may_take_a_result(session: Session, expected: list[np.ndarray]) -> None:
    handle = session.submit({"x": IMAGES[2]})
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(handle.result()["y"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert all(np.array_equal(result, expected[2]) for result in results)


def test_a_closed_session_gives_no_result_that_was_not_taken() -> None:
    session = on_gpu()
    taken, waiting = session.submit({"x": IMAGES[0]}), session.submit({"x": IMAGES[1]})
    output = taken.result()["y"]
    session.close()
    assert taken.result()["y"] is output
    with pytest.raises(BackendError, match="the session is closed"):
        waiting.result()
    with pytest.raises(BackendError, match="the session is closed"):
        session.submit({"x": IMAGES[0]})
    assert device().is_idle


def test_a_lost_device_ends_all_that_is_in_flight() -> None:
    own = Device(device().adapter)
    executor = executor_of(load_graph(NETWORK), own)
    executor.run([IMAGES[0]])
    runs = [executor.submit([image]) for image in IMAGES[:2]]
    own.lose("pulled out")
    for run in runs:
        with pytest.raises(DeviceLostError, match="pulled out"):
            run.result()
        assert run.done
    with pytest.raises(DeviceLostError, match="pulled out"):
        executor.submit([IMAGES[0]])
    executor.close()


def test_whoever_waits_notices_that_the_device_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Device(device().adapter)
    executor = executor_of(load_graph(NETWORK), own)
    executor.run([IMAGES[0]])
    monkeypatch.setattr(Device, "is_mapped", lambda *_: False)  # for ever
    run = executor.submit([IMAGES[1]])
    timer = threading.Timer(0.1, own.handle.destroy)
    timer.start()
    with pytest.raises(DeviceLostError):
        run.result()
    assert own.lost
    executor.close()


def test_a_handle_that_is_let_go_of_frees_its_place(session: Session, expected: list[np.ndarray]) -> None:
    for image in [*IMAGES, *IMAGES]:
        session.submit({"x": image})
    gc.collect()
    assert np.array_equal(session.run({"x": IMAGES[4]})["y"], expected[4])
    time.sleep(0.05)
    session.run({"x": IMAGES[4]})
    assert session.under_way <= 1


def test_an_interrupted_wait_can_be_taken_up(
    session: Session, expected: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run({"x": IMAGES[0]})
    handles = [session.submit({"x": image}) for image in IMAGES[:2]]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Device, "_wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            handles[0].result()
        with pytest.raises(KeyboardInterrupt):
            session.run({"x": IMAGES[5]})
    for handle, output in zip(handles, expected, strict=False):
        assert np.array_equal(handle.result()["y"], output)
    for image, output in zip(IMAGES, expected, strict=True):
        assert np.array_equal(session.run({"x": image})["y"], output)


@pytest.mark.parametrize("step", ["map", "unmap", "mapped"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupt_anywhere_leaves_a_session_that_runs(
    step: str, call: int, session: Session, expected: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run({"x": IMAGES[0]})
    original, calls = getattr(Device, step), 0

    def interrupted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Device, step, interrupted)
        try:
            session.run({"x": IMAGES[1]})
        except KeyboardInterrupt:
            assert calls == call
        else:
            assert calls < call
    gc.collect()
    for image, output in zip(IMAGES, expected, strict=True):
        assert np.array_equal(session.run({"x": image})["y"], output)


def test_nan_is_refused_before_anything_runs(session: Session, expected: list[np.ndarray]) -> None:
    bad = IMAGES[0].copy()
    bad[0, 2, 23, 19] = np.nan
    for _ in range(2 * IN_FLIGHT):
        with pytest.raises(InputError, match="input 'x' holds NaN"):
            session.submit({"x": bad})
    assert session.under_way == 0
    assert np.isnan(session.run({"x": bad}, allow_nan=True)["y"]).any()
    assert np.array_equal(session.run({"x": IMAGES[0].transpose(0, 1, 2, 3)})["y"], expected[0])


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_on_the_processor_a_run_is_computed_when_it_is_submitted(backend: str) -> None:
    session = Session(NETWORK.SerializeToString(), backend=backend)
    handle, other = session.submit({"x": IMAGES[0]}), session.submit({"x": IMAGES[1]})
    assert handle.done
    assert np.array_equal(handle.result()["y"], session.run({"x": IMAGES[0]})["y"])
    session.close()
    with pytest.raises(BackendError, match="the session is closed"):
        other.result()


def test_memory_does_not_grow(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    allocated: list[str] = []
    buffer = Device.buffer

    def counted(own: Device, nbytes: int, usage: str, label: str, **more: bool) -> object:
        allocated.append(label)
        return buffer(own, nbytes, usage, label, **more)

    monkeypatch.setattr(Device, "buffer", counted)
    for _ in range(20):
        session.run({"x": IMAGES[0]})
    gc.collect()
    before = len(gc.get_objects())
    handles = []
    for number in range(300):
        handles.append(session.submit({"x": IMAGES[number % 8]}))
        if len(handles) == IN_FLIGHT:
            handles.pop(0).result()
    del handles
    session.run({"x": IMAGES[0]})
    gc.collect()
    assert len(gc.get_objects()) < before + 150
    assert allocated.count("inputs") == IN_FLIGHT - 1  # the first one is older


DOUBLE = """
@group(0) @binding(0) var<storage, read> bytes: array<u32>;
@group(0) @binding(1) var<storage, read_write> numbers: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u) {
    if (at.x < arrayLength(&numbers)) { numbers[at.x] = f32((bytes[at.x / 4u] >> (8u * (at.x % 4u))) & 255u) / 255.0; }
}
"""
ROUND = """
@group(0) @binding(0) var<storage, read> numbers: array<f32>;
@group(0) @binding(1) var<storage, read_write> whole: array<i32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) at: vec3u) {
    if (at.x < arrayLength(&whole)) { whole[at.x] = i32(round(numbers[at.x] * 100.0)); }
}
"""


def test_commands_stand_around_a_network() -> None:
    """A prologue makes the input of bytes, and an epilogue whole numbers of the output; both differ from run to run."""
    gpu = device()
    executor = executor_of(load_graph(NETWORK))
    count, results = int(np.prod(SHAPE)), 2 * 24 * 20
    source = gpu.buffer(count, "STORAGE|COPY_DST", "bytes")
    target = gpu.buffer(4 * results, "STORAGE|COPY_SRC", "numbers")

    def bound(wgsl: str, *bindings: tuple[object, int, int]) -> tuple[object, object, tuple[int, int, int]]:
        pipeline = gpu.handle.create_compute_pipeline(
            layout="auto", compute={"module": gpu.handle.create_shader_module(code=wgsl), "entry_point": "main"}
        )
        return pipeline, gpu.bind_group(pipeline, bindings, "around"), (-(-count // 64), 1, 1)

    first = bound(DOUBLE, (source, 0, count), executor.input_binding(0))
    last = bound(ROUND, executor.output_binding(0), (target, 0, 4 * results))
    images = [np.random.default_rng(n).integers(0, 256, SHAPE, np.uint8) for n in range(5)]
    expected = [executor.run([image / np.float32(255)])[0] for image in images]

    runs = []
    for number, image in enumerate(images):
        prologue = Prologue([Upload(image, source)], [first])
        readback = [Readback(target, 0, 4 * results), Readback(target, 4, 8 * number)]
        runs.append(executor.submit([None], prologue=prologue, epilogue=Epilogue([last], readback)))
    both = executor.submit([None], prologue=prologue, epilogue=Epilogue([last], readback[:1], outputs=True))
    before, behind = executor.submit([None], prologue=prologue), executor.submit([images[1] / np.float32(255)])
    for number, (run, output) in enumerate(zip(runs, expected, strict=True)):
        whole, part = (data.view(np.int32) for data in run.result())
        assert np.abs(whole - 100 * output.reshape(-1)).max() <= 0.51
        assert np.array_equal(part, whole[1 : 1 + 2 * number])
    output, whole = both.result()
    assert np.allclose(output, expected[-1], rtol=1e-5, atol=1e-4)
    assert np.array_equal(whole.view(np.int32), runs[-1].result()[0].view(np.int32))
    assert np.allclose(before.result()[0], expected[-1], rtol=1e-5, atol=1e-4)
    assert np.array_equal(behind.result()[0], expected[1])
    gpu.free([source, target])
    executor.close()
