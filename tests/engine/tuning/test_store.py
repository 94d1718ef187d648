"""The file of tunings: what is kept comes back, for its adapter and version alone, and nothing of a damaged one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.gpu.device import memory
from engine.tuning import choices, store
from engine.tuning.choices import choices_of
from engine.tuning.defaults import Defaults
from engine.tuning.store import FILE, forget, keep, read, stored, write
from tests.engine.gpu.cards import CARD, DAWN_CARD, FAKE

KEY = "convolution f32 f32 n1 c3 m8 g1 in9x9 k3x3 s1x1 d1x1 out9x9"
OTHER = KEY.replace("c3", "c4")


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    memory.remember_adapters(tmp_path / "cache")
    yield tmp_path / "cache"
    memory.remember_adapters(None)


def test_what_is_kept_comes_back_for_its_precision(folder: Path) -> None:
    assert stored(CARD, "f32") == ({}, "")
    assert keep(CARD, "f32", {KEY: "direct"})
    assert keep(CARD, "f16", {KEY: "tiled-wide"})
    assert keep(CARD, "f32", {OTHER: "tiled-narrow"})
    assert stored(CARD, "f32") == ({KEY: "direct", OTHER: "tiled-narrow"}, "")
    assert stored(CARD, "f16") == ({KEY: "tiled-wide"}, "")
    assert sorted(path.name for path in folder.iterdir()) == [FILE]


@pytest.mark.parametrize("other", [replace(CARD, driver="maker 581"), replace(CARD, make=(1, 2)), DAWN_CARD, FAKE])
def test_another_adapter_driver_or_implementation_has_its_own(folder: Path, other: Any) -> None:
    keep(CARD, "f32", {KEY: "direct"})
    assert stored(other, "f32") == ({}, "")
    keep(other, "f32", {KEY: "tiled-wide"})
    assert stored(CARD, "f32") == ({KEY: "direct"}, "")
    assert forget(CARD) == 1
    assert (stored(CARD, "f32"), stored(other, "f32")) == (({}, ""), ({KEY: "tiled-wide"}, ""))
    assert len(read(folder)) == 1


def test_another_version_of_the_engine_tunes_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(CARD, "f32", {KEY: "direct"})
    monkeypatch.setattr(store, "__version__", "99.0")
    assert stored(CARD, "f32") == ({}, "")
    keep(CARD, "f32", {OTHER: "direct"})
    assert stored(CARD, "f32") == ({OTHER: "direct"}, "")
    assert len(read(folder)) == 1  # what the old one kept is of no use any more


@pytest.mark.skipif(store.fcntl is None, reason="this system locks no folders")
def test_of_those_that_write_at_once_each_keeps_what_the_others_have(folder: Path) -> None:
    keys = [KEY.replace("c3", f"c{channels}") for channels in range(40)]
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda key: keep(CARD, "f32", {key: "direct"}), keys))
    assert stored(CARD, "f32") == (dict.fromkeys(keys, "direct"), "")
    assert [path.name for path in folder.iterdir()] == [FILE]


def _entry(**changes: Any) -> list[dict[str, Any]]:
    entry = {"adapter": store.identity(CARD), "engine": engine.__version__, "choices": {"f32": {KEY: "direct"}}}
    return [{**entry, **changes}]


def damaged(folder: Path, how: str) -> str:
    """Damage the file; what is said of it."""
    path = folder / FILE
    text = path.read_text()
    if how == "a folder":
        path.unlink()
        path.mkdir()
        return "it cannot be read"
    if how in ("rows", "list"):
        write(folder, _entry(choices={"f32": {KEY: 3}}) if how == "rows" else _entry(choices=[]))
        return "it holds no tunings"
    text, said = {
        "cut": (text[:-20], "it is no JSON"),
        "bytes": ("\udcff", "it is no JSON"),
        "empty": ("", "it is no JSON"),
        "deep": ("[" * 100_000, "it is no JSON"),
        "foreign": ("[1]", "it holds no tunings"),
        "changed": (text.replace("direct", "linear"), "its content is not what its digest says"),
        "newer": (json.dumps({**json.loads(text), "format": 2}), "another version of the engine wrote it"),
        "long": (text + " " * store.MAX_BYTES, "it has more than 16 MiB"),
    }[how]
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return said


@pytest.mark.parametrize(
    "how", ["cut", "bytes", "empty", "deep", "foreign", "changed", "newer", "long", "rows", "list", "a folder"]
)
def test_a_damaged_file_is_passed_over_with_a_line(folder: Path, how: str) -> None:
    keep(CARD, "f32", {KEY: "direct"})
    said = damaged(folder, how)
    rows, note = stored(CARD, "f32")
    assert (rows, note.startswith(f"{folder / FILE} is passed over: {said}")) == ({}, True)
    assert choices_of(CARD, "f32").describe([KEY]).endswith(f"({note})")
    if how == "a folder":
        assert not keep(CARD, "f32", {KEY: "direct"})
    else:  # the next tuning replaces it
        assert keep(CARD, "f32", {KEY: "direct"})
        assert stored(CARD, "f32") == ({KEY: "direct"}, "")


def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    memory.remember_adapters(None)
    assert stored(CARD, "f32") == ({}, "")
    assert not keep(CARD, "f32", {KEY: "direct"})
    assert forget(CARD) == 0
    (tmp_path / "file").touch()
    memory.remember_adapters(tmp_path / "file" / "below")
    try:
        assert not keep(CARD, "f32", {KEY: "direct"})
        assert stored(CARD, "f32")[0] == {}
    finally:
        memory.remember_adapters(None)


@pytest.mark.usefixtures("folder")
def test_a_users_own_choice_goes_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choices_of(CARD, "f32").digest == ""
    assert choices_of(CARD, "f32").describe([KEY]) == "not tuned; the tables' order, not measured here"
    defaults = Defaults({"adapter": "Fast Card 8"}, {"f32": {KEY: "tiled-wide", OTHER: "tiled-wide"}})
    monkeypatch.setattr(choices, "defaults_of", lambda _: defaults)
    before = choices_of(CARD, "f32")
    assert before.describe([KEY, OTHER]) == "not tuned; defaults measured on Fast Card 8"
    keep(CARD, "f32", {KEY: "direct"})
    own = choices_of(CARD, "f32")
    assert own.rows == {KEY: "direct", OTHER: "tiled-wide"}
    assert len({own.digest, before.digest, ""}) == 3
    assert own.describe([KEY, OTHER]) == "1 of 2 kinds of layers tuned; the others: defaults measured on Fast Card 8"
    assert own.describe([KEY]) == "tuned on this adapter"
    assert choices_of(CARD, "f16").rows == {}
