"""Models whose input follows the photo: a session for each shape, the last few kept, in threads and on a GPU."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import engine
from engine.gpu.device.device import Device
from nss.errors import ImageError
from nss.removal import sessions
from nss.removal.remover import Remover
from tests.engine.forking import outcome_of_child
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import RUNS, THREADS, own_device, together
from tests.engine.models import model, node

OUTPUT = {"output": "y", "channel": 0, "activation": "none", "range": 1}
"""All of it, so that there is no trial."""
CONFIG = {**OUTPUT, "size": "shortest:32/8", "mean": 0.5, "std": 0.5}
WEIGHTS = np.random.default_rng(6).standard_normal((1, 3, 3, 3)).astype(np.float32)
PHOTOS = [np.random.default_rng(n).integers(0, 256, (40, 40 + 10 * n, 3), np.uint8) for n in range(THREADS)]
"""Of as many shapes, twice as many as are kept."""


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    nodes = [node("Conv", "x w", "a", pads=[1] * 4), node("Sigmoid", "a", "y")]
    onnx.save(model(nodes, {"x": ["n", 3, "h", "w"]}, "y", {"w": WEIGHTS}), tmp_path / "mask.onnx")
    return tmp_path / "mask.onnx"


class OpenCounts:
    """What was opened and closed, in order, as widths of the input; and how often the file was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.reads = 0
        open_counts, real = self, engine.Session
        read_model = engine.ModelFile.read

        class Session(real):  # type: ignore[misc, valid-type]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                open_counts.log.append(f"+{self.inputs[0].shape[3]}")

            def close(self) -> None:
                open_counts.log.append(f"-{self.inputs[0].shape[3]}")
                super().close()

        def count_reads(source: Any) -> engine.ModelFile:
            open_counts.reads += 1
            return read_model(source)

        monkeypatch.setitem(vars(engine), "Session", Session)
        monkeypatch.setattr(engine.ModelFile, "read", staticmethod(count_reads))


@pytest.fixture(name="open_counts")
def _open_counts(monkeypatch: pytest.MonkeyPatch) -> OpenCounts:
    return OpenCounts(monkeypatch)


def remover(path: Path, **options: Any) -> Remover:
    return Remover(path, quiet=True, model_config=CONFIG, **{"backend": "numpy", **options})


def on_gpu(path: Path, **options: Any) -> Remover:
    return remover(path, backend="webgpu", device=device().adapter.index, **options)


def test_the_sessions_used_last_are_kept_and_the_file_is_read_once(path: Path, open_counts: OpenCounts) -> None:
    with remover(path) as shared:
        for photo in (0, 1, 2, 3, 0, 4, 1, 0):
            assert shared.remove(PHOTOS[photo]).mask.shape == PHOTOS[photo].shape[:2]
    # a square first; then of 40, 48, 56 and 64 pixels that of 48 was used longest ago
    expected = ["+32", "+40", "+48", "+56", "-40", "+64", "-48", "+40", "-56", "-64", "-40", "-32"]
    assert open_counts.log[: len(expected) - 4] == expected[:-4]
    assert sorted(open_counts.log[len(expected) - 4 :]) == sorted(expected[-4:])
    assert open_counts.reads == 1


def test_a_fixed_size_takes_one_session(tmp_path: Path, open_counts: OpenCounts) -> None:
    onnx.save(model([node("Conv", "x w", "y")], {"x": [1, 3, 8, 8]}, "y", {"w": WEIGHTS}), tmp_path / "fixed.onnx")
    with Remover(tmp_path / "fixed.onnx", backend="numpy", quiet=True, model_config=OUTPUT) as shared:
        for photo in PHOTOS:
            shared.remove(photo)
    assert open_counts.log == ["+8", "-8"]
    assert open_counts.reads == 1


@pytest.mark.parametrize("backend", ["numpy", "webgpu"])
def test_threads_with_photos_of_many_shapes_get_what_one_gets(path: Path, backend: str) -> None:
    with on_gpu(path) if backend == "webgpu" else remover(path) as shared:
        expected = [shared.remove(photo).mask for photo in PHOTOS]

        def work(index: int) -> None:
            for run in range(2):
                photo = (index + run) % THREADS
                assert np.array_equal(shared.remove(PHOTOS[photo]).mask, expected[photo])

        assert together(work) == []


