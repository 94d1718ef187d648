"""One Remover in many threads: the cut-outs of one thread; closed, lost and forked in the middle."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import nss
from engine.gpu.device.device import Device
from nss.errors import UsageError
from nss.photos.quiet import quiet
from nss.removal.remover import Remover
from tests.engine.forking import outcome_of_child
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import RUNS, THREADS, own_device, together
from tests.engine.models import model, node

PHOTOS = np.random.default_rng(5).integers(0, 256, (THREADS, 40, 48, 3), np.uint8)


@pytest.fixture(name="network")
def _network(tmp_path: Path) -> Path:
    """A mask network of 4 MFLOP."""
    rng = np.random.default_rng(6)
    weights = {
        name: rng.standard_normal(shape).astype("f") for name, shape in (("w", (16, 3, 3, 3)), ("v", (1, 16, 3, 3)))
    }
    nodes = [node("Conv", "x w", "a", pads=[1] * 4), node("Conv", "a v", "b", pads=[1] * 4), node("Sigmoid", "b", "y")]
    path = tmp_path / "mask.onnx"
    onnx.save(model(nodes, {"x": [1, 3, 64, 64]}, "y", weights), path)
    return path


@pytest.fixture(name="own")
def _own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with own_device(monkeypatch) as own:
        yield own


def on_gpu(network: Path, **options: object) -> Remover:
    return Remover(network, backend="webgpu", device=device().adapter.index, quiet=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["webgpu", "numpy"])
def test_every_thread_gets_what_one_gets(network: Path, backend: str) -> None:
    with on_gpu(network) if backend == "webgpu" else Remover(network, backend=backend, quiet=True) as remover:
        expected = [remover.remove(photo).mask for photo in PHOTOS]
        loads: list[float] = []

        def work(index: int) -> None:
            for run in range(RUNS):
                photo = (index + run) % THREADS
                cutout = remover.remove(PHOTOS[photo])
                assert np.array_equal(cutout.mask, expected[photo])
                assert cutout.info.backend == backend
                loads.append(cutout.info.milliseconds["load_model"])

        assert together(work) == []
    assert not any(loads)  # the first image of all has borne it


@pytest.mark.parametrize("backend", ["webgpu", "numpy"])
def test_closing_waits_and_later_images_are_refused(network: Path, backend: str) -> None:
    remover = on_gpu(network) if backend == "webgpu" else Remover(network, backend=backend, quiet=True)
    enough, results = threading.Event(), []

    def work(index: int) -> None:
        while True:
            results.append(remover.remove(PHOTOS[index]))
            if len(results) > THREADS:
                enough.set()

    errors = together(work, meanwhile=lambda: enough.wait(60) and remover.close())  # type: ignore[func-returns-value]
    assert [str(error) for error in errors] == ["this Remover is closed; make a new one"] * THREADS
    assert {type(error) for error in errors} == {UsageError}


@pytest.mark.parametrize("how", ["destroyed", "lost"])
def test_a_device_lost_to_all_threads_is_replaced_once(network: Path, own: Device, how: str) -> None:
    notices: list[str] = []
    with on_gpu(network, notify=notices.append) as remover:
        expected = [remover.remove(photo).mask for photo in PHOTOS]
        barrier = threading.Barrier(THREADS + 1, timeout=60)
        notes: list[tuple[str, ...]] = []
        is_lost = threading.Event()

        def work(index: int) -> None:
            barrier.wait()
            for run in range(RUNS):
                assert run < RUNS - 1 or is_lost.wait(60)  # each has one behind the loss
                cutout = remover.remove(PHOTOS[index])
                assert np.array_equal(cutout.mask, expected[index])
                assert cutout.info.backend == "webgpu"
                notes.append(cutout.notes)

        def lose() -> None:
            barrier.wait()
            if how == "lost":
                own.lose("pulled out")
            else:
                with own.guarded("destroying it"):  # a submission to a lost device ends the process
                    own.handle.destroy()
            is_lost.set()

        assert together(work, meanwhile=lose) == []
        assert own.lost
    assert set(notes) <= {(), ("the GPU was lost; computed on a new device",)}
    assert 1 <= len([note for note in notes if note]) <= THREADS
    assert len(notices) == 1  # however many threads lost it
    assert notices[0].endswith("; trying once more on a new device")


def test_a_child_goes_on_with_its_parents_remover_on_numpy(network: Path) -> None:
    """Every stage that has threads of its own: the network, and what is done to the mask in tiles."""
    edges = nss.Refinement(feather=0.8)
    with Remover(network, backend="numpy", quiet=True) as remover:
        expected = remover.remove(PHOTOS[0], refinement=edges).mask
        same = outcome_of_child(lambda: np.array_equal(remover.remove(PHOTOS[0], refinement=edges).mask, expected))
    assert same == "True"


def test_a_child_reads_images_whatever_threads_of_its_parent_were_at(network: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(PHOTOS[0]).save(file, "PNG")
    with Remover(network, backend="numpy", quiet=True) as remover:
        expected = remover.remove(file.getvalue()).mask
        reading, release = threading.Event(), threading.Event()

        def read() -> None:
            with quiet():
                reading.set()
                release.wait(30)

        other = threading.Thread(target=read)
        other.start()
        reading.wait(30)
        same = outcome_of_child(lambda: np.array_equal(remover.remove(file.getvalue()).mask, expected))
        release.set()
        other.join()
    assert same == "True"


def test_a_child_cannot_use_its_parents_remover_on_the_gpu(network: Path) -> None:
    index = device().adapter.index
    with on_gpu(network) as remover:
        remover.remove(PHOTOS[0])
        inherited = outcome_of_child(lambda: remover.remove(PHOTOS[0]))
        new = outcome_of_child(lambda: Remover(network, backend="webgpu", device=index, quiet=True))
    assert inherited.startswith("ImageError: <array image>: running the model: WebGPU was in use before")
    assert new.startswith("UsageError: opening ")
    assert inherited.endswith("make it after the fork, or use spawn")
    assert new.endswith("make it after the fork, or use spawn")


def test_a_device_by_its_number(network: Path) -> None:
    index = device().adapter.index
    cutout = nss.remove(PHOTOS[0], model=network, backend="webgpu", device=index)
    assert cutout.info.device == str(device().adapter)
