"""What is saved is what is loaded, the same bytes each time, and no changed or missing byte goes unnoticed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.compiled.model import CompiledModel, Piece
from engine.compiled.reader import load_compiled
from engine.compiled.writer import save_compiled
from tests.engine.compiled.models import (
    SHARD,
    ListWeights,
    content,
    document,
    files,
    gpu_model,
    numpy_model,
    rewrite,
    weights,
)
from tests.project import ROOT, output_of


def without_weights(model: CompiledModel, trusted: bool) -> CompiledModel:
    return dataclasses.replace(model, weights=ListWeights([]), trusted=trusted)


@pytest.mark.parametrize("model", [gpu_model(), numpy_model()], ids=["webgpu", "numpy"])
@pytest.mark.parametrize("shard", [256, SHARD, 64 << 20])
def test_what_is_saved_is_what_is_loaded(model: CompiledModel, shard: int, tmp_path: Path) -> None:
    save_compiled(model, tmp_path / "a", shard=shard)
    loaded = load_compiled(tmp_path / "a")
    assert without_weights(loaded, trusted=False) == without_weights(model, trusted=False)
    assert content(loaded) == content(model)
    loaded.weights.verify()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert engine.load_compiled is load_compiled
    assert engine.save_compiled is save_compiled


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from engine import save_compiled; from tests.engine.compiled.models import *\n"
        "save_compiled(gpu_model(), sys.argv[1], shard=SHARD)"
    )
    for seed in ("1", "2"):
        output_of(script, str(tmp_path / seed), PYTHONHASHSEED=seed)
    assert files(tmp_path / "1") == files(tmp_path / "2")
    save_compiled(load_compiled(tmp_path / "1", trust=True), tmp_path / "3", shard=SHARD)
    assert files(tmp_path / "3") == files(tmp_path / "1")


def test_the_folder_is_as_the_page_describes_it(tmp_path: Path) -> None:
    """Read by what docs/compiled.md says, and nothing of the engine."""
    model = gpu_model()
    save_compiled(model, tmp_path / "a", shard=SHARD)
    text = (tmp_path / "a" / "model.json").read_bytes()
    header = json.loads(text)
    assert text[:11] == b'{"sha256":"'
    assert text[75:77] == b'",'
    assert header["sha256"] == hashlib.sha256(text[77:]).hexdigest()
    data = b""
    for shard in header["weights"]["shards"]:
        part = (tmp_path / "a" / f"{shard['sha256']}.bin").read_bytes()
        assert hashlib.sha256(part).hexdigest() == shard["sha256"]
        assert len(part) == shard["bytes"]
        data += part
    assert [shard["bytes"] for shard in header["weights"]["shards"]] == [SHARD, SHARD, SHARD, SHARD]
    values = np.arange(200, dtype=np.float32).tobytes()
    assert data[:1024] == values[:256] + bytes(256) + values[512:] + bytes(224)
    assert data[1024:1924] == model.weights.content[2].data.tobytes()  # type: ignore[attr-defined]
    assert data[1924:] == bytes(124)
    assert set(files(tmp_path / "a")) == {
        "model.json",
        *(f"{shard['sha256']}.bin" for shard in header["weights"]["shards"]),
    }
    page = (ROOT / "docs" / "compiled.md").read_text("utf-8")
    names = {*header, *header["plan"], *header["plan"]["commands"][0], *header["plan"]["programs"][0]}
    names |= {*header["weights"], *header["inputs"][0], *header["origin"], *header["counts"], *header["plan"]["needs"]}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_weights_are_views_of_files_that_may_be_deleted(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a", shard=SHARD)
    loaded = load_compiled(tmp_path / "a")
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    assert content(loaded) == content(gpu_model())
    pieces = list(loaded.weights.pieces())
    assert [(piece.buffer, piece.offset, len(piece.data)) for piece in pieces] == [
        *((0, 0, SHARD), (0, SHARD, SHARD)),
        *((1, 0, SHARD), (1, SHARD, 900 - SHARD)),
    ]
    assert not any(piece.data.flags.owndata or piece.data.flags.writeable for piece in pieces)
    again = list(loaded.weights.pieces())
    assert all(np.shares_memory(one.data, other.data) for one, other in zip(pieces, again, strict=True))
    part = loaded.weights.array(1, 100, 200)
    assert np.shares_memory(part, pieces[2].data)
    assert part.tobytes() == content(gpu_model())[1][100:300]
    assert loaded.weights.array(1, 500, 400).tobytes() == content(gpu_model())[1][500:]
    assert loaded.weights.array(0, 0, 0).size == 0


def test_equal_shards_are_one_file(tmp_path: Path) -> None:
    model = dataclasses.replace(gpu_model(), weights=ListWeights([]))
    save_compiled(model, tmp_path / "a", shard=256)
    assert len(document(tmp_path / "a")["weights"]["shards"]) == 8
    assert len(files(tmp_path / "a")) == 2
    assert set(content(load_compiled(tmp_path / "a")).values()) == {bytes(1024), bytes(900)}


def test_a_model_without_constants_has_no_shards(tmp_path: Path) -> None:
    plan = dataclasses.replace(numpy_model().plan, buffers=())
    save_compiled(dataclasses.replace(numpy_model(), plan=plan, weights=ListWeights([])), tmp_path / "a")
    assert set(files(tmp_path / "a")) == {"model.json"}
    assert list(load_compiled(tmp_path / "a").weights.pieces()) == []
    load_compiled(tmp_path / "a").weights.verify()


def test_a_changed_byte_anywhere_in_the_header_is_noticed(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    path = tmp_path / "a" / "model.json"
    text = path.read_bytes()
    for index in (*range(100), *range(100, len(text), 7)):
        path.write_bytes(text[:index] + bytes([text[index] ^ 1]) + text[index + 1 :])
        with pytest.raises(engine.ModelError, match=r"^\S+/a: is no compiled model .*; compile the model again$"):
            load_compiled(tmp_path / "a")
    path.write_bytes(text)
    load_compiled(tmp_path / "a")


def test_a_header_that_is_cut_or_goes_on_is_noticed(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    path = tmp_path / "a" / "model.json"
    text = path.read_bytes()
    for changed in (*(text[:length] for length in range(0, len(text), 7)), text[:-1], text + b" ", text + text):
        path.write_bytes(changed)
        with pytest.raises(engine.ModelError, match=r"model\.json"):
            load_compiled(tmp_path / "a")


def test_a_changed_byte_of_the_weights_is_noticed_when_they_are_verified(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a", shard=SHARD)
    for shard in document(tmp_path / "a")["weights"]["shards"]:
        path = tmp_path / "a" / f"{shard['sha256']}.bin"
        whole = path.read_bytes()
        path.write_bytes(whole[:300] + bytes([whole[300] ^ 128]) + whole[301:])
        with pytest.raises(engine.ModelError, match=rf"a: is no .*: {path.name} is damaged: .*; compile"):
            load_compiled(tmp_path / "a").weights.verify()
        path.write_bytes(whole)
    load_compiled(tmp_path / "a").weights.verify()


def test_weights_that_could_not_be_read_are_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise IndexError

    save_compiled(gpu_model(), tmp_path / "a", shard=SHARD)
    loaded = load_compiled(tmp_path / "a")
    monkeypatch.setattr(hashlib, "sha256", fail)
    with pytest.raises(engine.ModelError, match="is damaged"):
        loaded.weights.verify()


def test_a_saved_model_is_loaded_without_onnx_or_an_implementation_of_webgpu(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    script = (
        "import sys, engine; engine.ModelCache(sys.argv[1], 1).get(engine.cache_key())\n"
        "engine.load_compiled(sys.argv[1]).weights.verify()\n"
        "print(*(name for name in ('onnx', 'wgpu', 'PIL', 'threadpoolctl') if name in sys.modules))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split() == []


def test_a_shard_of_another_size_is_noticed_at_once(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a", shard=SHARD)
    path = tmp_path / "a" / f"{document(tmp_path / 'a')['weights']['shards'][1]['sha256']}.bin"
    whole = path.read_bytes()
    for changed in (whole + b"\0", *(whole[:length] for length in range(0, SHARD, 7)), whole[:-1]):
        path.write_bytes(changed)
        with pytest.raises(engine.ModelError, match=rf"{path.name} has {len(changed)} bytes, not 512"):
            load_compiled(tmp_path / "a")
    path.unlink()
    with pytest.raises(engine.ModelError, match=f"there is no {path.name} in it"):
        load_compiled(tmp_path / "a")


@pytest.mark.parametrize("place", ["model.json", "shard"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_regular_files_are_read(place: str, kind: str, tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a", shard=SHARD)
    name = place if place == "model.json" else f"{document(tmp_path / 'a')['weights']['shards'][0]['sha256']}.bin"
    path = tmp_path / "a" / name
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(engine.ModelError, match=f"{name} is (a link|no regular file)"):
        load_compiled(tmp_path / "a")


@pytest.mark.parametrize("name", ["missing", "file", "empty", "a\0b"])
def test_what_is_no_compiled_model_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(engine.ModelError) as raised:
        load_compiled(tmp_path / name)
    assert re.match(r"\S+: (is no compiled model|cannot be read)", str(raised.value))
    assert str(raised.value).count("; ") == 1


def test_a_saved_model_is_trusted_by_those_alone_who_say_so(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    assert not load_compiled(tmp_path / "a").trusted
    assert load_compiled(tmp_path / "a", trust=True).trusted
    # what came untrusted out of a file is not made trustworthy by another file
    save_compiled(load_compiled(tmp_path / "a"), tmp_path / "b")
    assert [program["trusted"] for program in document(tmp_path / "b")["plan"]["programs"]] == [False]
    assert [program["trusted"] for program in document(tmp_path / "a")["plan"]["programs"]] == [True]


def test_the_files_version_and_the_engines_are_told_apart(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    rewrite(tmp_path / "a", lambda header: header.update(engine="0.0.1"))
    load_compiled(tmp_path / "a")
    rewrite(tmp_path / "a", lambda header: header.update(format=1, new="anything"))
    with pytest.raises(engine.ModelError, match="version 1 of the format, and this is a reader of version 2"):
        load_compiled(tmp_path / "a")


def test_pieces_that_touch_and_pieces_of_other_strides_are_written(tmp_path: Path) -> None:
    pieces = list(weights().pieces())
    rows = np.stack([pieces[2].data, pieces[2].data], axis=1)
    last = [Piece(1, 0, rows[:300, 0]), Piece(1, 300, rows[300:, 1])]
    save_compiled(dataclasses.replace(gpu_model(), weights=ListWeights([*pieces[:2], *last])), tmp_path / "a")
    assert content(load_compiled(tmp_path / "a")) == content(gpu_model())
