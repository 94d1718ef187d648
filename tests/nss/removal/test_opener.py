"""A compiled model is opened without being read, and whatever is wrong with an entry, the mask is right."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import engine
from nss.models import compiled
from nss.removal import model_reading
from nss.removal.remover import Remover
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import own_device
from tests.engine.models import node
from tests.nss.child import run_child
from tests.nss.tiny_models import probability, save_model

PHOTO = np.random.default_rng(5).integers(0, 256, (24, 40, 3), np.uint8)
UNIT = {"scale": 1 / 255, "mean": 0, "std": 1}

pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return save_model(tmp_path / "mine.onnx", probability())


@pytest.fixture(name="unread")
def _unread(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """How often a model file was read."""
    reads: list[str] = []
    plain = model_reading.read_file
    monkeypatch.setattr(model_reading, "read_file", lambda model: reads.append(str(model.path)) or plain(model))
    return reads


def remove(path: Path, photo: np.ndarray = PHOTO, **options: Any) -> tuple[np.ndarray, Remover]:
    with Remover(path, **{"backend": "numpy", "quiet": True, **options}) as remover:
        return remover.remove(photo).mask, remover


def entry_folder() -> Path:
    cache = compiled.cache()
    assert cache is not None
    (entry,) = cache.entries()
    (folder,) = cache.folder.glob(f"{entry.key}-*")
    return folder


@pytest.mark.parametrize("backend", ["numpy", "webgpu"])
def test_the_second_remover_reads_no_model(path: Path, unread: list[str], backend: str) -> None:
    options = {"backend": backend, "device": device().adapter.index if backend == "webgpu" else None, "quiet": False}
    heard: list[list[str]] = [[], []]
    first, one = remove(path, notify=heard[0].append, **options)
    assert len(unread) == 1
    second, other = remove(path, notify=heard[1].append, **options)
    assert len(unread) == 1
    assert np.array_equal(first, second)
    assert heard[0] == heard[1] != []
    assert [entry.backend for entry in compiled.entries()] == [backend]
    assert one.model.sha256 == other.model.sha256 == compiled.entries()[0].origin.sha256  # type: ignore[union-attr]


def test_what_ran_and_how_is_said_alike(path: Path) -> None:
    infos = []
    for _ in range(2):
        with Remover(path, quiet=True, model_config=UNIT, backend="numpy") as remover:
            infos.append(remover.remove(PHOTO).info)
    first, second = infos
    assert first.model_config == second.model_config
    assert (first.backend, first.device, first.backend_reason) == (second.backend, second.device, second.backend_reason)


def test_auto_keeps_its_reason(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = engine.Place("numpy", "there is no GPU today", {"backend": "numpy"})
    remove(path)
    monkeypatch.setitem(vars(engine), "place", lambda *_: place)
    remove(path, backend="auto")
    with Remover(path, quiet=True) as remover:
        assert remover.remove(PHOTO).info.backend_reason == "there is no GPU today"


def test_without_the_cache_nothing_is_kept_and_nothing_taken(path: Path, unread: list[str]) -> None:
    remove(path, cache=False)
    assert compiled.entries() == []
    remove(path)
    remove(path, cache=False)
    assert len(unread) == 3


def test_another_description_is_another_entry(path: Path, unread: list[str]) -> None:
    plain, _ = remove(path)
    other, _ = remove(path, model_config=UNIT)
    assert np.array_equal(remove(path, model_config=UNIT)[0], other)
    assert np.array_equal(remove(path)[0], plain)
    assert not np.array_equal(plain, other)
    assert len(unread) == 2


def damage(folder: Path, how: str) -> None:
    header, *shards = sorted(folder.iterdir(), key=lambda file: (file.suffix != ".json", file.name))
    if how == "cut header":
        header.write_bytes(header.read_bytes()[:200])
    elif how == "cut weights":
        os.truncate(shards[0], shards[0].stat().st_size // 2)
    elif how == "flipped weight":
        content = bytearray(shards[0].read_bytes())
        content[0] ^= 64
        shards[0].write_bytes(content)
    elif how == "no weights":
        shards[0].unlink()
    elif how == "foreign":
        header.write_bytes(b"{}")


@pytest.mark.parametrize("how", ["cut header", "cut weights", "flipped weight", "no weights", "foreign"])
def test_a_damaged_entry_is_compiled_again_and_replaced(path: Path, unread: list[str], how: str) -> None:
    expected, _ = remove(path)
    folder = entry_folder()
    damage(folder, how)
    assert np.array_equal(remove(path)[0], expected)
    assert len(unread) == 2
    assert not folder.exists()
    assert np.array_equal(remove(path)[0], expected)
    assert len(unread) == 2


@pytest.mark.parametrize("metadata", [{}, {"interface": 1, "notices": []}, {"interface": {"values": {"scale": 0}}}])
def test_an_entry_of_other_metadata_is_replaced(
    path: Path, unread: list[str], metadata: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = remove(path)
    cache = compiled.cache()
    assert cache is not None
    key = cache.entries()[0].key
    model = cache.get(key)
    assert model is not None
    monkeypatch.setattr(engine.ModelCache, "get", lambda *_: replace(model, metadata=metadata))
    assert np.array_equal(remove(path)[0], expected)
    assert len(unread) == 2


@pytest.mark.parametrize("is_raised", [True, False])
def test_what_cannot_be_kept_does_no_harm(path: Path, is_raised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(*_: object) -> bool:
        if is_raised:
            raise OSError(28, "No space left on device")
        return False

    monkeypatch.setattr(engine.ModelCache, "put", put)
    with Remover(path, backend="numpy", quiet=True) as remover:
        mask = remover.finish(remover.infer(remover.prepare(PHOTO))).mask
        reason = remover.store()
        assert reason is not None
        assert ("No space left on device" if is_raised else "cannot be written to, or has no room for it") in reason
    assert np.array_equal(remove(path, cache=False)[0], mask)


def test_nothing_is_kept_before_a_result_or_by_a_signal(path: Path) -> None:
    with Remover(path, backend="numpy", quiet=True):
        pass
    assert compiled.entries() == []
    with pytest.raises(KeyboardInterrupt), Remover(path, backend="numpy", quiet=True) as remover:  # noqa: PT012
        remover.infer(remover.prepare(PHOTO))
        raise KeyboardInterrupt
    assert compiled.entries() == []


def test_a_remover_that_stays_open_keeps_its_model_too(path: Path) -> None:
    remover = Remover(path, backend="numpy", quiet=True)
    remover.remove(PHOTO)
    (storing,) = [thread for thread in threading.enumerate() if thread.name == "nss-store"] or [None]
    if storing is not None:
        storing.join()
    assert len(compiled.entries()) == 1
    remover.close()


def test_each_shape_has_an_entry(tmp_path: Path, unread: list[str]) -> None:
    path = save_model(tmp_path / "mine.onnx", probability(), inputs={"x": [1, 3, "h", "w"]})
    config = {**UNIT, "size": "longest:32/8"}
    photos = [PHOTO, PHOTO.transpose(1, 0, 2), PHOTO[:, :24]]

    def masks() -> list[np.ndarray]:
        with Remover(path, backend="numpy", quiet=True, model_config=config) as remover:
            return [remover.remove(photo).mask for photo in photos]

    first = masks()
    cache = compiled.cache()
    assert cache is not None
    assert len(cache.entries()) == 3
    reads = len(unread)
    assert all(map(np.array_equal, first, masks()))
    assert len(unread) == reads
    for entry in compiled.entries()[:2]:
        cache.discard(entry.key)
    assert all(map(np.array_equal, first, masks()))
    assert len(unread) == reads + 1  # for whichever shapes are missing


def test_a_photo_that_proves_a_trial_wrong_takes_the_entry_along(tmp_path: Path) -> None:
    # 0..1 on any photo but a white one
    nodes = [node("ReduceMin", "x", "m", keepdims=1), node("Relu", "m", "r"), node("Add", "p r", "y")]
    path = save_model(tmp_path / "mine.onnx", [*probability(output="p"), *nodes])
    remove(path)
    assert len(compiled.entries()) == 1
    with Remover(path, backend="numpy", quiet=True) as remover:
        assert "is forgotten" in remover.remove(np.full((40, 60, 3), 255, np.uint8)).notes[-1]
    assert compiled.entries() == []


def test_a_lost_gpu_is_replaced_and_the_model_taken_from_the_cache_again(
    path: Path, unread: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"backend": "webgpu", "device": device().adapter.index}
    expected, _ = remove(path, **options)
    with own_device(monkeypatch) as own, Remover(path, quiet=True, **options) as remover:
        own.lose("pulled out")
        cutout = remover.remove(PHOTO)
    assert np.array_equal(cutout.mask, expected)
    assert cutout.notes == ("the GPU was lost; computed on a new device",)
    assert len(unread) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_goes_on_with_what_came_from_the_cache(path: Path) -> None:
    expected, _ = remove(path)
    with Remover(path, backend="numpy", quiet=True) as remover:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(not np.array_equal(remover.remove(PHOTO).mask, expected))
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert np.array_equal(remover.remove(PHOTO).mask, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_is_forked_while_an_entry_is_written_leaves_that_to_its_parent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, done = threading.Event(), threading.Event()
    plain = engine.ModelCache.put

    def put(cache: engine.ModelCache, key: str, model: engine.CompiledModel) -> bool:
        begun.set()
        return done.wait(60) and plain(cache, key, model)

    monkeypatch.setattr(engine.ModelCache, "put", put)
    with Remover(path, backend="numpy", quiet=True) as remover:
        remover.remove(PHOTO)
        assert begun.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            remover.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        done.set()
    assert len(compiled.entries()) == 1


def test_weights_beside_the_model_are_looked_at(tmp_path: Path, unread: list[str]) -> None:
    path = save_model(tmp_path / "mine.onnx", probability())
    proto = onnx.load(path)
    onnx.save(proto, path, save_as_external_data=True, location="mine.bin", size_threshold=0)
    first, _ = remove(path)
    assert np.array_equal(remove(path)[0], first)
    assert len(unread) == 1
    weights = np.frombuffer((tmp_path / "mine.bin").read_bytes(), np.float32)
    (tmp_path / "new.bin").write_bytes((-weights).tobytes())
    (tmp_path / "new.bin").replace(tmp_path / "mine.bin")
    assert not np.array_equal(remove(path)[0], first)
    assert len(unread) == 2


WATCH = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from nss.__main__ import main
status = main()
loaded = [name for name in ("onnx", "wgpu", "wgpudawn", "jinja2", "huggingface_hub") if name in sys.modules]
print(status, sum(name.endswith("u2netp.onnx") for name in opened), *loaded, file=sys.stderr)
"""