def test_a_session_is_closed_when_nobody_is_inside() -> None:
    closed, inside, may_leave = threading.Event(), threading.Event(), threading.Event()

    class Session:
        def close(self) -> None:
            assert may_leave.is_set()
            closed.set()

    cache = sessions.Sessions(Session(), (0,), lambda _: Session())  # type: ignore[arg-type, return-value]

    def hold() -> None:
        with cache.entered((0,)):
            inside.set()
            may_leave.wait(60)

    holding = threading.Thread(target=hold)
    holding.start()
    assert inside.wait(60)
    for shape in range(1, sessions.MOST):
        with cache.entered((shape,)):
            pass
    threading.Timer(0.05, may_leave.set).start()
    with cache.entered((sessions.MOST,)):  # one too many
        assert closed.is_set()
    holding.join()
    cache.close()
    for shape in (1, 99):  # one that was open, and one that never was
        with pytest.raises(engine.BackendError, match="the model is closed"), cache.entered((shape,)):
            pass


def test_all_are_closed_though_one_fails() -> None:
    closings: list[int] = []

    class Session:
        def __init__(self, shape: sessions.Shape) -> None:
            self.size = shape[0]

        def close(self) -> None:
            closings.append(self.size)
            if self.size == 2:
                raise engine.DeviceLostError("closing")

    cache = sessions.Sessions(Session((1,)), (1,), Session)  # type: ignore[arg-type]
    for size in (2, 3):
        with cache.entered((size,)):
            pass
    with pytest.raises(engine.DeviceLostError):
        cache.close()
    assert sorted(closings) == [1, 2, 3]


def test_a_shape_that_several_threads_ask_for_is_opened_once() -> None:
    open_counts: list[sessions.Shape] = []

    class Session:
        def close(self) -> None: ...

    def slowly(shape: sessions.Shape) -> Any:
        open_counts.append(shape)
        time.sleep(0.05)
        return Session()

    cache = sessions.Sessions(Session(), (0,), slowly)  # type: ignore[arg-type]

    def work(_: int) -> None:
        with cache.entered((1,)):
            pass

    assert together(work) == []
    assert open_counts == [(1,)]


@pytest.mark.parametrize("error", [engine.TooLargeError("too large"), MemoryError()])
def test_where_memory_is_short_what_is_open_makes_room(error: Exception) -> None:
    alive: list[int] = []

    class Session:
        def __init__(self, shape: tuple[int, ...]) -> None:
            if sum(alive) + shape[0] > 10:
                raise error
            self.size = shape[0]
            alive.append(self.size)

        def close(self) -> None:
            alive.remove(self.size)

    cache = sessions.Sessions(Session((4,)), (4,), Session)  # type: ignore[arg-type]
    for size, open_sizes in ((5, [4, 5]), (3, [5, 3]), (10, [10]), (4, [4])):
        with cache.entered((size,)):
            assert alive == open_sizes
    with pytest.raises(type(error)), cache.entered((11,)):
        pass
    with cache.entered((4,)):  # the next photo is none the worse
        assert alive == [4]


