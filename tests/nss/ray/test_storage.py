"""Files by their address: read, put whole or not at all, listed; on a disk and in a store that fails."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest

from nss.errors import ImageError, UsageError
from nss.ray import storage
from tests.nss.ray.stores import MemoryStore, memory_store


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    return memory_store(monkeypatch)


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path)
    request.getfixturevalue("store")
    return "memory://bucket/photos/"


def test_a_file_is_put_read_and_listed(folder: str) -> None:
    assert storage.names_below(storage.join(folder, "none")) == set()
    address = storage.join(folder, "a/b #1?.png")
    assert storage.put(address, b"one")
    assert (storage.read(address), storage.is_file(address)) == (b"one", True)
    assert storage.put(address, b"one"), "the same bytes are there"
    assert not storage.put(address, b"two")
    assert storage.read(address) == b"one"
    assert storage.put(address, b"two", overwrite=True)
    assert storage.put(storage.join(folder, "c.png"), b"")
    assert storage.names_below(folder) == {"a/b #1?.png", "c.png"}
    assert storage.names_below(folder, recursive=False) == {"c.png"}
    assert list(storage.read_many([address, storage.join(folder, "c.png")] * 40)) == [b"two", b""] * 40
    missing = storage.join(folder, "missing.png")
    assert not storage.is_file(missing)
    with pytest.raises(ImageError, match=f"^{re.escape(missing)}: no such file$"):
        storage.read(missing)


def test_addresses() -> None:
    assert storage.join("s3://bucket/out/", "a/b.png") == "s3://bucket/out/a/b.png"
    assert storage.local_path("file:///tmp/a") == Path("/tmp/a")
    assert storage.absolute("a/../b") == os.path.abspath("b")  # noqa: PTH100
    assert (storage.scheme_of("S3://bucket"), storage.scheme_of("C:\\photos"), storage.scheme_of("a:b")) == (
        "s3",
        "",
        "",
    )
    with pytest.raises(
        UsageError, match=r"^ftp://host/a: ftp:// is no storage that is known; give a path, or one of s3"
    ):
        storage.scheme_of("ftp://host/a")
    with pytest.raises(
        UsageError, match=r"^https://host/: nothing can be written there; give a folder, s3:// or gs://$"
    ):
        storage.put("https://host/", b"")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UsageError, match=r"^gs:// is opened by gcsfs, which is not installed: pip install gcsfs$"):
        storage.read("gs://bucket/a.jpg")


def test_what_passes_is_tried_again_with_a_bound(store: MemoryStore) -> None:
    left = [TimeoutError(), ConnectionResetError("cut"), OSError(16, "Please reduce your request rate.")]

    def fail(*_: str) -> None:
        if left:
            raise left.pop()

    store.before = fail
    assert storage.put("memory://bucket/a", b"one")
    assert store.requests == ["put"] * 4
    left[:] = [OSError(16, "Please reduce\nyour request rate.") for _ in range(9)]
    with pytest.raises(ImageError) as caught:
        storage.read("memory://bucket/a")
    assert str(caught.value) == "memory://bucket/a: cannot be read: Please reduce your request rate. (5 attempts)"
    assert len(left) == 9 - storage.ATTEMPTS


def test_what_does_not_pass_is_not_tried_again(store: MemoryStore) -> None:
    def refuse(*_: str) -> None:
        raise PermissionError("Access Denied")

    store.before = refuse
    with pytest.raises(ImageError, match=r"^memory://bucket/a: cannot be written: Access Denied$"):
        storage.put("memory://bucket/a", b"one")
    assert store.requests == ["put"]
    for status, attempts in ((404, 1), (401, 1), (429, 5), (503, 5)):
        store.requests.clear()
        error = type("HttpError", (Exception,), {"code" if status == 401 else "status": status})
        store.before = partial(_fail, error)
        with pytest.raises(ImageError):
            storage.read("memory://bucket/a")
        assert len(store.requests) == attempts


def _fail(error: type[Exception], *_: str) -> None:
    raise error


def test_a_put_whose_answer_is_lost_finds_its_own_object(store: MemoryStore) -> None:
    def lose(request: str, _: str) -> None:
        if request == "put" and store.requests.count("put") == 1:
            raise ConnectionResetError

    store.after = lose
    assert storage.put("memory://bucket/a", b"one")
    assert store.requests == ["put", "put", "get"]
    assert not storage.put("memory://bucket/a", b"two")


def test_a_store_without_conditions_is_asked_before(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put = store.pipe_file

    def unconditional(path: str, value: bytes, mode: str = "overwrite") -> None:
        if mode == "create":
            raise OSError(38, "A header you provided implies functionality that is not implemented")
        put(path, value)

    monkeypatch.setattr(store, "pipe_file", unconditional)
    assert storage.put("memory://bucket/a", b"one")
    assert storage.put("memory://bucket/a", b"one")
    assert not storage.put("memory://bucket/a", b"two")
    assert storage.read("memory://bucket/a") == b"one"


def test_a_disk_that_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("file/a.png", "file/b/a.png"):
        with pytest.raises(ImageError, match=rf"/{name}: cannot be written: (Not a directory|File exists)$"):
            storage.put(str(tmp_path / name), b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
