"""Which compiled model is whose: the key, the bound, and what is remembered of a model's files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

import engine
from nss.errors import UsageError
from nss.models import compiled, resolve
from nss.models.local_models import ResolvedModel
from nss.models.weights import model_store
from tests.nss.tiny_models import probability, save_model

HERE = engine.Place("webgpu", "asked for", {"backend": "webgpu", "limits": {"a": 1}})


def model_at(path: Path) -> ResolvedModel:
    return resolve.resolve(path, allow_fetch=False, quiet=True)


def key(path: Path, description: Any = None, **options: Any) -> str:
    return compiled.key(model_at(path), description or {}, **{"shape": None, "place": HERE, **options})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 8 << 30),
        ("0", 0),
        ("500M", 500 << 20),
        ("2G", 2 << 30),
        ("1.5 gib", 3 << 29),
        ("64kB", 64 << 10),
        ("9" * 400 + "T", 1 << 62),
    ],
)
def test_the_size_is_read_in_the_forms_that_people_write(
    monkeypatch: pytest.MonkeyPatch, text: str, count: int
) -> None:
    monkeypatch.setenv("NSS_CACHE_SIZE", text)
    assert compiled.limit() == count
    assert (compiled.cache() is None) == (count == 0)


@pytest.mark.parametrize("text", ["much", "-1", "2X", "1e9", "٣"])
def test_what_is_no_size_is_said(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NSS_CACHE_SIZE", text)
    with pytest.raises(UsageError, match="NSS_CACHE_SIZE="):
        compiled.limit()
    assert compiled.entries() == []  # what is kept can be seen and deleted all the same
    assert compiled.clear() == compiled.drop(("mine",), ()) == 0


def test_the_key_follows_from_what_decides_the_plan_and_the_interface(tmp_path: Path) -> None:
    path = save_model(tmp_path / "a" / "mine.onnx", probability())
    copy = save_model(tmp_path / "b" / "mine.onnx", probability())
    keys = [key(path), key(path, {"scale": 1.0}), key(path, {"scale": 2.0}), key(path, shape=(1, 3, 8, 8))]
    keys.append(key(path, place=replace(HERE, facts={"backend": "webgpu", "limits": {"a": 2}})))
    keys.append(key(save_model(tmp_path / "c" / "mine.onnx", probability(output="z"), {"z": None})))
    keys.append(key(save_model(tmp_path / "c" / "other.onnx", probability())))  # its notices have its name
    (path.parent / "preprocessor_config.json").write_text('{"do_rescale": false}')
    keys.append(key(path))
    (path.parent / "preprocessor_config.json").write_text('{"do_rescale": true}')
    keys.append(key(path))
    assert len(set(keys)) == len(keys)
    assert key(copy) == keys[0] == key(copy, place=replace(HERE, reason="the first hardware adapter"))


def test_weights_in_files_of_their_own_are_part_of_the_key(tmp_path: Path) -> None:
    path = save_model(tmp_path / "mine.onnx", probability())
    proto = onnx.load(path)
    onnx.save(proto, path, save_as_external_data=True, location="mine.bin", size_threshold=0)
    before = key(path)  # nothing has read the model yet, which says what its files are
    compiled.remember_data_files(model_at(path), engine.ModelFile.read(path))
    first = key(path)
    stamps = compiled.stamps(model_at(path))
    (tmp_path / "mine.bin").write_bytes((tmp_path / "mine.bin").read_bytes()[::-1])
    assert len({before, first, key(path)}) == 3
    assert compiled.stamps(model_at(path)) != stamps
    (tmp_path / "mine.bin").unlink()
    with pytest.raises(OSError, match=r"mine\.bin"):
        key(path)


def test_a_file_of_the_same_size_and_time_in_its_place_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "_DIGEST_CACHE_MIN_BYTES", 1)
    path, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    path.write_bytes(b"first!")
    first = model_store.sha256_of(path)
    other.write_bytes(b"second")
    os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
    other.replace(path)
    assert model_store.sha256_of(path) != first
