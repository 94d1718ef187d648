"""``nss-wgpu cache``, and what ``models`` and ``--no-cache`` do with compiled models."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import engine
from nss.models import compiled
from nss.models.weights import model_store
from nss.removal import entry_facts
from nss.removal.resolved_interface import ResolvedInterface
from tests.nss.conftest import Outcome

pytestmark = pytest.mark.usefixtures("kept")

Command = Callable[..., Outcome]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``nss-wgpu`` in this process, on the engine."""
    from nss.cli.main import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out.splitlines(), captured.err.splitlines())

    return run


def remove(run: Command, model: Path, photo: Path, *options: object) -> Outcome:
    outcome = run("remove", photo, "--model", model, "--backend", "numpy", "--overwrite", *options)
    assert outcome.status == 0
    return outcome


def test_a_folder_of_any_name_is_one_line(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSS_CACHE_DIR", str(tmp_path / "a\nb"))
    assert run("cache", "info").out == [f"{tmp_path}/a\\nb/compiled: 0.0 MB of 8.59 GB"]


def test_it_shows_and_clears_what_is_kept(run: Command, small: Path, photo: Path) -> None:
    folder = str(model_store.compiled_dir())
    assert run("cache", "info").out == [f"{folder}: 0.0 MB of 8.59 GB"]
    remove(run, small, photo)
    head, columns, row = run("cache", "info").out
    assert re.fullmatch(rf"{re.escape(folder)}: 0\.0 MB of 8\.59 GB", head)
    assert columns.split() == ["ENTRY", "MODEL", "FILE", "BACKEND", "PRECISION", "INPUT", "SIZE", "LAST", "USED"]
    what = f"[0-9a-f]{{8}}  small +{model_store.sha256_of(small)[:8]} +numpy"
    assert re.fullmatch(what + r" +f32 +1x3x\d+x\d+ +0\.0 MB +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", row)
    facts = json.loads("".join(run("cache", "info", "--json").out))
    (entry,) = facts["entries"]
    assert list(facts) == ["folder", "bytes", "limit", "entries"]
    assert facts["bytes"] == entry["bytes"] == sum(file.stat().st_size for file in Path(folder).glob("*/*")) > 0
    assert (entry["model"], entry["licence"]) == ("small", "unknown")
    assert entry["model_sha256"] == model_store.sha256_of(small)
    assert run("cache", "clear").out == ["0.0 MB freed"]
    assert compiled.entries() == []


def test_each_row_says_what_tells_it_from_the_others(
    run: Command, small: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options, the precision, another file of the same name, and another version of the code."""
    remove(run, small, photo)
    remove(run, small, photo, "--model-mean", "0.5", "--model-filter", "bilinear")
    remove(run, small, photo, "--precision", "f32-strict")
    proto = onnx.load(small)
    proto.doc_string = "another file of the name"
    onnx.save(proto, small)
    remove(run, small, photo)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "cache_key", lambda **_: "f" * 64)
        remove(run, small, photo)
    lines = run("cache", "info").out[1:]
    assert lines[0].split()[-4:] == ["LAST", "USED", "VERSION", "OPTIONS"]
    rows = [re.split(r"  +", line) for line in lines[1:]]
    assert len({row[0] for row in rows}) == 5
    told = [" ".join([*row[1:6], *row[8:]]) for row in rows]  # but for the size and the time
    assert len(set(told)) == 5, told
    assert [line for line in told if "filter bilinear; mean 0.5" in line]
    assert [line for line in told if "f32-strict" in line]
    assert [line for line in told if f"another, {engine.__version__} ffffffff" in line]
    entries = json.loads("".join(run("cache", "info", "--json").out))["entries"]
    assert [entry["is_current"] for entry in entries] == [False, True, True, True, True]
    assert entries[3]["options"] == {"filter": "bilinear", "mean": [0.5], "scale": 1 / 255}  # a mean is of a scale


def test_it_says_which_gpu_and_whether_it_was_tuned(run: Command, small: Path, photo: Path) -> None:
    """Names are others' texts, and may move no cursor."""
    remove(run, small, photo)
    (kept,) = compiled.entries()
    cache = compiled.cache()
    assert cache is not None
    model = cache.get(kept.key)
    assert model is not None
    interface = ResolvedInterface.from_json(model.metadata["interface"])
    for number, (tuning, facts) in enumerate([("tuned on G", {"driver": "D\x1b[1m"}), ("not tuned; defaults", {})]):
        metadata = entry_facts.metadata(interface, tuning, engine.Place("webgpu", "", facts, f"GPU {number}"))
        assert cache.put(f"{number}" * 64, replace(model, metadata=metadata))
    columns, *rows = run("cache", "info").out[1:]
    assert columns.split()[-4:] == ["LAST", "USED", "TUNED", "DEVICE"]
    told = {row[:8]: re.split(r" UTC *", row)[1] for row in rows}
    assert told == {"0" * 8: "tuned  GPU 0, driver D\\x1b[1m", "1" * 8: "GPU 1", kept.key[:8]: ""}
    entries = json.loads("".join(run("cache", "info", "--json").out))["entries"]
    (first,) = (entry for entry in entries if entry["key"] == "0" * 64)
    assert [first[name] for name in ("device", "driver", "tuning")] == ["GPU 0", "D\x1b[1m", "tuned on G"]


def test_a_damaged_entry_is_shown_and_cleared(run: Command, small: Path, photo: Path) -> None:
    remove(run, small, photo)
    (header,) = model_store.compiled_dir().glob("*/*.json")
    header.write_bytes(header.read_bytes()[:100])
    columns = ["ENTRY", "MODEL", "FILE", "BACKEND", "PRECISION", "INPUT", "SIZE", "LAST", "USED"]
    assert run("cache", "info").out[1].split() == columns
    assert run("cache", "info").out[-1].split()[1] == "damaged"
    assert run("cache", "info").out[-1].split()[0] == header.parent.name[:8]
    (entry,) = json.loads("".join(run("cache", "info", "--json").out))["entries"]
    assert [name for name, value in entry.items() if value is None] == [
        "model",
        "licence",
        "model_sha256",
        "backend",
        "precision",
    ]
    assert entry["input_shapes"] == []
    run("cache", "clear")
    assert compiled.entries() == []


def test_no_cache_neither_keeps_nor_takes(run: Command, small: Path, photo: Path) -> None:
    remove(run, small, photo, "--no-cache")
    assert compiled.entries() == []
    remove(run, small, photo)
    (before,) = compiled.entries()
    remove(run, small, photo, "--no-cache")
    assert run("preview", photo, "--model", small, "--backend", "numpy", "--no-cache").status == 0
    assert run("bench", small, "--backend", "numpy", "--runs", 1, "--no-cache").status == 0
    assert compiled.entries() == [before]  # the time of its last use too


def test_bench_takes_what_remove_kept(run: Command, small: Path, photo: Path) -> None:
    remove(run, small, photo)
    (before,) = compiled.entries()
    bench = json.loads("".join(run("bench", small, "--backend", "numpy", "--runs", 1, "--json").out))
    assert bench["model_config"]["origins"]["mean"] == "metadata"
    (after,) = compiled.entries()
    assert after.key == before.key
    assert after.last_used >= before.last_used


def test_a_size_that_is_none_ends_with_status_2(
    run: Command, small: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSS_CACHE_SIZE", "lots")
    line = "nss-wgpu: NSS_CACHE_SIZE=lots: is no size; 500M, 2G, and 0 for no cache are possible"
    for arguments in (["cache", "info"], ["remove", photo, "--model", small, "--backend", "numpy"]):
        outcome = run(*arguments)
        assert (outcome.status, outcome.err) == (2, [line])


def test_off_it_keeps_nothing_and_says_so(
    run: Command, small: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSS_CACHE_SIZE", "0")
    remove(run, small, photo)
    assert run("cache", "info").out == [f"{model_store.compiled_dir()}: 0.0 MB; off"]


def test_a_model_that_is_removed_leaves_compiled_too(
    run: Command, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as though the file were the catalogue's
    monkeypatch.setenv("NSS_MODEL_DIR", str(tmp_path / "models"))
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photo)
    named = small.rename(tmp_path / "isnet-anime.onnx")
    remove(run, named, photo)
    (entry,) = compiled.entries()
    info = json.loads("".join(run("models", "info", "isnet-anime", "--json").out))
    assert info["compiled_bytes"] == entry.bytes > 0
    assert json.loads("".join(run("models", "info", "silueta", "--json").out))["compiled_bytes"] == 0
    assert run("models", "remove", "silueta").out == ["silueta: nothing in the cache"]
    assert compiled.entries() == [entry]
    assert run("models", "remove", "isnet-anime").out == ["isnet-anime: 0.0 MB freed"]
    assert compiled.entries() == []


def test_why_a_model_is_not_kept_is_said_where_it_is_asked_for(
    run: Command, small: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.compiled.cache.ModelCache.put", put)
    assert remove(run, small, photo, "--quiet").err == []
    line = "nss-wgpu: the compiled model was not kept: [Errno 28] No space left on device"
    assert remove(run, small, photo, "-v").err[-1] == line


def test_a_folder_that_cannot_be_made_or_has_no_room_is_said(
    run: Command, small: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSS_CACHE_SIZE", "10")
    assert "has no room for it" in remove(run, small, photo, "-v").err[-1]
    monkeypatch.delenv("NSS_CACHE_SIZE")
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("NSS_CACHE_DIR", str(file))
    assert remove(run, small, photo, "-q").err == []
    line = (
        f"nss-wgpu: the compiled model was not kept: {file / 'compiled'} cannot be written to, or has no room for it; "
    )
    assert remove(run, small, photo, "-v").err[-1].startswith(line)


def test_what_cannot_be_deleted_is_said(
    run: Command, small: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(run, small, photo)
    (entry,) = compiled.entries()
    with monkeypatch.context() as patch:
        patch.setattr("engine.compiled.cache._remove", lambda _: 0)
        outcome = run("cache", "clear")
    assert (outcome.status, outcome.out) == (1, ["0.0 MB freed"])
    assert f"{entry.bytes} bytes cannot be deleted" in outcome.err[0]
    assert run("cache", "clear").status == 0


def test_ctrl_c_while_an_entry_is_written_leaves_the_photo_and_no_entry(
    run: Command, small: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pieces(_: object) -> Iterator[object]:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)
        yield from ()

    monkeypatch.setattr("engine.cpu.graph_data.GraphConstants.pieces", pieces)
    outcome = run("remove", photo, "--model", small, "--backend", "numpy")
    assert (outcome.status, outcome.err[-1]) == (130, "nss-wgpu: interrupted: 1 of 1 images written")
    assert photo.with_name("photo.cutout.png").exists()
    assert list(model_store.compiled_dir().iterdir()) == []