def test_the_second_command_opens_no_model_and_loads_neither_onnx_nor_drivers(tmp_path: Path, photo: Path) -> None:
    backend = engine.place().backend
    arguments = ["remove", photo, "--backend", "auto", "--model", "u2netp", "--overwrite", "--quiet"]
    if backend == "webgpu":  # whose drivers are loaded each time
        arguments[3] = "numpy"
    first, second = (run_child([sys.executable, "-c", WATCH, *arguments], folder=tmp_path) for _ in range(2))
    assert first.stderr.split()[:3] == ["0", "2", "onnx"]  # it was read for its digest, and then
    assert second.stderr.split() == ["0", "0"]


def test_two_processes_at_once_get_the_right_mask(tmp_path: Path, small: Path, photo: Path) -> None:
    def run(name: str) -> bytes:
        options = ["--model", small, "--backend", "numpy", "-o", tmp_path / name, "-q"]
        result = run_child([sys.executable, "-m", "nss", "remove", photo, *options], folder=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        return (tmp_path / name).read_bytes()

    with ThreadPoolExecutor() as pool:
        files = list(pool.map(run, ["a.png", "b.png"]))
    assert files[0] == files[1] == run("c.png")
    assert len(compiled.entries()) == 1


def test_an_entry_cut_anywhere_is_replaced(path: Path, tmp_path: Path) -> None:
    expected, _ = remove(path)
    folder = entry_folder()
    whole = shutil.copytree(folder, tmp_path / "whole")
    for file in sorted(whole.iterdir()):
        for length in range(0, file.stat().st_size, 1024):
            cache = compiled.cache()
            assert cache is not None
            cache.clear()
            shutil.copytree(whole, folder)
            os.truncate(folder / file.name, length)
            assert np.array_equal(remove(path)[0], expected), (file.name, length)
