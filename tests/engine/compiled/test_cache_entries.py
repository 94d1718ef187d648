"""Entries of the cache: what they say, who trusts them, how they are deleted, and what other processes do meanwhile."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import engine
from engine.compiled import cache as caches
from engine.compiled import folders
from engine.compiled.cache import ModelCache
from engine.compiled.model import GpuPlan
from tests.engine.compiled.caches import OTHER, THIRD, entry_of, sizes, used
from tests.engine.compiled.models import KEY, content, gpu_model, rewrite
from tests.project import ROOT, environment


def test_entries_say_what_they_are_and_are_deleted_by_model(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    cache.put(OTHER, gpu_model(name="gated", sha256="cd" * 32))
    cache.put(THIRD, gpu_model(name="gated", sha256="cd" * 32, seed=1))
    used(cache, OTHER, 60)
    used(cache, KEY, 120)
    entries = cache.entries()
    assert [entry.key for entry in entries] == [THIRD, OTHER, KEY]
    assert [entry.origin.name for entry in entries if entry.origin] == ["gated", "gated", "small"]
    assert {(entry.engine, entry.backend, entry.precision) for entry in entries} == {
        (engine.__version__, "webgpu", "f32")
    }
    assert sum(entry.bytes for entry in entries) == sizes(cache.folder)
    assert entries[2].last_used == (entry_of(cache) / "model.json").stat().st_mtime
    assert [entry.key for entry in cache.entries()] == [THIRD, OTHER, KEY]  # looking is no use
    # of another version, and still of that model
    rewrite(entry_of(cache, OTHER), lambda header: header.update(format=7, more=1))
    assert cache.drop(lambda origin: origin.name == "other") == 0
    before = sizes(cache.folder)
    assert cache.drop(lambda origin: origin.sha256 == "cd" * 32) == before - sizes(cache.folder)
    assert [entry.key for entry in cache.entries()] == [KEY]
    assert cache.clear() == entries[2].bytes
    assert list(cache.folder.iterdir()) == []


def test_what_may_be_of_a_deleted_model_goes_with_it(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    cache.put(OTHER, gpu_model())
    (entry_of(cache, OTHER) / "model.json").write_bytes(b"damaged")
    assert [entry.origin is None for entry in cache.entries()] == [True, False]
    assert cache.drop(lambda _: False) > 0
    assert [entry.key for entry in cache.entries()] == [KEY]


def test_weights_that_a_killed_process_had_begun_to_write_go_with_any_model(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    begun = cache.folder / f".{'0' * 16}.tmp"
    begun.mkdir()
    (begun / "part").write_bytes(b"gated")
    cache.drop(lambda _: False)
    assert not begun.exists()
    assert [entry.key for entry in cache.entries()] == [KEY]


def test_what_is_in_use_stays_readable_when_it_is_deleted(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    model = cache.get(KEY)
    cache.clear()
    assert model is not None
    assert content(model) == content(gpu_model())


def test_what_cannot_be_deleted_yet_is_absent_and_goes_later(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a mapped file cannot be deleted."""
    cache.put(KEY, gpu_model())
    path = entry_of(cache)
    unlink = os.unlink

    def refuse(name: str, **options: int) -> None:
        if str(name).endswith(".bin"):
            raise PermissionError(13, "it is being used by another process")
        unlink(name, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        header_bytes = (path / "model.json").stat().st_size
        assert cache.clear() == header_bytes
        assert cache.get(KEY) is None
        assert cache.entries() == []
        assert cache.put(KEY, gpu_model())
        assert path.is_dir()
        assert cache.get(KEY) is not None
    assert cache.put(OTHER, gpu_model())
    assert not path.exists()
    assert [entry.key for entry in cache.entries()] == [OTHER, KEY]


def test_entries_are_trusted_in_a_folder_that_is_the_users_alone(cache: ModelCache) -> None:
    def trusted() -> bool:
        model = cache.get(KEY)
        assert model is not None
        return model.trusted

    cache.put(KEY, gpu_model())
    assert trusted()
    for mode in (0o755, 0o710, 0o770, 0o702):
        cache.folder.chmod(mode)
        assert not trusted()
    cache.folder.chmod(0o700)
    assert trusted()


def test_without_modes_a_folder_in_the_users_profile_is_trusted(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on Windows."""
    cache.put(KEY, gpu_model())
    cache.folder.chmod(0o777)
    monkeypatch.delattr(os, "geteuid")
    for home, trusted in ((tmp_path, True), (tmp_path / "another", False)):
        monkeypatch.setenv("HOME", str(home))
        model = cache.get(KEY)
        assert model is not None
        assert model.trusted == trusted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away: ENTRIES OF ANOTHER USER ARE NOT TESTED")
@pytest.mark.parametrize("place", ["cache", "entry", "header"])
def test_what_another_user_owns_is_not_trusted(place: str, cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    path = {"cache": cache.folder, "entry": entry_of(cache), "header": entry_of(cache) / "model.json"}[place]
    os.chown(path, 12345, 12345)
    model = cache.get(KEY)
    assert model is not None
    assert not model.trusted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another: ENTRIES BY SUDO ARE NOT TESTED")
def test_an_entry_that_sudo_left_keeps_its_user_from_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:  # other users may not enter pytest's
        cache = ModelCache(Path(folder) / "cache", 1 << 30)
        assert cache.put(OTHER, gpu_model())
        assert cache.put(KEY, gpu_model())
        for path in (Path(folder), cache.folder):
            os.chown(path, 12345, 12345)
        os.seteuid(12345)
        try:
            assert cache.get(KEY) is None
            assert cache.put(KEY, gpu_model())
            assert cache.get(KEY) is not None
            assert [entry.key for entry in cache.entries()] == [KEY]
        finally:
            os.seteuid(0)


def test_a_link_is_no_entry(cache: ModelCache, tmp_path: Path) -> None:
    cache.put(KEY, gpu_model())
    path = entry_of(cache)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert cache.get(KEY) is None
    cache.clear()
    assert (tmp_path / "elsewhere" / "model.json").is_file()


def test_untrusted_models_do_not_become_trusted_in_the_cache(cache: ModelCache) -> None:
    cache.put(KEY, dataclasses.replace(gpu_model(), trusted=False))
    model = cache.get(KEY)
    assert model is not None
    assert isinstance(model.plan, GpuPlan)
    assert [program.trusted for program in model.plan.programs] == [False]


WRITER = """
import sys, time
from engine import ModelCache
from tests.engine.compiled.models import KEY, gpu_model
cache = ModelCache(sys.argv[1], 1 << 30)
print("ready", flush=True)
sys.stdin.readline()
for round in range(40):
    key = f"{round:02x}" * 32
    assert cache.put(key, gpu_model(seed=round))
    model = cache.get(key)
    assert model is not None and model.metadata["seed"] == round, round
    model.weights.verify()
"""


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment(),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once_both_succeed_and_one_entry_stays(cache: ModelCache) -> None:
    children = [child(WRITER, str(cache.folder)) for _ in range(2)]
    for process in children:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in children] == [("", 0)] * 2
    assert sorted(entry.key for entry in cache.entries()) == [f"{number:02x}" * 32 for number in range(40)]
    assert len(list(cache.folder.iterdir())) == 40


def test_of_two_that_wrote_the_same_the_last_leaves_one(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    write = caches.write

    def write_twice(model: engine.CompiledModel, path: Path, **options: int) -> None:
        other = path.with_name(f"{KEY}-{'8' * 16}")
        write(model, other, **options)  # another process, meanwhile
        write(model, path, **options)

    monkeypatch.setattr(caches, "write", write_twice)
    for _ in range(20):
        assert cache.put(KEY, gpu_model())
        assert len(list(cache.folder.iterdir())) == 1
        cache.discard(KEY)


def test_a_process_that_finds_its_entry_deleted_for_another_takes_that(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(KEY, gpu_model())
    path, read = entry_of(cache), caches.read

    def read_late(folder: Path) -> object:
        if path.is_dir():  # listed, and then deleted by the process that has written the other
            shutil.copytree(path, path.with_name(f"{KEY}-{'0' * 16}"))
            shutil.rmtree(path)
        return read(folder)

    monkeypatch.setattr(caches, "read", read_late)
    assert cache.get(KEY) is not None


KILLED = """
import os, signal, sys
from engine.compiled.folders import temporary_folder
from pathlib import Path
with temporary_folder(Path(sys.argv[1]), 0o700) as folder:
    (folder / "part").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_and_what_a_live_one_writes_stays(cache: ModelCache) -> None:
    cache.put(OTHER, gpu_model())
    process = child(KILLED, str(cache.folder))
    assert process.stdout is not None
    begun = Path(process.stdout.readline().strip())
    cache.put(KEY, gpu_model())
    cache.clear()
    assert [path.name for path in begun.iterdir()] == ["part"]
    process.communicate("now\n")
    assert begun.is_dir()
    cache.put(KEY, gpu_model())
    assert not begun.exists()
    assert [entry.key for entry in cache.entries()] == [KEY]


def test_where_there_are_no_locks_what_is_a_day_old_goes(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "fcntl", None)
    cache.put(OTHER, gpu_model())
    begun = cache.folder / f".{'1' * 16}.tmp"
    begun.mkdir()
    cache.put(KEY, gpu_model())
    assert begun.is_dir()
    old = time.time() - 25 * 3600
    os.utime(begun, (old, old))
    cache.clear()
    assert not begun.exists()


def test_other_files_in_the_folder_are_left_alone(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    names = ["notes", ".hidden.tmp", f"{KEY}-short", "models"]
    for name in names:
        (cache.folder / name).mkdir()
    cache.clear()
    assert sorted(path.name for path in cache.folder.iterdir()) == sorted(
        ["notes", ".hidden.tmp", f"{KEY}-short", "models"]
    )