def test_what_fails_at_one_size_is_said_with_that_size(tmp_path: Path) -> None:
    nodes = [
        node("AveragePool", "x", "a", kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", "a - s", "b", mode="nearest"),
        node("Sub", "x b", "c"),
        node("ReduceMean", "c", "y", axes=[1]),
    ]
    scales = np.array([1, 1, 2, 2], np.float32)
    onnx.save(model(nodes, {"x": [1, 3, "h", "w"]}, "y", {"s": scales}), tmp_path / "even.onnx")
    config = {**CONFIG, "size": "shortest:32"}
    with Remover(tmp_path / "even.onnx", backend="numpy", quiet=True, model_config=config) as shared:
        shared.remove(np.zeros((32, 64, 3), np.uint8))
        with pytest.raises(ImageError, match=r"with an input of 33 x 32, of 'size' shortest:32: ") as failure:
            shared.remove(np.zeros((32, 33, 3), np.uint8))
        assert "\n" not in str(failure.value)
        shared.remove(np.zeros((64, 32, 3), np.uint8))


@pytest.fixture(name="own")
def _own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with own_device(monkeypatch) as own:
        yield own


def test_a_device_lost_under_sessions_of_several_shapes_is_replaced_once(path: Path, own: Device) -> None:
    notices: list[str] = []
    with on_gpu(path, notify=notices.append) as shared:
        expected = [shared.remove(photo).mask for photo in PHOTOS]
        barrier = threading.Barrier(THREADS + 1, timeout=60)
        notes: list[tuple[str, ...]] = []
        is_lost = threading.Event()

        def work(index: int) -> None:
            barrier.wait()
            for run in range(RUNS // 4):
                assert run < RUNS // 4 - 1 or is_lost.wait(60)  # each has one behind the loss
                photo = (index + run) % THREADS
                cutout = shared.remove(PHOTOS[photo])
                assert np.array_equal(cutout.mask, expected[photo])
                assert cutout.info.backend == "webgpu"
                notes.append(cutout.notes)

        def lose() -> None:
            barrier.wait()
            own.lose("pulled out")
            is_lost.set()

        assert together(work, meanwhile=lose) == []
    assert set(notes) <= {(), ("the GPU was lost; computed on a new device",)}
    assert len(notices) <= 1  # a shape that is opened after the loss gets the new device by itself


def test_a_lost_gpu_ends_on_numpy_for_every_shape(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine.Session

    class Session(real):  # type: ignore[misc, valid-type]
        def __init__(self, file: Any, *, backend: str, **options: Any) -> None:
            self.gpu = backend != "numpy"
            super().__init__(file, backend="numpy", **options)

        def run(self, *arguments: Any, **options: Any) -> Any:
            if self.gpu and self.inputs[0].shape[3] != 32:
                raise engine.DeviceLostError("reading back: the device is lost (pulled out)")
            return super().run(*arguments, **options)

    monkeypatch.setitem(vars(engine), "Session", Session)
    notices: list[str] = []
    with remover(path, backend="auto", notify=notices.append) as shared:
        notes = [shared.remove(PHOTOS[n]).notes for n in (0, 1, 2, 0)]
    assert notes == [(), ("the GPU was lost; computed on NumPy",), (), ()]
    assert [line.rsplit("; ", 1)[1] for line in notices] == ["trying once more on a new device", "going on with NumPy"]


def test_a_photo_too_large_for_the_gpu_is_no_lost_gpu(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine.Session

    class Session(real):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, input_shapes: dict[str, tuple[int, ...]], **options: Any) -> None:
            if input_shapes["x"][3] == 48:
                network._open_model = replace(
                    network._open_model
                )  # as if another thread had recovered a loss meanwhile
                raise engine.TooLargeError("the adapter is out of memory")
            super().__init__(*arguments, input_shapes=input_shapes, **options)

    notices: list[str] = []
    with remover(path, notify=notices.append) as shared:
        network = shared._network
        monkeypatch.setitem(vars(engine), "Session", Session)
        with pytest.raises(ImageError, match=r"with an input of 48 x 32, .*: the adapter is out of memory"):
            shared.remove(PHOTOS[2])
        assert shared.remove(PHOTOS[1]).notes == ()
    assert notices == []


def test_a_photo_too_small_for_a_mask_is_that_photos_failure(tmp_path: Path) -> None:
    pool = node("AveragePool", "x", "a", kernel_shape=[16, 16], strides=[16, 16])
    nodes = [pool, node("ReduceMean", "a", "y", axes=[1])]
    onnx.save(model(nodes, {"x": [1, 3, "h", "w"]}, "y"), tmp_path / "coarse.onnx")
    with Remover(
        tmp_path / "coarse.onnx", backend="numpy", quiet=True, model_config={**CONFIG, "size": "longest:64/16"}
    ) as shared:
        with pytest.raises(
            ImageError, match=r"<array image>: the model gives y of float32\[1, 1, 1, 4\], not one mask"
        ):
            shared.remove(np.zeros((4, 200, 3), np.uint8))
        shared.remove(PHOTOS[0])


def test_a_child_goes_on_whatever_a_thread_of_its_parent_was_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, parent = engine.Session, os.getpid()
    opening, release = threading.Event(), threading.Event()

    class Slow(real):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            if os.getpid() == parent:
                opening.set()
                release.wait(60)
            super().__init__(*arguments, **options)

    with remover(path) as shared:
        expected = shared.remove(PHOTOS[0]).mask
        monkeypatch.setitem(vars(engine), "Session", Slow)
        other = threading.Thread(target=shared.remove, args=(PHOTOS[2],))
        other.start()
        opening.wait(60)
        same = outcome_of_child(
            lambda: np.array_equal(shared.remove(PHOTOS[0]).mask, expected) and shared.remove(PHOTOS[1]).mask.any()
        )
        release.set()
        other.join()
    assert same == "True"
