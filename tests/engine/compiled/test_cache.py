"""What is put is there for the next process, what is damaged or old is absent, and the folder keeps to its size."""

from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path

import pytest

import engine
from engine.caps import PORTABLE, Caps
from engine.compiled import cache as caches
from engine.compiled.cache import ModelCache, cache_key
from tests.engine.compiled.caches import LARGE, OTHER, THIRD, entry_of, large_model, sizes, used
from tests.engine.compiled.models import KEY, content, gpu_model, rewrite


def test_what_is_put_is_there_for_the_next(cache: ModelCache) -> None:
    assert cache.get(KEY) is None
    assert cache.entries() == []
    assert cache.put(KEY, gpu_model())
    model = ModelCache(cache.folder, LARGE).get(KEY)
    assert model is not None
    assert model.plan == gpu_model().plan
    assert content(model) == content(gpu_model())
    assert cache.get(OTHER) is None
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry_of(cache).stat().st_mode) == 0o700
    assert (engine.ModelCache, engine.cache_key) == (ModelCache, cache_key)


def test_an_entry_is_not_replaced(cache: ModelCache) -> None:
    assert cache.put(KEY, gpu_model())
    path = entry_of(cache)
    assert cache.put(KEY, gpu_model(name="another"))
    assert entry_of(cache) == path
    model = cache.get(KEY)
    assert model is not None
    assert model.origin.name == "small"


def test_a_key_follows_from_every_part_and_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [
        cache_key(model="a", shape=(1, 3), caps=PORTABLE),
        cache_key(model="a", shape=(1, 4), caps=PORTABLE),
        cache_key(model="a", shape=(1, 3), caps=Caps(features=("shader-f16",))),
        cache_key(model="a", shape=(1, 3)),
        cache_key(model="a", shape=(1, 3), caps=None),
        cache_key(engine="1", format=2),
    ]
    for name, version in (("__version__", "9.9"), ("FORMAT", 9), ("source_state", lambda: "another")):
        with monkeypatch.context() as patch:
            patch.setattr(caches, name, version)
            keys.append(cache_key(model="a", shape=(1, 3), caps=PORTABLE))
    assert len(set(keys)) == len(keys) == 9
    assert all(len(key) == 64 for key in keys)
    assert cache_key(caps=PORTABLE, shape=[1, 3], model="a") == keys[0]
    with pytest.raises(TypeError, match="cannot be part of a key"):
        cache_key(model=b"a")


