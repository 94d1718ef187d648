"""One session in many threads: the results of one thread, bit for bit; closed, and lost, in the middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from engine import BackendError, DeviceLostError, Session
from engine.gpu.device.device import Device, open_device
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import IMAGES, RNG, RUNS, SMALL, THREADS, on_gpu, own_device, together
from tests.engine.models import U2NETP, with_image_side


@pytest.fixture(name="own")
def _own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with own_device(monkeypatch) as own:
        yield own


def check_many_runs(sessions: list[Session], images: np.ndarray, name: str, runs: int = RUNS) -> None:
    expected = [next(iter(sessions[0].run({name: image}).values())) for image in images]

    def work(index: int) -> None:
        session = sessions[index % len(sessions)]
        for run in range(runs):
            image = (index + run) % len(images)
            assert np.array_equal(next(iter(session.run({name: images[image]}).values())), expected[image])

    assert together(work) == []


@pytest.mark.parametrize("sessions", [1, 2])
def test_webgpu(sessions: int) -> None:
    """One session for all threads, and two on one device."""
    open_sessions = [on_gpu() for _ in range(sessions)]
    check_many_runs(open_sessions, IMAGES, "x")
    for session in open_sessions:
        session.close()


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_the_processor(backend: str) -> None:
    with Session(SMALL, backend=backend) as session:
        check_many_runs([session], IMAGES, "x")


@pytest.mark.parametrize(
    ("runs", "side"),
    [
        (1, 160),
        pytest.param(RUNS, 320, marks=pytest.mark.long(reason="160 runs of U²-Netp; 8 of 160² are run in any case")),
    ],
)
def test_u2netp_on_numpy(runs: int, side: int) -> None:
    with Session(with_image_side(U2NETP, side), backend="numpy") as session:
        (info,) = session.inputs
        check_many_runs([session], RNG.random((2, *info.shape), np.float32), info.name, runs)


def test_sessions_are_opened_while_others_run() -> None:
    expected = {}
    with on_gpu() as session:
        expected = {index: session.run({"x": image})["y"] for index, image in enumerate(IMAGES)}

    def work(index: int) -> None:
        for _ in range(3):
            with on_gpu() as own:
                assert np.array_equal(own.run({"x": IMAGES[index]})["y"], expected[index])

    assert together(work) == []


@pytest.mark.parametrize("backend", ["numpy", "webgpu"])
def test_closing_waits_and_later_runs_are_refused(backend: str) -> None:
    session = on_gpu() if backend == "webgpu" else Session(SMALL, backend=backend)
    expected = session.run({"x": IMAGES[0]})["y"]
    runs: list[int] = []
    enough = threading.Event()

    def work(_: int) -> None:
        while True:
            result = session.run({"x": IMAGES[0]})["y"]
            assert np.array_equal(result, expected)
            runs.append(1)
            if len(runs) > THREADS:
                enough.set()

    errors = together(work, meanwhile=lambda: enough.wait(60) and session.close())  # type: ignore[func-returns-value]
    assert {str(error) for error in errors} == {"the session is closed; open another to run the model again"}
    assert {type(error) for error in errors} == {BackendError}
    assert len(errors) == THREADS
    session.close()  # again, with nothing to do


@pytest.mark.parametrize("how", ["destroyed", "lost"])
def test_a_device_is_lost_while_threads_run(own: Device, how: str) -> None:
    session = on_gpu()
    expected = session.run({"x": IMAGES[0]})["y"]
    running = threading.Event()

    def work(_: int) -> None:
        while True:
            assert np.array_equal(session.run({"x": IMAGES[0]})["y"], expected)
            running.set()

    def lose() -> None:
        running.wait(60)
        if how == "lost":
            own.lose("pulled out")
        else:
            with own.guarded("destroying it"):  # a submission to a lost device ends the process
                own.handle.destroy()

    errors = together(work, meanwhile=lose)
    assert {type(error) for error in errors} == {DeviceLostError}
    assert len(errors) == THREADS
    assert all("the device is lost (" in str(error) for error in errors)
    session.close()
    with on_gpu() as another:  # which gets a new device
        assert np.array_equal(another.run({"x": IMAGES[0]})["y"], expected)
    assert open_device(device().adapter) is not own


def test_mapped_memory_of_a_lost_device_is_refused(own: Device) -> None:
    """wgpu ends the process of whoever asks for it, once a poll of the lost device has destroyed the buffer."""
    buffer = own.buffer(16, "MAP_WRITE|COPY_SRC", "inputs", mapped=True)
    own.handle.destroy()
    with pytest.raises(DeviceLostError, match="the device is lost"):
        own.mapped(buffer, "WRITE", 16)


def test_a_device_that_was_destroyed_unnoticed_is_not_handed_out(own: Device) -> None:
    own.handle.destroy()
    with on_gpu() as session:
        assert session.run({"x": IMAGES[0]})["y"].shape == (1, 8, 32, 32)
    assert own.lost


def test_an_interrupted_run_leaves_the_session_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the result is waited for leaves a buffer about to be mapped."""
    with on_gpu() as session:
        expected = session.run({"x": IMAGES[0]})["y"]
        with monkeypatch.context() as patch:

            def interrupt(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(Device, "_wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                session.run({"x": IMAGES[0]})
        for _ in range(2):
            assert np.array_equal(session.run({"x": IMAGES[0]})["y"], expected)