@pytest.mark.parametrize("key", ["", "../" + "a" * 61, "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_keys_of_cache_key_are_taken(key: str, cache: ModelCache) -> None:
    for call in (cache.get, cache.discard, lambda text: cache.put(text, gpu_model())):
        with pytest.raises(engine.EngineError, match=r"is no key of a cache; make one with cache_key"):
            call(key)


def test_an_entry_that_is_cut_anywhere_is_absent_and_made_again(cache: ModelCache) -> None:
    cache.put(KEY, large_model())
    names = sorted(path.name for path in entry_of(cache).iterdir())
    assert len(names) == 2
    cuts = [(name, at) for name in names for at in range(0, (entry_of(cache) / name).stat().st_size, 1024)]
    assert len(cuts) > 100
    for name, at in cuts:
        with (entry_of(cache) / name).open("r+b") as file:
            file.truncate(at)
        assert cache.get(KEY) is None, (name, at)
        assert list(cache.folder.iterdir()) == []  # and the damaged one is gone
        assert cache.put(KEY, large_model())
    assert cache.get(KEY) is not None


def test_a_damaged_entry_is_replaced_by_put(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    (entry_of(cache) / "model.json").write_bytes(b"{}")
    assert cache.put(KEY, gpu_model(name="new"))
    model = cache.get(KEY)
    assert model is not None
    assert model.origin.name == "new"


def test_damaged_weights_are_for_the_caller_to_discard(cache: ModelCache) -> None:
    cache.put(KEY, large_model())
    shard = next(entry_of(cache).glob("*.bin"))
    with shard.open("r+b") as file:
        file.seek(70_000)
        file.write(b"damage")
    model = cache.get(KEY)
    assert model is not None
    with pytest.raises(engine.ModelError, match="is damaged"):
        model.weights.verify()
    cache.discard(KEY)
    cache.discard(KEY)
    assert cache.get(KEY) is None
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize("field", ["engine", "format"])
def test_an_entry_of_another_version_is_absent_and_made_again(field: str, cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    rewrite(entry_of(cache), lambda header: header.update({field: {"engine": "0.0.1", "format": 9}[field]}))
    assert cache.put(OTHER, gpu_model())  # which leaves it alone
    assert [entry.key for entry in cache.entries()] == [OTHER, KEY]
    assert cache.get(KEY) is None
    assert cache.put(KEY, gpu_model())
    assert cache.get(KEY) is not None


def test_the_least_recently_used_goes_for_room(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    nbytes = sizes(cache.folder)
    cache.max_bytes = 2 * nbytes + 500
    cache.put(OTHER, gpu_model())
    used(cache, KEY, 50)
    used(cache, OTHER, 100)
    assert cache.get(OTHER) is not None  # and is the last one used from here on
    cache.put(THIRD, gpu_model())
    assert [entry.key for entry in cache.entries()] == [THIRD, OTHER]
    assert sizes(cache.folder) <= cache.max_bytes
    used(cache, THIRD, 10)
    smaller = ModelCache(cache.folder, nbytes + 500)
    smaller.put(KEY, gpu_model())
    assert [entry.key for entry in cache.entries()] == [KEY]


def test_room_is_made_before_it_is_taken(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, large_model())
    cache.max_bytes = 3 * sizes(cache.folder) // 2
    before: list[int] = []
    write = caches.write
    monkeypatch.setattr(
        caches, "write", lambda *args, **options: [before.append(sizes(cache.folder)), write(*args, **options)]
    )
    assert cache.put(OTHER, large_model())
    assert before == [0]


def test_a_model_larger_than_the_cache_is_not_kept_and_costs_no_other(cache: ModelCache) -> None:
    cache.put(KEY, gpu_model())
    small = ModelCache(cache.folder, sizes(cache.folder) + 100)
    assert not small.put(OTHER, large_model())
    assert [entry.key for entry in cache.entries()] == [KEY]
    assert not ModelCache(cache.folder, 0).put(OTHER, gpu_model())
    assert list(cache.folder.iterdir()) == [entry_of(cache)]


@pytest.mark.parametrize("limit", [0, 1024, 50 << 10, (103 << 10)])
def test_a_full_disk_is_no_error_and_leaves_nothing(limit: int, cache: ModelCache) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        assert not cache.put(KEY, large_model(104 << 10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(cache.folder.iterdir()) == []
    assert cache.put(KEY, large_model())


def test_an_entry_for_which_there_are_no_descriptors_is_not_written_twice(
    cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    assert cache.put(KEY, gpu_model())
    path = entry_of(cache)
    with monkeypatch.context() as patch:
        patch.setattr(caches, "read", exhausted)
        assert cache.get(KEY) is None
        assert not cache.put(KEY, gpu_model())
    assert entry_of(cache) == path
    assert cache.put(KEY, gpu_model())


def test_a_large_model_has_few_shards(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "SHARD", 1024)
    assert cache.put(KEY, large_model(100_004))
    shards = [path.stat().st_size for path in entry_of(cache).glob("*.bin")]
    assert 30 <= len(shards) <= caches.MOST_SHARDS
    assert cache.put(OTHER, large_model(20_000))
    assert max(path.stat().st_size for path in entry_of(cache, OTHER).glob("*.bin")) == 1024


def test_a_folder_that_cannot_be_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        cache = ModelCache(folder, LARGE)
        assert not cache.put(KEY, gpu_model())
        assert cache.get(KEY) is None
        assert (cache.entries(), cache.clear(), cache.drop(lambda _: True)) == ([], 0, 0)


def test_an_interrupted_put_leaves_nothing(cache: ModelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.put(KEY, gpu_model())
    assert list(cache.folder.iterdir()) == []
